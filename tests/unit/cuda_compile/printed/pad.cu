// zeros beside few channels, written at once
// | main(%x: f16[2,3,64,64]) {
// |   %0 = max_pool(%x) {kernel=[2,2], stride=[2,2]} : f16[2,3,32,32]
// |   %1 = pad(%0) {low=[0,0,0,0], high=[0,5,0,0]} : f16[2,8,32,32]
// |   return %1 {name="y"}
// | }

// ---- pool: max_pool_f16
#include "device/element.h"

using Index = int32;

constexpr Index n0 = 2;
constexpr Index n1 = 3;
constexpr Index n2 = 32;
constexpr Index n3 = 32;
constexpr Index m0 = 2;
constexpr Index m1 = 3;
constexpr Index m2 = 64;
constexpr Index m3 = 64;
constexpr Index a0 = 12288;
constexpr Index a1 = 4096;
constexpr Index a2 = 64;
constexpr Index a3 = 1;
constexpr Index b0 = 3072;
constexpr Index b1 = 1;
constexpr Index b2 = 96;
constexpr Index b3 = 3;

// A NaN in a window is its maximum; of equal ones the first counts.
KILN_KERNEL(256) void max_pool_f16(In<f16> from, Out<f16> to) {
  wait_for_previous(from, to);
  const Index i = static_cast<Index>(block_x() * 256 + thread_x());
  if (i >= n0 * n1 * n2 * n3) return;
  Index rest = i;
  const Index i1 = rest % n1;
  rest /= n1;
  const Index i3 = rest % n3;
  rest /= n3;
  const Index i2 = rest % n2;
  rest /= n2;
  const Index i0 = rest;
  const Index start0 = i2 * 2 - 0;
  const Index limit0 = start0 + 2;
  const Index begin0 = start0 >= 0 ? start0 : start0 + (-start0 + 1 - 1) / 1 * 1;
  const Index end0 = limit0 < m2 ? limit0 : m2;
  const Index start1 = i3 * 2 - 0;
  const Index limit1 = start1 + 2;
  const Index begin1 = start1 >= 0 ? start1 : start1 + (-start1 + 1 - 1) / 1 * 1;
  const Index end1 = limit1 < m3 ? limit1 : m3;
  const Index plane = i0 * a0 + i1 * a1;
  float best = -infinity_of(float(0));
  int64 place = -1;
  for (Index w0 = begin0; w0 < end0; w0 += 1) {
  for (Index w1 = begin1; w1 < end1; w1 += 1) {
    const f16 element = from[plane + w0 * a2 + w1 * a3];
    const float value = widen(element);
    if (place < 0 || value > best || is_nan(value)) {
      best = value;
      place = ((0) * m2 + w0) * m3 + w1;
    }
  }
  }
  to[i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3] = narrow<f16>(best);
}

// ---- pad: pad_constant_16
#include "device/platform.h"

using Index = int32;

constexpr Index n0 = 2;
constexpr Index n1 = 1;
constexpr Index n2 = 32;
constexpr Index n3 = 32;
constexpr Index m0 = 2;
constexpr Index m1 = 3;
constexpr Index m2 = 32;
constexpr Index m3 = 32;
constexpr Index l0 = 0;
constexpr Index l1 = 0;
constexpr Index l2 = 0;
constexpr Index l3 = 0;
constexpr Index a0 = 3072;
constexpr Index a1 = 1;
constexpr Index a2 = 96;
constexpr Index a3 = 3;
constexpr Index b0 = 1024;
constexpr Index b1 = 1;
constexpr Index b2 = 32;
constexpr Index b3 = 1;

// l: elements before index 0 along each dim.
KILN_KERNEL(256) void pad_constant_16(In<uint16> from, Out<uint16> to) {
  wait_for_previous(from, to);
  const Index i = static_cast<Index>(block_x() * 256 + thread_x());
  if (i >= n0 * n1 * n2 * n3) return;
  Index rest = i;
  const Index i1 = rest % n1;
  rest /= n1;
  const Index i3 = rest % n3;
  rest /= n3;
  const Index i2 = rest % n2;
  rest /= n2;
  const Index i0 = rest;
  const Index s0 = i0 - l0;
  const Index s2 = i2 - l2;
  const Index s3 = i3 - l3;
  Pack<uint16, 8> pack;
#pragma unroll
  for (int32 e = 0; e < 8; ++e) {
    const Index s1 = i1 * 8 + e - l1;
    pack.at[e] = true && s0 >= 0 && s0 < m0 && s1 >= 0 && s1 < m1 && s2 >= 0 && s2 < m2 && s3 >= 0 && s3 < m3 ? uint16(from[s0 * a0 + s1 * a1 + s2 * a2 + s3 * a3]) : static_cast<uint16>(0ull);
  }
  store<8>(to + 8 * (i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3), pack);
}

// ---- copy: transpose_16
#include "device/platform.h"

using Index = int32;

constexpr Index n0 = 2;
constexpr Index n1 = 8;
constexpr Index n2 = 1024;
constexpr Index a0 = 8192;
constexpr Index a1 = 1;
constexpr Index a2 = 8;
constexpr Index b0 = 8192;
constexpr Index b1 = 1024;
constexpr Index b2 = 1;

// Tiles of 32 x 32: rows of the source are columns of the target.
KILN_KERNEL(256) void transpose_16(In<uint16> from, Out<uint16> to) {
  wait_for_previous(from, to);
  KILN_SHARED(uint16, tile, 32 * 33);
  const int64 tiles_across = (n1 + 31) / 32, tiles_along = (n2 + 31) / 32;
  const Index along = static_cast<Index>(block_x() % tiles_along * 32);
  const Index across = static_cast<Index>(block_x() / tiles_along % tiles_across * 32);
  Index rest = static_cast<Index>(block_x() / tiles_along / tiles_across);
  const Index i0 = rest;
  const Index source = 0 + i0 * a0, target = 0 + i0 * b0;
  const int32 x = thread_x(), y = thread_y();
  for (int32 r = y; r < 32; r += 8) {
    if (along + r < n2 && across + x < n1) {
      tile[r * 33 + x] = from[source + (along + r) * a2 + (across + x) * a1];
    }
  }
  barrier();
  for (int32 r = y; r < 32; r += 8) {
    if (along + x < n2 && across + r < n1) {
      to[target + (along + x) * b2 + (across + r) * b1] = tile[x * 33 + r];
    }
  }
}
