// a window of each channel by itself, in strips, with what follows
// | weights {
// |   %w0 = parameter "w" : f16[120,1,5,5]
// |   %w1 = parameter "b" : f16[120]
// | }
// | init {
// |   const %c0 = %w0 : f16[120,1,5,5]
// |   const %c1 = %w1 : f16[120]
// | }
// | main(%x: f16[32,28,28,120]) {
// |   %0 = permute(%x) {order=[0,3,1,2]} : f16[32,120,28,28]
// |   %1 = conv(%0, %c0, %c1) {stride=[1,1], padding=[2,2], groups=120} : f16[32,120,28,28]
// |   %2 = hardswish(%1) : f16[32,120,28,28]
// |   %3 = permute(%2) {order=[0,2,3,1]} : f16[32,28,28,120]
// |   return %3 {name="y"}
// | }

// ---- depthwise: depthwise_f16
#include "device/depthwise.h"
#include "device/math.h"

using Index = int32;

constexpr Index batch = 32;
constexpr Index in = 1;
constexpr Index out = 1;
constexpr Index xb = 94080;
constexpr Index xc = 1;
constexpr Index yb = 94080;
constexpr Index yc = 1;
constexpr Index wi = 120;
constexpr Index wo = 1;
constexpr Index h = 1;
constexpr Index m0 = 28;
constexpr Index n0 = 28;
constexpr Index t0 = 5;
constexpr Index x0 = 3360;
constexpr Index ys0 = 3360;
constexpr Index w0 = 600;
constexpr Index m1 = 28;
constexpr Index n1 = 28;
constexpr Index t1 = 5;
constexpr Index x1 = 120;
constexpr Index ys1 = 120;
constexpr Index w1 = 120;

using Strip = DepthwiseStrip<f16, 8, 4, 5, 1, 1>;

// A thread has 8 channels of 4 positions in a row.
KILN_KERNEL(128) void depthwise_f16(In<f16> x, In<f16> w, In<f16> bias, Out<f16> y) {
  wait_for_previous(x, w, bias, y);
  const Index extent0 = batch;
  const Index extent1 = out * 120 / 120;
  const Index extent2 = n0;
  const Index extent3 = (n1 + 3) / 4;
  const Index extent4 = 15;
  const Index i = static_cast<Index>(block_x() * 128 + thread_x());
  if (i >= extent0 * extent1 * extent2 * extent3 * extent4) return;
  Index rest = i;
  const Index j4 = rest % extent4;
  rest /= extent4;
  const Index j3 = rest % extent3;
  rest /= extent3;
  const Index j2 = rest % extent2;
  rest /= extent2;
  const Index j1 = rest % extent1;
  rest /= extent1;
  const Index j0 = rest;
  const Index channel = (j1 * 15 + j4) * 8;
  const Index source = j0 * xb + channel / out * xc;
  const Index o0 = j2 * 1 - 2;
  const Index first = j3 * 4;
  const Index o1 = first * 1 - 2;
  Strip strip;
  strip.start(load<8>(bias + (channel * h)));
  for (Index s0 = 0; s0 < t0; ++s0) {
    const Index p0 = o0 + s0 * 1;
    if (p0 < 0 || p0 >= m0) continue;
    Strip::Channels factors[5];
    factors[0] = load<8>(w + (channel * wo + s0 * w0));
    factors[1] = load<8>(w + (channel * wo + s0 * w0 + 1 * w1));
    factors[2] = load<8>(w + (channel * wo + s0 * w0 + 2 * w1));
    factors[3] = load<8>(w + (channel * wo + s0 * w0 + 3 * w1));
    factors[4] = load<8>(w + (channel * wo + s0 * w0 + 4 * w1));
    strip.add_row(x + (source + p0 * x0), factors, o1, m1, x1);
  }
#pragma unroll
  for (Index k = 0; k < 4; ++k) {
    if (first + k >= n1) break;
    Strip::Channels result;
    for (int32 e = 0; e < 8; ++e) {
      const Strip::Number sum = strip.sums[k][e];
      result.at[e] = narrow<f16>(fn::hardswish(sum));
    }
    store<8>(y + (j0 * yb + channel * yc + j2 * ys0 + (first + k) * ys1), result);
  }
}

// ---- copy: transpose_16
#include "device/platform.h"

using Index = int32;

constexpr Index n0 = 25;
constexpr Index n1 = 120;
constexpr Index a0 = 1;
constexpr Index a1 = 25;
constexpr Index b0 = 120;
constexpr Index b1 = 1;

// Tiles of 32 x 32: rows of the source are columns of the target.
KILN_KERNEL(256) void transpose_16(In<uint16> from, Out<uint16> to) {
  wait_for_previous(from, to);
  KILN_SHARED(uint16, tile, 32 * 33);
  const int64 tiles_across = (n0 + 31) / 32, tiles_along = (n1 + 31) / 32;
  const Index along = static_cast<Index>(block_x() % tiles_along * 32);
  const Index across = static_cast<Index>(block_x() / tiles_along % tiles_across * 32);
  const Index source = 0, target = 0;
  const int32 x = thread_x(), y = thread_y();
  for (int32 r = y; r < 32; r += 8) {
    if (along + r < n1 && across + x < n0) {
      tile[r * 33 + x] = from[source + (along + r) * a1 + (across + x) * a0];
    }
  }
  barrier();
  for (int32 r = y; r < 32; r += 8) {
    if (along + x < n1 && across + r < n0) {
      to[target + (along + x) * b1 + (across + r) * b0] = tile[x * 33 + r];
    }
  }
}
