// means of channels-last images, which are stored in the same pass
// | main(%x: f16[32,14,14,480]) {
// |   %0 = hardswish(%x) : f16[32,14,14,480]
// |   %1 = reduce_mean(%0) {axes=[1,2]} : f16[32,480]
// |   return %0 {name="y"}, %1 {name="mean"}
// | }

// ---- tile: hardswish_reduce_mean_f16
// hardswish_reduce_mean_f16: columns, 64 threads each, 8 elements at once, kept in registers
//   tile rank=3 row=1
//   in f16
//   out f16 f16
//   %0 = load.f32 in0
//   %1 = hardswish.f32 %0
//   %2 = round_to.f32.f16 %1
//   store.f32 out0 %2
//   %3 = reduce_sum.f32 %2
//   %4 = const.f32 196
//   %5 = div.f32 %3 %4
//   store.f32 out1 %5
#include "device/tile.h"

KILN_KERNEL(512) void hardswish_reduce_mean_f16(In<f16> in0, Out<f16> out0, Out<f16> out1) {
  wait_for_previous(in0, out0, out1);
  KILN_SHARED(float, shared3, 1024);
  const int32 t = thread_x() / 8;
  const int32 row = static_cast<int32>(block_x()) * 8 + thread_x() % 8;
  const int32 q1 = divide_by<60>(row);
  const int32 i1 = (row - q1 * 60) * 8;
  const int32 i0 = q1;
  const float r4 = 196.0f;
  float s3[8];
#pragma unroll
  for (int32 v = 0; v < 8; ++v) s3[v] = Sum<float>::identity();
  Pack<f16, 8> p0[4];
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 x = t + k * 64;
    if (x < 196) {
      const int32 i2 = x;
      p0[k] = load<8>(in0 + (i0 * 94080 + i1 + i2 * 480));
    }
  }
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 x = t + k * 64;
    if (x < 196) {
      const int32 i2 = x;
      Pack<f16, 8> w1;
#pragma unroll
      for (int32 v = 0; v < 8; ++v) {
        const float r0 = Lane<float>::of(p0[k].at[v]);
        const float r1 = fn::hardswish(r0);
        const float r2 = round_to<f16>(r1);
        s3[v] = Sum<float>::join(s3[v], r2);
        w1.at[v] = Stored<f16>::of(r2);
      }
      store<8>(out0 + (i0 * 94080 + i1 + i2 * 480), w1);
    }
  }
  columns_reduce<Sum<float>, 8, 64, 8>(s3, shared3);
  float r3[8];
#pragma unroll
  for (int32 v = 0; v < 8; ++v) {
    r3[v] = s3[v];
  }
  float r5[8];
#pragma unroll
  for (int32 v = 0; v < 8; ++v) {
    r5[v] = r3[v] / r4;
  }
  if (t == 0) {
    Pack<f16, 8> w2;
#pragma unroll
    for (int32 v = 0; v < 8; ++v) {
      w2.at[v] = Stored<f16>::of(r5[v]);
    }
    store<8>(out1 + (i0 * 480 + i1), w2);
  }
}
