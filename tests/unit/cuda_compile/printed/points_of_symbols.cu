// pointwise with sizes that are arguments
// | symbols {
// |   n in [1, 1024]
// |   m in [1, 1024]
// | }
// | main(%x: f32[?n,?m], %y: f32[?m]) {
// |   %0 = sub(%x, %y) : f32[?n,?m]
// |   return %0 {name="y"}
// | }

// ---- tile: sub_f32
// sub_f32: points, 4 groups a thread
//   tile rank=2 row=0
//   in f32 f32
//   out f32
//   %0 = load.f32 in0
//   %1 = load.f32 in1
//   %2 = sub.f32 %0 %1
//   store.f32 out0 %2
#include "device/tile.h"

KILN_KERNEL(256) void sub_f32(In<float> in0, In<float> in1, Out<float> out0, int32 n0, int32 n1,
    uint32 multiply1, int32 shift1) {
  wait_for_previous(in0, in1, out0);
  const int32 first = static_cast<int32>(block_x()) * 1024 + thread_x();
  float p0[4];
  float p1[4];
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 x = first + k * 256;
    if (x < n0 * n1) {
      const int32 q1 = divide(x, multiply1, shift1);
      const int32 i1 = x - q1 * n1;
      const int32 i0 = q1;
      p0[k] = in0[i0 * n1 + i1];
      p1[k] = in1[i1];
    }
  }
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 x = first + k * 256;
    if (x < n0 * n1) {
      const int32 q1 = divide(x, multiply1, shift1);
      const int32 i1 = x - q1 * n1;
      const int32 i0 = q1;
      const float r0 = Lane<float>::of(p0[k]);
      const float r1 = Lane<float>::of(p1[k]);
      const float r2 = r0 - r1;
      out0[i0 * n1 + i1] = Stored<float>::of(r2);
    }
  }
}
