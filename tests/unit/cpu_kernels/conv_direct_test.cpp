#include "backends/cpu/kernels/conv_direct.h"

#include <gtest/gtest.h>

#include "unit/cpu_kernels/buffers.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln::cpu {
namespace {

using Sizes = std::array<int64_t, 3>;

struct Case {
  int rank;
  bool transposed;
  int64_t batch, groups, in_channels, out_channels;
  Sizes in, kernel, padding, stride, dilation;
  int64_t extra = 0;  // more output (output_padding, uneven padding) at the high end
};

std::array<int64_t, 5> strides(bool channels_last, int64_t channels, const Sizes& s) {
  if (channels_last) {
    return {channels * s[0] * s[1] * s[2], 1, s[1] * s[2] * channels, s[2] * channels, channels};
  }
  return {channels * s[0] * s[1] * s[2], s[0] * s[1] * s[2], s[1] * s[2], s[2], 1};
}

template <class T>
void check(const Case& c, bool channels_last, bool bias, int threads) {
  ConvParams p;
  p.dtype = sizeof(T) == 4 ? DType::kF32 : DType::kF64;
  p.spatial_rank = c.rank, p.transposed = c.transposed;
  p.batch = c.batch, p.groups = c.groups;
  p.in_channels = c.in_channels, p.out_channels = c.out_channels;
  p.in_sizes = c.in, p.kernel = c.kernel, p.padding = c.padding;
  p.stride = c.stride, p.dilation = c.dilation;
  for (int d = 0; d < 3; ++d) {
    if (d >= c.rank) {
      p.in_sizes[d] = p.kernel[d] = p.stride[d] = p.dilation[d] = 1;
      p.padding[d] = 0;
      continue;
    }
    const int64_t reach = c.dilation[d] * (c.kernel[d] - 1);
    p.out_sizes[d] = c.transposed
                         ? (c.in[d] - 1) * c.stride[d] - 2 * c.padding[d] + reach + 1 + c.extra
                         : (c.in[d] + 2 * c.padding[d] + c.extra - reach - 1) / c.stride[d] + 1;
  }
  const int64_t in_group = c.in_channels / c.groups, out_group = c.out_channels / c.groups;
  p.in_strides = strides(channels_last, c.in_channels, p.in_sizes);
  p.out_strides = strides(channels_last, c.out_channels, p.out_sizes);
  // torch: [out, in / groups, ...] and, transposed, [in, out / groups, ...].
  p.weight_strides = strides(channels_last, c.transposed ? out_group : in_group, p.kernel);
  if (c.transposed) std::swap(p.weight_strides[0], p.weight_strides[1]);
  p.has_bias = bias;
  ASSERT_TRUE(p.validate().ok());

  auto count = [](const Sizes& s) { return s[0] * s[1] * s[2]; };
  const auto in = random_integers<T>(c.batch * c.in_channels * count(p.in_sizes), -3, 3, 1);
  const auto weight = random_integers<T>(c.in_channels * out_group * count(p.kernel), -3, 3, 2);
  const auto bias_values = random_integers<T>(c.out_channels, -9, 9, 3);
  std::vector<T> out(c.batch * c.out_channels * count(p.out_sizes), T(-1000));
  std::vector<T> expected = out;
  auto at = [](const std::array<int64_t, 5>& s, int64_t b, int64_t ch, const Sizes& x) {
    return b * s[0] + ch * s[1] + x[0] * s[2] + x[1] * s[3] + x[2] * s[4];
  };
  auto each = [](const Sizes& s, auto&& body) {
    for (int64_t i = 0; i < s[0]; ++i)
      for (int64_t j = 0; j < s[1]; ++j)
        for (int64_t k = 0; k < s[2]; ++k) body(Sizes{i, j, k});
  };
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t o = 0; o < c.out_channels; ++o) {
      each(p.out_sizes, [&](const Sizes& y) {
        expected[at(p.out_strides, b, o, y)] = bias ? bias_values[o] : T(0);
      });
      const int64_t g = o / out_group;
      for (int64_t i = 0; i < in_group; ++i) {
        // By definition: a transposed convolution scatters every input, a plain one gathers.
        each(c.transposed ? p.in_sizes : p.out_sizes, [&](const Sizes& from) {
          each(p.kernel, [&](const Sizes& k) {
            Sizes to;
            for (int d = 0; d < 3; ++d) {
              to[d] = from[d] * p.stride[d] + k[d] * p.dilation[d] - p.padding[d];
              const int64_t size = c.transposed ? p.out_sizes[d] : p.in_sizes[d];
              if (to[d] < 0 || to[d] >= size) return;
            }
            const Sizes& y = c.transposed ? to : from;
            const Sizes& x = c.transposed ? from : to;
            const T w = c.transposed
                            ? weight[at(p.weight_strides, o % out_group, g * in_group + i, k)]
                            : weight[at(p.weight_strides, o, i, k)];
            expected[at(p.out_strides, b, o, y)] +=
                in[at(p.in_strides, b, g * in_group + i, x)] * w;
          });
        });
      }
    }
  const ConvPlan plan(p, threads);
  Scratch scratch(plan.scratch_bytes());
  plan.run(in.data(), weight.data(), bias_values.data(), out.data(), scratch.data());
  EXPECT_TRUE(out == expected) << "rank " << c.rank << " transposed " << c.transposed << " groups "
                               << c.groups << " channels " << c.in_channels << "->"
                               << c.out_channels << " channels_last " << channels_last << " bias "
                               << bias;
}

const Case kCases[] = {
    {2, false, 2, 1, 3, 17, {11, 13, 1}, {3, 3, 1}, {1, 1, 0}, {1, 1, 1}, {1, 1, 1}},
    {2, false, 1, 1, 40, 33, {9, 10, 1}, {3, 2, 1}, {0, 2, 0}, {2, 1, 1}, {1, 2, 1}},
    {2, false, 2, 3, 6, 9, {8, 7, 1}, {3, 3, 1}, {2, 2, 0}, {2, 3, 1}, {2, 2, 1}, 1},
    {2, false, 1, 5, 5, 5, {12, 9, 1}, {5, 5, 1}, {2, 2, 0}, {1, 1, 1}, {1, 1, 1}},
    {2, false, 1, 4, 4, 8, {6, 6, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}},
    {1, false, 2, 1, 300, 20, {30, 1, 1}, {3, 1, 1}, {1, 0, 0}, {1, 1, 1}, {1, 1, 1}},
    {1, false, 1, 2, 6, 4, {50, 1, 1}, {7, 1, 1}, {3, 0, 0}, {4, 1, 1}, {3, 1, 1}},
    {3, false, 1, 1, 4, 6, {5, 6, 7}, {2, 3, 3}, {1, 1, 1}, {1, 2, 1}, {1, 1, 2}},
    {3, false, 2, 2, 4, 4, {4, 4, 4}, {3, 1, 2}, {1, 0, 0}, {2, 1, 3}, {1, 1, 1}},
    {2, false, 1, 1, 1, 600, {3, 3, 1}, {2, 2, 1}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}},
    {2, false, 1, 1, 2, 2, {3, 3, 1}, {2, 2, 1}, {5, 5, 0}, {1, 1, 1}, {1, 1, 1}},  // all-padding
                                                                                    // rows
    {2, true, 2, 1, 3, 5, {5, 6, 1}, {3, 3, 1}, {1, 1, 0}, {2, 2, 1}, {1, 1, 1}, 1},
    {2, true, 1, 2, 4, 6, {4, 5, 1}, {4, 4, 1}, {1, 1, 0}, {2, 2, 1}, {1, 1, 1}},
    {2, true, 1, 1, 2, 3, {4, 3, 1}, {2, 2, 1}, {0, 0, 0}, {3, 3, 1}, {1, 1, 1}},  // gaps: bias
                                                                                   // only
    {2, true, 1, 1, 3, 2, {4, 4, 1}, {3, 3, 1}, {2, 0, 0}, {2, 1, 1}, {2, 3, 1}},
    {1, true, 2, 1, 40, 70, {20, 1, 1}, {8, 1, 1}, {3, 0, 0}, {4, 1, 1}, {1, 1, 1}, 2},
    {3, true, 1, 3, 6, 3, {3, 2, 4}, {2, 3, 2}, {0, 1, 0}, {2, 1, 2}, {1, 2, 1}},
    {2, true, 1, 1, 300, 3, {3, 3, 1}, {3, 3, 1}, {1, 1, 0}, {1, 1, 1}, {1, 1, 1}},
};

TEST(ConvDirect, MatchesTheDefinition) {
  for_each_simd_target([] {
    for (const Case& c : kCases) {
      for (bool channels_last : {false, true}) {
        check<float>(c, channels_last, true, 2);
        check<float>(c, channels_last, false, 3);
        check<double>(c, channels_last, true, 1);
      }
    }
  });
}

TEST(ConvDirect, ZeroSizes) {
  Case c = kCases[0];
  c.batch = 0;
  check<float>(c, false, true, 2);
  c = kCases[0];
  c.in_channels = 0;  // the bias alone
  check<float>(c, false, true, 2);
  c = kCases[11];
  c.out_channels = 0;
  check<float>(c, false, true, 2);
}

TEST(ConvDirect, RefusesBadParameters) {
  ConvParams good;
  good.batch = 1, good.in_channels = 4, good.out_channels = 4;
  ASSERT_TRUE(good.validate().ok());
  auto refused = [&](auto&& change) {
    ConvParams p = good;
    change(p);
    EXPECT_EQ(p.validate().code(), "K4323");
  };
  refused([](ConvParams& p) { p.groups = 3; });
  refused([](ConvParams& p) { p.groups = 0; });
  refused([](ConvParams& p) { p.spatial_rank = 4; });
  refused([](ConvParams& p) { p.stride[1] = 0; });
  refused([](ConvParams& p) { p.kernel[0] = 0; });
  refused([](ConvParams& p) { p.dilation[0] = 0; });
  refused([](ConvParams& p) { p.out_sizes[0] = -1; });
  refused([](ConvParams& p) { p.dtype = DType::kI8; });
}

}  // namespace
}  // namespace kiln::cpu
