#include "backends/cpu/kernels/copy.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/parallel_for.h"
#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

struct Case {
  const char* name;
  std::vector<int64_t> sizes, src_strides, dst_strides;
};

CopyParams params(const Case& c, int bytes) {
  CopyParams p;
  p.element_bytes = bytes;
  p.rank = static_cast<int>(c.sizes.size());
  for (int i = 0; i < p.rank; ++i) {
    p.sizes[i] = c.sizes[i], p.src_strides[i] = c.src_strides[i],
    p.dst_strides[i] = c.dst_strides[i];
  }
  return p;
}

// Lowest and highest offset that strides reach.
std::pair<int64_t, int64_t> extent(const std::vector<int64_t>& sizes,
                                   const std::vector<int64_t>& strides) {
  int64_t low = 0, high = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return {0, -1};
    (strides[i] < 0 ? low : high) += strides[i] * (sizes[i] - 1);
  }
  return {low, high};
}

void check(const Case& c, int bytes) {
  SCOPED_TRACE(std::string(c.name) + ", element bytes " + std::to_string(bytes));
  const CopyParams p = params(c, bytes);
  ASSERT_TRUE(p.validate().ok());
  const auto [src_low, src_high] = extent(c.sizes, c.src_strides);
  const auto [dst_low, dst_high] = extent(c.sizes, c.dst_strides);
  std::vector<unsigned char> src(static_cast<size_t>((src_high - src_low + 1) * bytes));
  std::mt19937 engine(7);
  for (auto& b : src) b = static_cast<unsigned char>(engine());
  std::vector<unsigned char> dst(static_cast<size_t>((dst_high - dst_low + 1) * bytes), 0xee);
  std::vector<unsigned char> expected = dst;
  const int64_t count = element_count(p.rank, p.sizes);
  for (int64_t at = 0; at < count; ++at) {
    int64_t rest = at, from = -src_low, to = -dst_low;
    for (int d = p.rank - 1; d >= 0; --d) {
      from += rest % p.sizes[d] * p.src_strides[d];
      to += rest % p.sizes[d] * p.dst_strides[d];
      rest /= p.sizes[d];
    }
    std::copy_n(src.begin() + from * bytes, bytes, expected.begin() + to * bytes);
  }
  copy_strided(p, src.data() - src_low * bytes, dst.data() - dst_low * bytes);
  EXPECT_EQ(dst, expected);
}

const Case kCases[] = {
    {"scalar", {}, {}, {}},
    {"vector", {1000}, {1}, {1}},
    {"large vector", {100003}, {1}, {1}},
    {"empty", {3, 0, 2}, {0, 2, 1}, {0, 2, 1}},
    {"strided to dense", {999}, {3}, {1}},
    {"large strided", {2, 70001}, {1, 5}, {2 * 70001, 2}},
    {"dense to strided", {999}, {1}, {2}},
    {"transpose", {65, 131}, {1, 65}, {131, 1}},
    {"transpose of a few columns", {224 * 224, 3}, {1, 224 * 224}, {3, 1}},
    {"transpose of a few rows", {3, 5000}, {1, 3}, {5000, 1}},
    {"nchw to nhwc",
     {2, 17, 19, 23},
     {17 * 19 * 23, 19 * 23, 23, 1},
     {17 * 19 * 23, 1, 23 * 17, 17}},
    {"nhwc to nchw",
     {2, 17, 19, 23},
     {17 * 19 * 23, 1, 23 * 17, 17},
     {17 * 19 * 23, 19 * 23, 23, 1}},
    {"split heads", {2, 12, 50, 64}, {50 * 768, 64, 768, 1}, {50 * 768, 50 * 64, 64, 1}},
    {"slice", {7, 9}, {20, 1}, {9, 1}},
    {"into a slice", {7, 3000}, {3000, 1}, {9000, 1}},
    {"expand", {5, 6, 7}, {0, 1, 0}, {42, 7, 1}},
    {"flip", {8, 33}, {-33, 1}, {33, 1}},
    {"flip the inner dim", {8, 33}, {33, -1}, {33, 1}},
    {"permuted, nowhere unit", {4, 5, 6}, {60, 2, 10}, {90, 18, 3}},
    {"dims of one", {1, 5, 1, 6, 1}, {999, 6, -5, 1, 3}, {1, 6, 8, 1, 0}},
    {"three way permutation", {13, 14, 15}, {1, 13 * 15, 13}, {14 * 15, 15, 1}},
    {"same order, both odd", {6, 5}, {1, 6}, {1, 6}},
    {"sixteen dims",
     {2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 2},
     {1, 9, 2, 9, 4, 9, 8, 9, 16, 9, 32, 9, 64, 9, 128, 256},
     {256, 9, 128, 9, 64, 9, 32, 9, 16, 9, 8, 9, 4, 9, 2, 1}},
};

TEST(Copy, EveryStridePattern) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    for (const Case& c : kCases) {
      for (int bytes : {1, 2, 4, 8, 16}) check(c, bytes);
    }
  }
}

TEST(Copy, ContiguousInAnotherOrderIsOneRun) {
  const Case c{"nhwc both", {2, 3, 4, 5}, {60, 1, 15, 3}, {60, 1, 15, 3}};
  EXPECT_EQ(CopyPlan(params(c, 4)).units(), 1);
}

TEST(Copy, SeveralInOneRegion) {
  for (int threads : {1, 2, 3}) {
    ScopedNumThreads limit(threads);
    // Concat along dim 1 of [40, 300 + 0 + 1 + 700], one part transposed in memory.
    const int64_t widths[] = {300, 0, 1, 700};
    std::vector<float> dst(40 * 1001, -1.0f);
    std::vector<std::vector<float>> sources;
    std::vector<CopyPlan> plans;
    std::vector<CopyTask> tasks;
    sources.reserve(4), plans.reserve(4);
    int64_t at = 0;
    for (int i = 0; i < 4; ++i) {
      sources.push_back(random_reals<float>(40 * widths[i], 10 + i));
      const bool transposed = i == 3;
      plans.emplace_back(params(
          {"", {40, widths[i]}, {transposed ? 1 : widths[i], transposed ? 40 : 1}, {1001, 1}}, 4));
      tasks.push_back({&plans.back(), sources.back().data(), dst.data() + at});
      at += widths[i];
    }
    copy_all(tasks);
    at = 0;
    for (int i = 0; i < 4; ++i) {
      for (int64_t r = 0; r < 40; ++r) {
        for (int64_t c = 0; c < widths[i]; ++c) {
          ASSERT_EQ(dst[r * 1001 + at + c], sources[i][i == 3 ? c * 40 + r : r * widths[i] + c]);
        }
      }
      at += widths[i];
    }
  }
  copy_all({});
}

TEST(Copy, Fill) {
  std::vector<int16_t> dst(30, 1);
  const int16_t value = 513;
  fill_strided(2, 2, {5, 2}, {6, 2}, &value, dst.data());
  for (int i = 0; i < 30; ++i) EXPECT_EQ(dst[i], i % 6 == 0 || i % 6 == 2 ? 513 : 1);
}

TEST(Copy, RefusesBadParameters) {
  CopyParams p = params({"", {3}, {1}, {1}}, 3);
  EXPECT_EQ(p.validate().code(), "K4311");
  p.element_bytes = 4;
  p.sizes[0] = -1;
  EXPECT_EQ(p.validate().code(), "K4311");
  p.rank = kMaxRank + 1;
  EXPECT_EQ(p.validate().code(), "K4311");
}

}  // namespace
}  // namespace kiln::cpu
