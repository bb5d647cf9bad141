// points by way of shared memory
// | main(%x: f32[70,50], %y: f32[50,70]) {
// |   %0 = permute(%x) {order=[1,0]} : f32[50,70]
// |   %1 = add(%0, %y) : f32[50,70]
// |   return %1 {name="y"}
// | }

// ---- tile: add_f32
// add_f32: points, transposed through shared memory
//   tile rank=2 row=0
//   in f32 f32
//   out f32
//   %0 = load.f32 in0
//   %1 = load.f32 in1
//   %2 = add.f32 %0 %1
//   store.f32 out0 %2
#include "device/tile.h"

KILN_KERNEL(256) void add_f32(In<float> in0, In<float> in1, Out<float> out0) {
  wait_for_previous(in0, in1, out0);
  KILN_SHARED(float, tile0, 1056);
  const int32 x = static_cast<int32>(block_x());
  const int32 q1 = divide_by<3>(x);
  const int32 tile_x = (x - q1 * 3) * 32;
  const int32 tile_y = q1 * 32;
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 across = warp() + k * 8;
    const int32 i0 = tile_y + lane();
    const int32 i1 = tile_x + across;
    if (i0 < 50 && i1 < 70) {
      tile0[across * 33 + lane()] = in0[i0 + i1 * 50];
    }
  }
  barrier();
#pragma unroll
  for (int32 k = 0; k < 4; ++k) {
    const int32 i0 = tile_y + warp() + k * 8;
    const int32 i1 = tile_x + lane();
    if (i0 < 50 && i1 < 70) {
      const float r0 = Lane<float>::of(float(tile0[lane() * 33 + warp() + k * 8]));
      const float r1 = Lane<float>::of(float(in1[i0 * 70 + i1]));
      const float r2 = r0 + r1;
      out0[i0 * 70 + i1] = Stored<float>::of(r2);
    }
  }
}
