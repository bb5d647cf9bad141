// a reduction across what memory runs along
// | main(%x: f32[6,50,40]) {
// |   %0 = reduce_max(%x) {axes=[1]} : f32[6,40]
// |   return %0 {name="y"}
// | }

// ---- tile: reduce_max_f32
// reduce_max_f32: columns, 32 threads each
//   tile rank=3 row=1
//   in f32
//   out f32
//   %0 = load.f32 in0
//   %1 = reduce_max.f32 %0
//   store.f32 out0 %1
#include "device/tile.h"

KILN_KERNEL(256) void reduce_max_f32(In<float> in0, Out<float> out0) {
  KILN_SHARED(float, shared1, 256);
  const int32 t = thread_x() / 8;
  const int32 row = static_cast<int32>(block_x()) * 8 + thread_x() % 8;
  const int32 q1 = divide_by<40>(row);
  const int32 i1 = row - q1 * 40;
  const int32 i0 = q1;
  float s1[1];
#pragma unroll
  for (int32 v = 0; v < 1; ++v) s1[v] = Max<float>::identity();
#pragma unroll 4
  for (int32 x = t; x < 50; x += 32) {
    const int32 i2 = x;
    const float r0 = Lane<float>::of(float(in0[i0 * 2000 + i1 + i2 * 40]));
    s1[0] = Max<float>::join(s1[0], r0);
  }
  columns_reduce<Max<float>, 8, 32, 1>(s1, shared1);
  const float r1 = s1[0];
  if (t == 0) {
    out0[i0 * 40 + i1] = Stored<float>::of(r1);
  }
}
