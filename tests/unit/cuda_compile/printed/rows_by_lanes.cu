// a row reduced by some lanes of a warp
// | main(%x: f32[4000,24]) {
// |   %0 = softmax(%x) {axis=1} : f32[4000,24]
// |   return %0 {name="y"}
// | }

// ---- tile: softmax_f32
// softmax_f32: rows, 32 threads each, kept in registers
//   tile rank=2 row=1
//   in f32
//   out f32
//   %0 = load.f32 in0
//   %1 = reduce_max.f32 %0
//   %2 = sub.f32 %0 %1
//   %3 = exp.f32 %2
//   %4 = reduce_sum.f32 %3
//   %5 = div.f32 %3 %4
//   store.f32 out0 %5
#include "device/tile.h"

KILN_KERNEL(128) void softmax_f32(In<float> in0, Out<float> out0) {
  wait_for_previous(in0, out0);
  const int32 t = thread_x() % 32;
  const int32 row = static_cast<int32>(block_x()) * 4 + thread_x() / 32;
  const int32 i0 = row;
  float s1 = Max<float>::identity();
  float p0[1];
#pragma unroll
  for (int32 k = 0; k < 1; ++k) {
    const int32 x = t + k * 32;
    if (x < 24) {
      const int32 i1 = x;
      p0[k] = in0[i0 * 24 + i1];
    }
  }
#pragma unroll
  for (int32 k = 0; k < 1; ++k) {
    const int32 x = t + k * 32;
    if (x < 24) {
      const int32 i1 = x;
      const float r0 = Lane<float>::of(p0[k]);
      s1 = Max<float>::join(s1, r0);
    }
  }
  const float r1 = lanes_reduce<Max<float>, 32>(s1);
  float s4 = Sum<float>::identity();
  float h3[1];
#pragma unroll
  for (int32 k = 0; k < 1; ++k) {
    const int32 x = t + k * 32;
    if (x < 24) {
      const int32 i1 = x;
      const float r0 = Lane<float>::of(p0[k]);
      const float r2 = r0 - r1;
      const float r3 = fn::exp(r2);
      h3[k] = r3;
      s4 = Sum<float>::join(s4, r3);
    }
  }
  const float r4 = lanes_reduce<Sum<float>, 32>(s4);
#pragma unroll
  for (int32 k = 0; k < 1; ++k) {
    const int32 x = t + k * 32;
    if (x < 24) {
      const int32 i1 = x;
      const float r3 = h3[k];
      const float r5 = r3 / r4;
      out0[i0 * 24 + i1] = Stored<float>::of(r5);
    }
  }
}
