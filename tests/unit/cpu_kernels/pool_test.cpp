#include "backends/cpu/kernels/pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "unit/cpu_kernels/buffers.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln::cpu {
namespace {

using Sizes = std::array<int64_t, 3>;

std::array<int64_t, 5> strides(bool channels_last, int64_t channels, const Sizes& s) {
  if (channels_last) {
    return {channels * s[0] * s[1] * s[2], 1, s[1] * s[2] * channels, s[2] * channels, channels};
  }
  return {channels * s[0] * s[1] * s[2], s[0] * s[1] * s[2], s[1] * s[2], s[2], 1};
}

struct Result {
  std::vector<float> values;
  std::vector<int64_t> indices;
};

// One channel, one dim.
Result pool_1d(PoolKind kind, const std::vector<float>& x, int64_t out, int64_t kernel = 1,
               int64_t stride = 1, int64_t padding = 0, int64_t dilation = 1,
               bool include_pad = true) {
  PoolParams p;
  p.kind = kind, p.spatial_rank = 1, p.batch = p.channels = 1;
  p.in_sizes[0] = static_cast<int64_t>(x.size()), p.out_sizes[0] = out;
  p.kernel[0] = kernel, p.stride[0] = stride, p.padding[0] = padding, p.dilation[0] = dilation;
  p.count_include_pad = include_pad;
  p.in_strides[2] = p.out_strides[2] = p.index_strides[2] = 1;
  EXPECT_TRUE(p.validate().ok());
  Result r{std::vector<float>(out, -99), std::vector<int64_t>(out, -99)};
  pool(p, x.data(), r.values.data(), r.indices.data());
  return r;
}

const std::vector<float> kRamp{0, 1, 2, 3, 4, 5, 6};

// Expected values are torch 2.11's for torch.arange(7), ceil_mode=True.
TEST(Pool, AverageWithCeilMode) {
  const PoolKind kind = PoolKind::kAverage;
  const float third = 1.0f / 3.0f;
  EXPECT_EQ(pool_1d(kind, kRamp, 4, 3, 2, 1, 1, true).values,
            (std::vector<float>{third, 2, 4, 11.0f / 3}));
  EXPECT_EQ(pool_1d(kind, kRamp, 4, 3, 2, 1, 1, false).values,
            (std::vector<float>{0.5f, 2, 4, 5.5f}));
  EXPECT_EQ(pool_1d(kind, kRamp, 3, 2, 3, 0).values, (std::vector<float>{0.5f, 3.5f, 6}));
}

TEST(Pool, MaxWithIndicesAndDilation) {
  Result r = pool_1d(PoolKind::kMax, kRamp, 4, 3, 2, 1);
  EXPECT_EQ(r.values, (std::vector<float>{1, 3, 5, 6}));
  EXPECT_EQ(r.indices, (std::vector<int64_t>{1, 3, 5, 6}));
  r = pool_1d(PoolKind::kMax, {0, -1, -2, -3, -4, -5, -6}, 3, 3, 2, 1, 2);
  EXPECT_EQ(r.values, (std::vector<float>{-1, -1, -3}));
  EXPECT_EQ(r.indices, (std::vector<int64_t>{1, 1, 3}));
}

TEST(Pool, Adaptive) {
  EXPECT_EQ(pool_1d(PoolKind::kAdaptiveAverage, kRamp, 4).values,
            (std::vector<float>{0.5f, 2, 4, 5.5f}));
  const Result r = pool_1d(PoolKind::kAdaptiveMax, kRamp, 4);
  EXPECT_EQ(r.values, (std::vector<float>{1, 3, 5, 6}));
  EXPECT_EQ(r.indices, (std::vector<int64_t>{1, 3, 5, 6}));
}

TEST(Pool, DivisorOverride) {
  PoolParams p;
  p.kind = PoolKind::kAverage, p.batch = p.channels = 1;
  p.in_sizes = {4, 5, 1}, p.kernel = {3, 3, 1}, p.stride = {2, 2, 1}, p.padding = {1, 1, 0};
  p.out_sizes = {3, 3, 1};  // ceil_mode
  p.in_strides = {20, 20, 5, 1, 0}, p.out_strides = {9, 9, 3, 1, 0};
  std::vector<float> x(20), y(9);
  for (int i = 0; i < 20; ++i) x[i] = static_cast<float>(i);
  pool(p, x.data(), y.data(), nullptr);
  const float expected[] = {4.0f / 3, 3, 8.0f / 3, 7, 12, 9, 31.0f / 6, 8.5f, 37.0f / 6};
  for (int i = 0; i < 9; ++i) EXPECT_FLOAT_EQ(y[i], expected[i]);
  p.divisor = 4;
  p.count_include_pad = false;
  p.out_sizes = {2, 3, 1};
  pool(p, x.data(), y.data(), nullptr);
  const float overridden[] = {3, 6.75f, 6, 15.75f, 27, 20.25f};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(y[i], overridden[i]);
}

TEST(Pool, NanIsTheMaximumAndFirstOfEqualWins) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Result r = pool_1d(PoolKind::kMax, {1, nan, 5, 2}, 2, 3, 1);
  EXPECT_TRUE(std::isnan(r.values[0]));
  EXPECT_TRUE(std::isnan(r.values[1]));
  EXPECT_EQ(r.indices[0], 1);
  r = pool_1d(PoolKind::kMax, {4, 4, 4}, 1, 3);
  EXPECT_EQ(r.indices[0], 0);
  const float low = -std::numeric_limits<float>::infinity();
  r = pool_1d(PoolKind::kMax, {low, low}, 1, 2);
  EXPECT_EQ(r.values[0], low);
  EXPECT_EQ(r.indices[0], 0);
  for_each_simd_target([&] {  // channels innermost: the vector path
    std::vector<float> x(4 * 40, 1.0f), y(2 * 40);
    for (int c = 0; c < 40; ++c) x[40 + c] = c % 2 == 0 ? nan : 3.0f;
    PoolParams p;
    p.spatial_rank = 1, p.batch = 1, p.channels = 40;
    p.in_sizes[0] = 4, p.out_sizes[0] = 2, p.kernel[0] = 3;
    p.in_strides = p.out_strides = {0, 1, 40};
    pool(p, x.data(), y.data(), nullptr);
    for (int i = 0; i < 80; ++i) {
      if (i % 2 == 0) {
        ASSERT_TRUE(std::isnan(y[i]));
      } else {
        EXPECT_EQ(y[i], 3.0f);
      }
    }
  });
}

struct Case {
  int rank;
  int64_t batch, channels;
  Sizes in, kernel, stride, padding, dilation;
  bool ceil = false;
};
const Case kCases[] = {
    {2, 2, 70, {9, 11, 1}, {3, 3, 1}, {2, 2, 1}, {1, 1, 0}, {1, 1, 1}},
    {2, 1, 300, {8, 8, 1}, {2, 3, 1}, {2, 1, 1}, {0, 1, 0}, {1, 1, 1}, true},
    {1, 3, 5, {20, 1, 1}, {4, 1, 1}, {3, 1, 1}, {2, 1, 1}, {1, 1, 1}, true},
    {3, 1, 17, {5, 6, 7}, {2, 3, 2}, {2, 2, 1}, {1, 1, 1}, {1, 1, 1}},
    {3, 2, 3, {7, 7, 7}, {2, 2, 3}, {1, 2, 1}, {0, 1, 1}, {3, 2, 2}},
};

// Small integers and kernels whose sizes are exact divisors up to rounding: compared with the same
// division in the oracle.
template <class T>
void check(PoolKind kind, const Case& c, bool channels_last, bool with_indices, bool include_pad) {
  const bool adaptive = kind == PoolKind::kAdaptiveMax || kind == PoolKind::kAdaptiveAverage;
  const bool max = kind == PoolKind::kMax || kind == PoolKind::kAdaptiveMax;
  PoolParams p;
  p.kind = kind, p.dtype = sizeof(T) == 4 ? DType::kF32 : DType::kF64;
  p.spatial_rank = c.rank, p.batch = c.batch, p.channels = c.channels;
  p.in_sizes = c.in, p.kernel = c.kernel, p.stride = c.stride, p.padding = c.padding;
  if (kind == PoolKind::kMax) p.dilation = c.dilation;
  p.count_include_pad = include_pad;
  Sizes out{1, 1, 1};
  for (int d = 0; d < c.rank; ++d) {
    const int64_t span = c.in[d] + 2 * c.padding[d] - p.dilation[d] * (c.kernel[d] - 1) - 1;
    out[d] = (span + (c.ceil ? c.stride[d] - 1 : 0)) / c.stride[d] + 1;
    if (c.ceil && (out[d] - 1) * c.stride[d] >= c.in[d] + c.padding[d]) --out[d];
    if (adaptive) out[d] = std::min<int64_t>(c.in[d] + 1, 4);
  }
  p.out_sizes = out;
  p.in_strides = strides(channels_last, c.channels, c.in);
  p.out_strides = strides(channels_last, c.channels, out);
  p.index_strides = strides(!channels_last, c.channels, out);
  ASSERT_TRUE(p.validate().ok()) << p.validate().to_string();
  const int64_t in_count = c.in[0] * c.in[1] * c.in[2], out_count = out[0] * out[1] * out[2];
  const auto x = random_integers<T>(c.batch * c.channels * in_count, -50, 50, 1);
  std::vector<T> y(c.batch * c.channels * out_count, T(-1000));
  std::vector<int64_t> indices(y.size(), -1);
  pool(p, x.data(), y.data(), with_indices ? indices.data() : nullptr);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t ch = 0; ch < c.channels; ++ch)
      for (int64_t o = 0; o < out_count; ++o) {
        const Sizes at{o / (out[1] * out[2]), o / out[2] % out[1], o % out[2]};
        T sum = 0, best = -std::numeric_limits<T>::infinity();
        int64_t inside = 0, padded = 0, place = 0;
        Sizes low{0, 0, 0}, count{1, 1, 1};
        for (int d = 0; d < c.rank; ++d) {
          low[d] = adaptive ? at[d] * c.in[d] / out[d] : at[d] * c.stride[d] - c.padding[d];
          count[d] =
              adaptive ? static_cast<int64_t>(std::ceil(static_cast<double>((at[d] + 1) * c.in[d]) /
                                                        static_cast<double>(out[d]))) -
                             low[d]
                       : c.kernel[d];
        }
        for (int64_t i = 0; i < count[0]; ++i)
          for (int64_t j = 0; j < count[1]; ++j)
            for (int64_t k = 0; k < count[2]; ++k) {
              const Sizes q{low[0] + i * p.dilation[0], low[1] + j * p.dilation[1],
                            low[2] + k * p.dilation[2]};
              bool real = true, in_pad = true;
              for (int d = 0; d < 3; ++d) {
                real &= q[d] >= 0 && q[d] < c.in[d];
                in_pad &= q[d] < c.in[d] + (d < c.rank ? c.padding[d] : 0);
              }
              padded += in_pad;
              if (!real) continue;
              ++inside;
              const T v = x[b * p.in_strides[0] + ch * p.in_strides[1] + q[0] * p.in_strides[2] +
                            q[1] * p.in_strides[3] + q[2] * p.in_strides[4]];
              sum += v;
              if (v > best) best = v, place = (q[0] * c.in[1] + q[1]) * c.in[2] + q[2];
            }
        const T expected =
            max ? best : sum / static_cast<T>(include_pad && !adaptive ? padded : inside);
        auto offset = [&](const std::array<int64_t, 5>& s) {
          return b * s[0] + ch * s[1] + at[0] * s[2] + at[1] * s[3] + at[2] * s[4];
        };
        ASSERT_EQ(y[offset(p.out_strides)], expected)
            << "kind " << static_cast<int>(kind) << " rank " << c.rank;
        if (max && with_indices) {
          ASSERT_EQ(indices[offset(p.index_strides)], place);
        }
      }
}

TEST(Pool, MatchesTheDefinition) {
  for_each_simd_target([] {
    for (PoolKind kind :
         {PoolKind::kMax, PoolKind::kAverage, PoolKind::kAdaptiveMax, PoolKind::kAdaptiveAverage}) {
      for (const Case& c : kCases) {
        for (bool channels_last : {false, true}) {
          for (bool flag : {false, true}) {
            check<float>(kind, c, channels_last, flag, flag);
            check<double>(kind, c, channels_last, flag, !flag);
          }
        }
      }
    }
  });
}

TEST(Pool, ZeroSizesAndErrors) {
  PoolParams p;
  pool(p, nullptr, nullptr, nullptr);  // batch 0
  p.in_sizes[0] = 0;
  EXPECT_EQ(p.validate().code(), "K4324");
  p.in_sizes[0] = 4, p.kernel[0] = 2, p.padding[0] = 2;
  EXPECT_EQ(p.validate().code(), "K4324");
  p.padding[0] = 1, p.stride[0] = 0;
  EXPECT_EQ(p.validate().code(), "K4324");
  p.kind = PoolKind::kAdaptiveMax;  // which has none of these
  EXPECT_TRUE(p.validate().ok());
  p.dtype = DType::kU8;
  EXPECT_EQ(p.validate().code(), "K4324");
}

}  // namespace
}  // namespace kiln::cpu
