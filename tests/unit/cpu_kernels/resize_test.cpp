#include "backends/cpu/kernels/resize.h"

#include <gtest/gtest.h>

#include "unit/cpu_kernels/buffers.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln::cpu {
namespace {

struct Case {
  ResizeMode mode;
  int64_t height, width;
  bool align_corners;
  double scale_height, scale_width;
  std::vector<double> expected;
};

// What torch 2.11 gives for torch.arange(12).reshape(3, 4) ** 2.
const Case kCases[] = {
    {ResizeMode::kNearest, 5, 6, false, 0, 0, {0,  0,  1,  4,  4,  9,  0,  0,   1,   4,
                                               4,  9,  16, 16, 25, 36, 36, 49,  16,  16,
                                               25, 36, 36, 49, 64, 64, 81, 100, 100, 121}},
    {ResizeMode::kNearest, 5, 5, false, 1.7, 1.3, {0,  0,  1,  4,  9,  0,   0,  1,  4,
                                                   9,  16, 16, 25, 36, 49,  16, 16, 25,
                                                   36, 49, 64, 64, 81, 100, 121}},
    {ResizeMode::kNearestExact, 5, 6, false, 0, 0, {0,  1,   1,   4,   9,  9,  0,  1,   1,   4,
                                                    9,  9,   16,  25,  25, 36, 49, 49,  64,  81,
                                                    81, 100, 121, 121, 64, 81, 81, 100, 121, 121}},
    {ResizeMode::kLinear,
     5,
     6,
     false,
     0,
     0,
     {0.0,  0.5,  1.5,           3.5,           6.5,   9.0,
      6.4,  8.5,  11.6333333333, 15.7666666667, 20.9,  25.0,
      16.0, 20.5, 26.8333333333, 34.1666666667, 42.5,  49.0,
      44.8, 51.7, 61.2333333333, 71.7666666667, 83.3,  92.2,
      64.0, 72.5, 84.1666666667, 96.8333333333, 110.5, 121.0}},
    {ResizeMode::kLinear, 5, 6, true, 0, 0, {0.0,  0.6,  1.6,  3.4,  6.0,   9.0,  8.0,  11.0,
                                             14.4, 18.6, 23.6, 29.0, 16.0,  21.4, 27.2, 33.8,
                                             41.2, 49.0, 40.0, 47.8, 56.0,  65.0, 74.8, 85.0,
                                             64.0, 74.2, 84.8, 96.2, 108.4, 121.0}},
    {ResizeMode::kLinear, 5, 5, false, 1.7, 1.3, {0.0,           0.6538461538,  2.2692307692,
                                                  4.9615384615,  8.8076923077,  6.1176470588,
                                                  8.7714932127,  12.7398190045, 17.7850678733,
                                                  23.9841628959, 15.5294117647, 21.2601809955,
                                                  28.8484162896, 37.5135746606, 47.3325791855,
                                                  42.8235294118, 51.6312217195, 62.8393665158,
                                                  75.1244343891, 88.5633484163, 64.0,
                                                  75.1153846154, 89.0384615385, 104.0384615385,
                                                  120.1923076923}},
    {ResizeMode::kCubic,
     2,
     3,
     false,
     0,
     0,
     {2.2221137153, 6.359375, 14.6725622106, 55.6042751736, 77.515625, 103.6029007523}},
    {ResizeMode::kCubic, 2, 3, true, 0, 0, {0.0, 2.125, 9.0, 64.0, 90.125, 121.0}},
};

template <class T>
void check(const Case& c, bool channels_last, int64_t channels) {
  ResizeParams p;
  p.mode = c.mode, p.dtype = sizeof(T) == 4 ? DType::kF32 : DType::kF64;
  p.batch = 2, p.channels = channels;
  p.in_sizes = {3, 4, 1}, p.out_sizes = {c.height, c.width, 1};
  p.align_corners = c.align_corners;
  p.scale_factors = {c.scale_height, c.scale_width, 0};
  const int64_t out_plane = c.height * c.width;
  if (channels_last) {
    p.in_strides = {12 * channels, 1, 4 * channels, channels};
    p.out_strides = {out_plane * channels, 1, c.width * channels, channels};
  } else {
    p.in_strides = {12 * channels, 12, 4, 1};
    p.out_strides = {out_plane * channels, out_plane, c.width, 1};
  }
  ASSERT_TRUE(p.validate().ok());
  std::vector<T> x(2 * channels * 12), y(2 * channels * out_plane);
  auto factor = [](int64_t plane) { return static_cast<T>(1 + plane % 3); };  // planes differ
  for (int64_t plane = 0; plane < 2 * channels; ++plane) {
    for (int64_t i = 0; i < 12; ++i) {
      x[plane / channels * p.in_strides[0] + plane % channels * p.in_strides[1] +
        i / 4 * p.in_strides[2] + i % 4 * p.in_strides[3]] = static_cast<T>(i * i) * factor(plane);
    }
  }
  Scratch scratch(resize_scratch_bytes(p));
  resize(p, x.data(), y.data(), scratch.data());
  for (int64_t plane = 0; plane < 2 * channels; ++plane) {
    for (int64_t i = 0; i < out_plane; ++i) {
      const double got =
          y[plane / channels * p.out_strides[0] + plane % channels * p.out_strides[1] +
            i / c.width * p.out_strides[2] + i % c.width * p.out_strides[3]];
      const double expected = c.expected[i] * factor(plane);
      ASSERT_NEAR(got, expected, sizeof(T) == 4 ? 3e-4 : 1e-8)
          << "mode " << static_cast<int>(c.mode) << " at " << i << " channels_last "
          << channels_last;
    }
  }
}

TEST(Resize, MatchesTorch) {
  for_each_simd_target([] {
    for (const Case& c : kCases) {
      for (bool channels_last : {false, true}) {
        for (int64_t channels : {1, 5, 37}) {
          check<float>(c, channels_last, channels);
          check<double>(c, channels_last, channels);
        }
      }
    }
  });
}

TEST(Resize, OneAndThreeDims) {
  // A linear function of the position is kept by linear interpolation with aligned corners.
  for (int rank : {1, 3}) {
    ResizeParams p;
    p.mode = ResizeMode::kLinear, p.dtype = DType::kF64, p.align_corners = true;
    p.spatial_rank = rank, p.batch = 1, p.channels = 3;
    p.in_sizes = rank == 1 ? std::array<int64_t, 3>{5, 1, 1} : std::array<int64_t, 3>{5, 3, 4};
    p.out_sizes = rank == 1 ? std::array<int64_t, 3>{9, 1, 1} : std::array<int64_t, 3>{9, 5, 7};
    auto strides = [rank](const std::array<int64_t, 3>& s) -> std::array<int64_t, 5> {
      if (rank == 1) return {3 * s[0], s[0], 1, 0, 0};
      return {3 * s[0] * s[1] * s[2], s[0] * s[1] * s[2], s[1] * s[2], s[2], 1};
    };
    p.in_strides = strides(p.in_sizes), p.out_strides = strides(p.out_sizes);
    auto value = [](int64_t c, double i, double j, double k) {
      return static_cast<double>(c) * 1000 + 100 * i + 10 * j + k;
    };
    auto fill = [&](const std::array<int64_t, 3>& s, const std::array<int64_t, 5>& st, double fi,
                    double fj, double fk) {
      std::vector<double> data(3 * s[0] * s[1] * s[2]);
      for (int64_t c = 0; c < 3; ++c)
        for (int64_t i = 0; i < s[0]; ++i)
          for (int64_t j = 0; j < s[1]; ++j)
            for (int64_t k = 0; k < s[2]; ++k) {
              data[c * st[1] + i * st[2] + j * st[3] + k * st[4]] =
                  value(c, static_cast<double>(i) * fi, static_cast<double>(j) * fj,
                        static_cast<double>(k) * fk);
            }
      return data;
    };
    const auto x = fill(p.in_sizes, p.in_strides, 1, 1, 1);
    const auto expected = fill(p.out_sizes, p.out_strides, 0.5, 0.5, 0.5);
    std::vector<double> y(expected.size());
    Scratch scratch(resize_scratch_bytes(p));
    resize(p, x.data(), y.data(), scratch.data());
    for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-9) << rank;
  }
}

TEST(Resize, ZeroSizesAndErrors) {
  ResizeParams p;
  resize(p, nullptr, nullptr, nullptr);
  p.in_sizes[0] = 0;
  EXPECT_EQ(p.validate().code(), "K4325");
  p.in_sizes[0] = 1;
  p.mode = ResizeMode::kCubic, p.spatial_rank = 3;
  EXPECT_EQ(p.validate().code(), "K4325");
  p.mode = ResizeMode::kLinear, p.dtype = DType::kU8;
  EXPECT_EQ(p.validate().code(), "K4325");
}

}  // namespace
}  // namespace kiln::cpu
