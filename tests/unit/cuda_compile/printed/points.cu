// pointwise: broadcast operands, 16-bit storage, vectors of 128 bits
// | main(%x: f16[37,64], %scale: f16[64], %shift: f32[37,1]) {
// |   %0 = mul(%x, %scale) : f16[37,64]
// |   %1 = cast(%0) {dtype=f32} : f32[37,64]
// |   %2 = add(%1, %shift) : f32[37,64]
// |   %3 = relu(%2) : f32[37,64]
// |   return %3 {name="y"}
// | }

// ---- tile: mul_cast_add_relu_f32
// mul_cast_add_relu_f32: points
//   tile rank=2 row=0
//   in f16 f16 f32
//   out f32
//   %0 = load.f32 in0
//   %1 = load.f32 in1
//   %2 = mul.f32 %0 %1
//   %3 = round_to.f32.f16 %2
//   %4 = load.f32 in2
//   %5 = add.f32 %3 %4
//   %6 = relu.f32 %5
//   store.f32 out0 %6
#include "device/tile.h"

KILN_KERNEL(128) void mul_cast_add_relu_f32(In<f16> in0, In<f16> in1, In<float> in2,
    Out<float> out0) {
  wait_for_previous(in0, in1, in2, out0);
  const int32 x = static_cast<int32>(block_x()) * 128 + thread_x();
  if (x >= 2368) return;
  const int32 q1 = divide_by<64>(x);
  const int32 i1 = x - q1 * 64;
  const int32 i0 = q1;
  const float r0 = Lane<float>::of(f16(in0[i0 * 64 + i1]));
  const float r1 = Lane<float>::of(f16(in1[i1]));
  const float r2 = r0 * r1;
  const float r3 = round_to<f16>(r2);
  const float r4 = Lane<float>::of(float(in2[i0]));
  const float r5 = r3 + r4;
  const float r6 = fn::relu(r5);
  out0[i0 * 64 + i1] = Stored<float>::of(r6);
}
