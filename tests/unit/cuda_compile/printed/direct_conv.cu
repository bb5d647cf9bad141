// a first layer, with what follows
// | weights {
// |   %w0 = parameter "w" : f16[16,3,3,3]
// |   %w1 = parameter "b" : f16[16]
// | }
// | init {
// |   const %c0 = %w0 : f16[16,3,3,3]
// |   const %c1 = %w1 : f16[16]
// | }
// | main(%x: f16[32,3,224,224]) {
// |   %0 = conv(%x, %c0, %c1) {stride=[2,2], padding=[1,1]} : f16[32,16,112,112]
// |   %1 = hardswish(%0) : f16[32,16,112,112]
// |   %2 = permute(%1) {order=[0,2,3,1]} : f16[32,112,112,16]
// |   return %2 {name="y"}
// | }

// ---- direct_conv: direct_conv_f16
#include "device/direct_conv.h"
#include "device/math.h"

using Index = int32;

constexpr Index batch = 32;
constexpr Index in = 3;
constexpr Index out = 16;
constexpr Index xb = 150528;
constexpr Index xc = 50176;
constexpr Index yb = 200704;
constexpr Index yc = 1;
constexpr Index wi = 9;
constexpr Index wo = 27;
constexpr Index h = 1;
constexpr Index m0 = 224;
constexpr Index n0 = 112;
constexpr Index t0 = 3;
constexpr Index x0 = 224;
constexpr Index ys0 = 1792;
constexpr Index w0 = 3;
constexpr Index m1 = 224;
constexpr Index n1 = 112;
constexpr Index t1 = 3;
constexpr Index x1 = 1;
constexpr Index ys1 = 16;
constexpr Index w1 = 1;

using Strip = DirectStrip<f16, 8, 4, 3, 2, 1>;

// A thread has 8 channels of 4 positions in a row.
KILN_KERNEL(128) void direct_conv_f16(In<f16> x, In<f16> w, In<f16> bias, Out<f16> y) {
  wait_for_previous(x, w, bias, y);
  KILN_SHARED(Strip::Number, factors, 432);
  for (int32 f = thread_x(); f < 432; f += 128) {
    const Index channel = f % out;
    Index rest = f / out;
    const Index s1 = rest % t1;
    rest /= t1;
    const Index s0 = rest % t0;
    rest /= t0;
    const f16 factor = w[channel * wo + s1 * w1 + s0 * w0 + rest * wi];
    factors[f] = widen(factor);
  }
  barrier();
  const Index extent0 = batch;
  const Index extent1 = n0;
  const Index extent2 = (n1 + 3) / 4;
  const Index extent3 = out / 8;
  const Index i = static_cast<Index>(block_x() * 128 + thread_x());
  if (i >= extent0 * extent1 * extent2 * extent3) return;
  Index rest = i;
  const Index j3 = rest % extent3;
  rest /= extent3;
  const Index j2 = rest % extent2;
  rest /= extent2;
  const Index j1 = rest % extent1;
  rest /= extent1;
  const Index j0 = rest;
  const Index channel = j3 * 8;
  const Index o0 = j1 * 2 - 1;
  const Index first = j2 * 4;
  const Index o1 = first * 2 - 1;
  Strip strip;
  strip.start(load_apart<f16, 8>(bias + channel * h, h));
  for (Index s0 = 0; s0 < t0; ++s0) {
    const Index p0 = o0 + s0 * 1;
    if (p0 < 0 || p0 >= m0) continue;
    for (Index c = 0; c < in; ++c) {
      strip.add_row(x + (j0 * xb + c * xc + p0 * x0), factors + ((c * t0 + s0) * t1 * out + channel), out, o1, m1, x1);
    }
  }
#pragma unroll
  for (Index k = 0; k < 4; ++k) {
    if (first + k >= n1) break;
    for (int32 from = 0; from < 8; from += 8) {
      Pack<f16, 8> result;
      for (int32 e = from; e < from + 8; ++e) {
        const Strip::Number sum = strip.sums[k][e];
        result.at[e - from] = narrow<f16>(fn::hardswish(sum));
      }
      store<8>(y + (j0 * yb + channel * yc + j1 * ys0 + (first + k) * ys1 + from), result);
    }
  }
}
