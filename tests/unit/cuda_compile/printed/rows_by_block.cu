// a row reduced by a block
// | main(%x: f16[20,4100]) {
// |   %0 = layer_norm(%x) {eps=0.1} : f16[20,4100]
// |   return %0 {name="y"}
// | }

// ---- tile: layer_norm_f16
// layer_norm_f16: rows, 704 threads each, 2 elements at once, kept in registers
//   tile rank=2 row=1
//   in f16
//   out f16
//   %0 = load.f32 in0
//   %1 = const.f32 4100
//   %2 = reduce_sum.f32 %0
//   %3 = div.f32 %2 %1
//   %4 = sub.f32 %0 %3
//   %5 = mul.f32 %4 %4
//   %6 = reduce_sum.f32 %5
//   %7 = div.f32 %6 %1
//   %8 = const.f32 0.10000000149011612
//   %9 = add.f32 %7 %8
//   %10 = sqrt.f32 %9
//   %11 = reciprocal.f32 %10
//   %12 = mul.f32 %4 %11
//   store.f32 out0 %12
#include "device/tile.h"

KILN_KERNEL(704) void layer_norm_f16(In<f16> in0, Out<f16> out0) {
  wait_for_previous(in0, out0);
  KILN_SHARED(float, shared2, 22);
  KILN_SHARED(float, shared6, 22);
  const int32 t = thread_x();
  const int32 row = static_cast<int32>(block_x());
  const int32 i0 = row;
  const float r1 = 4100.0f;
  const float r8 = 0.1f;
  float s2 = Sum<float>::identity();
  Pack<f16, 2> p0[3];
#pragma unroll
  for (int32 k = 0; k < 3; ++k) {
    const int32 x = t + k * 704;
    if (x < 2050) {
      const int32 i1 = x * 2;
      p0[k] = load<2>(in0 + (i0 * 4100 + i1));
    }
  }
#pragma unroll
  for (int32 k = 0; k < 3; ++k) {
    const int32 x = t + k * 704;
    if (x < 2050) {
      const int32 i1 = x * 2;
#pragma unroll
      for (int32 v = 0; v < 2; ++v) {
        const float r0 = Lane<float>::of(p0[k].at[v]);
        s2 = Sum<float>::join(s2, r0);
      }
    }
  }
  const float r2 = block_reduce<Sum<float>, 704>(s2, shared2);
  const float r3 = r2 / r1;
  float s6 = Sum<float>::identity();
#pragma unroll
  for (int32 k = 0; k < 3; ++k) {
    const int32 x = t + k * 704;
    if (x < 2050) {
      const int32 i1 = x * 2;
#pragma unroll
      for (int32 v = 0; v < 2; ++v) {
        const float r0 = Lane<float>::of(p0[k].at[v]);
        const float r4 = r0 - r3;
        const float r5 = r4 * r4;
        s6 = Sum<float>::join(s6, r5);
      }
    }
  }
  const float r6 = block_reduce<Sum<float>, 704>(s6, shared6);
  const float r7 = r6 / r1;
  const float r9 = r7 + r8;
  const float r10 = fn::sqrt(r9);
  const float r11 = fn::reciprocal(r10);
#pragma unroll
  for (int32 k = 0; k < 3; ++k) {
    const int32 x = t + k * 704;
    if (x < 2050) {
      const int32 i1 = x * 2;
      Pack<f16, 2> w1;
#pragma unroll
      for (int32 v = 0; v < 2; ++v) {
        const float r0 = Lane<float>::of(p0[k].at[v]);
        const float r4 = r0 - r3;
        const float r12 = r4 * r11;
        w1.at[v] = Stored<f16>::of(r12);
      }
      store<2>(out0 + (i0 * 4100 + i1), w1);
    }
  }
}
