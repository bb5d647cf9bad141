// a reduction across what memory runs along
// | main(%x: f32[6,50,40]) {
// |   %0 = reduce_max(%x) {axes=[1]} : f32[6,40]
// |   return %0 {name="y"}
// | }

// ---- tile: reduce_max_f32
// reduce_max_f32: columns, 16 threads each, 4 elements at once, kept in registers
//   tile rank=3 row=1
//   in f32
//   out f32
//   %0 = load.f32 in0
//   %1 = reduce_max.f32 %0
//   store.f32 out0 %1
#include "device/tile.h"

KILN_KERNEL(32) void reduce_max_f32(In<float> in0, Out<float> out0) {
  wait_for_previous(in0, out0);
  const int32 t = thread_x() / 2;
  const int32 row = static_cast<int32>(block_x()) * 2 + thread_x() % 2;
  const int32 q1 = divide_by<10>(row);
  const int32 i1 = (row - q1 * 10) * 4;
  const int32 i0 = q1;
  float s1[4];
#pragma unroll
  for (int32 v = 0; v < 4; ++v) s1[v] = Max<float>::identity();
  Pack<float, 4> p0[4];
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 x = t + k * 16;
    if (x < 50) {
      const int32 i2 = x;
      p0[k] = load<4>(in0 + (i0 * 2000 + i1 + i2 * 40));
    }
  }
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 x = t + k * 16;
    if (x < 50) {
      const int32 i2 = x;
#pragma unroll
      for (int32 v = 0; v < 4; ++v) {
        const float r0 = Lane<float>::of(p0[k].at[v]);
        s1[v] = Max<float>::join(s1[v], r0);
      }
    }
  }
  column_lanes_reduce<Max<float>, 2, 4>(s1);
  float r1[4];
#pragma unroll
  for (int32 v = 0; v < 4; ++v) {
    r1[v] = s1[v];
  }
  if (t == 0) {
    Pack<float, 4> w1;
#pragma unroll
    for (int32 v = 0; v < 4; ++v) {
      w1.at[v] = Stored<float>::of(r1[v]);
    }
    store<4>(out0 + (i0 * 40 + i1), w1);
  }
}
