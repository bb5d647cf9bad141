#include "backends/cpu/kernels/depthwise.h"

#include <gtest/gtest.h>

#include "unit/cpu_kernels/buffers.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln::cpu {
namespace {

struct Case {
  int64_t batch, channels;
  std::array<int64_t, 2> in, kernel, stride, dilation, padding;
};

const Case kCases[] = {
    {2, 64, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {1, 72, {13, 29}, {5, 5}, {2, 2}, {1, 1}, {2, 2}},
    {1, 300, {7, 7}, {5, 5}, {1, 1}, {1, 1}, {2, 2}},
    {2, 5, {9, 31}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},
    {1, 19, {12, 17}, {3, 2}, {1, 3}, {2, 3}, {2, 4}},
    {1, 16, {3, 20}, {1, 1}, {1, 1}, {1, 1}, {0, 0}},
    {1, 33, {2, 2}, {5, 5}, {1, 1}, {1, 1}, {4, 4}},
    {1, 8, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {6, 6}},  // windows that see padding alone
};

// Integers, compared exactly; images with gaps between rows and pixels.
void check(const Case& c, bool bias, bool epilogue) {
  DepthwiseParams p;
  p.batch = c.batch, p.channels = c.channels;
  p.in_sizes = c.in, p.kernel = c.kernel, p.stride = c.stride;
  p.dilation = c.dilation, p.padding = c.padding, p.has_bias = bias;
  for (int d = 0; d < 2; ++d) {
    p.out_sizes[d] =
        (c.in[d] + 2 * c.padding[d] - c.dilation[d] * (c.kernel[d] - 1) - 1) / c.stride[d] + 1;
  }
  const int64_t pixel = c.channels + 3;
  p.in_strides = {c.in[0] * c.in[1] * pixel, c.in[1] * pixel, pixel};
  p.out_strides = {p.out_sizes[0] * p.out_sizes[1] * pixel, p.out_sizes[1] * pixel, pixel};
  ASSERT_TRUE(p.validate().ok());
  const auto in = random_integers<float>(c.batch * p.in_strides[0] - 3, -5, 5, 1);
  const auto weight = random_integers<float>(c.channels * c.kernel[0] * c.kernel[1], -5, 5, 2);
  const auto bias_values = random_integers<float>(c.channels, -9, 9, 3);
  std::vector<float> packed(weight.size());
  pack_depthwise_weights(p, {c.kernel[0] * c.kernel[1], c.kernel[1], 1}, weight.data(),
                         packed.data());
  std::vector<float> out(c.batch * p.out_strides[0] - 3, -1000.0f);
  std::vector<float> expected = out;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t y = 0; y < p.out_sizes[0]; ++y)
      for (int64_t x = 0; x < p.out_sizes[1]; ++x)
        for (int64_t ch = 0; ch < c.channels; ++ch) {
          float sum = bias ? bias_values[ch] : 0.0f;
          for (int64_t i = 0; i < c.kernel[0]; ++i)
            for (int64_t j = 0; j < c.kernel[1]; ++j) {
              const int64_t iy = y * c.stride[0] + i * c.dilation[0] - c.padding[0];
              const int64_t ix = x * c.stride[1] + j * c.dilation[1] - c.padding[1];
              if (iy < 0 || iy >= c.in[0] || ix < 0 || ix >= c.in[1]) continue;
              sum += in[b * p.in_strides[0] + iy * p.in_strides[1] + ix * pixel + ch] *
                     weight[(ch * c.kernel[0] + i) * c.kernel[1] + j];
            }
          expected[b * p.out_strides[0] + y * p.out_strides[1] + x * pixel + ch] =
              epilogue ? 2 * sum + 1 : sum;
        }
  if (epilogue) {
    depthwise(p, in.data(), packed.data(), bias_values.data(), out.data(),
              [&](int64_t b, int64_t y, int64_t c0, int64_t c1) {
                for (int64_t x = 0; x < p.out_sizes[1]; ++x) {
                  for (int64_t ch = c0; ch < c1; ++ch) {
                    float& value =
                        out[b * p.out_strides[0] + y * p.out_strides[1] + x * pixel + ch];
                    value = 2 * value + 1;
                  }
                }
              });
  } else {
    depthwise(p, in.data(), packed.data(), bias ? bias_values.data() : nullptr, out.data());
  }
  EXPECT_TRUE(out == expected) << c.channels << " channels, kernel " << c.kernel[0] << "x"
                               << c.kernel[1] << " bias " << bias << " epilogue " << epilogue;
}

TEST(Depthwise, MatchesTheDefinition) {
  for_each_simd_target([] {
    for (const Case& c : kCases) {
      check(c, true, false);
      check(c, false, false);
      check(c, true, true);
    }
  });
}

TEST(Depthwise, ZeroSizesAndErrors) {
  DepthwiseParams p;
  depthwise(p, nullptr, nullptr, nullptr, nullptr);
  EXPECT_TRUE(p.validate().ok());
  p.stride[0] = 0;
  EXPECT_EQ(p.validate().code(), "K4326");
  p.stride[0] = 1, p.out_sizes[1] = -1;
  EXPECT_EQ(p.validate().code(), "K4326");
  p.out_sizes[1] = 0, p.kernel[1] = 0;
  EXPECT_EQ(p.validate().code(), "K4326");
}

}  // namespace
}  // namespace kiln::cpu
