#include "backends/cpu/kernels/sort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

template <class T>
void check(DType dtype, bool descending, int64_t k, int dim, int threads) {
  const int64_t n = dim == 0 ? 37 : 41, lines = 37 * 41 / n;
  const auto src = random_integers<T>(37 * 41, 0, 9, 1);  // many equal values
  SortParams p;
  p.dtype = dtype, p.rank = 2, p.dim = dim, p.descending = descending, p.k = k;
  p.sizes = {37, 41};
  p.src_strides = {41, 1};
  const int64_t kept = k < 0 ? n : k;
  // Results transposed: [dim first or last] x lines.
  p.value_strides = dim == 0 ? Dims{lines, 1} : Dims{1, lines};
  p.index_strides = dim == 0 ? Dims{1, kept} : Dims{kept, 1};
  ASSERT_TRUE(p.validate().ok());
  std::vector<T> values(kept * lines);
  std::vector<int64_t> indices(kept * lines);
  Scratch scratch(sort_scratch_bytes(p, threads));
  sort(p, src.data(), values.data(), indices.data(), scratch.data(), threads);
  for (int64_t line = 0; line < lines; ++line) {
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    auto key = [&](int64_t i) { return src[dim == 0 ? i * 41 + line : line * 41 + i]; };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return descending ? key(a) > key(b) : key(a) < key(b);
    });
    for (int64_t i = 0; i < kept; ++i) {
      ASSERT_EQ(indices[line * kept + i], order[i]);
      ASSERT_EQ(values[i * lines + line], key(order[i]));
    }
  }
}

TEST(Sort, StableInEveryDType) {
  for (int threads : {1, 3}) {
    for (bool descending : {false, true}) {
      for (int64_t k : {-1, 0, 1, 5, 36}) {
        for (int dim : {0, 1}) {
          check<float>(DType::kF32, descending, k, dim, threads);
          check<double>(DType::kF64, descending, k, dim, threads);
          check<int64_t>(DType::kI64, descending, k, dim, threads);
          check<int32_t>(DType::kI32, descending, k, dim, threads);
          check<int16_t>(DType::kI16, descending, k, dim, threads);
          check<int8_t>(DType::kI8, descending, k, dim, threads);
          check<uint8_t>(DType::kU8, descending, k, dim, threads);
        }
      }
    }
  }
}

std::vector<int64_t> argsort(const std::vector<float>& x, bool descending, int64_t k = -1,
                             bool sorted = true) {
  SortParams p;
  p.sizes[0] = static_cast<int64_t>(x.size());
  p.src_strides[0] = p.value_strides[0] = p.index_strides[0] = 1;
  p.descending = descending, p.k = k, p.sorted = sorted;
  std::vector<int64_t> indices(k < 0 ? x.size() : static_cast<size_t>(k), -1);
  Scratch scratch(sort_scratch_bytes(p, 1));
  sort(p, x.data(), nullptr, indices.data(), scratch.data(), 1);
  return indices;
}

TEST(Sort, NanIsTheLargest) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{1, nan, -inf, inf, nan, 0};
  EXPECT_EQ(argsort(x, false), (std::vector<int64_t>{2, 5, 0, 3, 1, 4}));
  EXPECT_EQ(argsort(x, true), (std::vector<int64_t>{1, 4, 3, 0, 5, 2}));
  EXPECT_EQ(argsort(x, true, 3), (std::vector<int64_t>{1, 4, 3}));
  EXPECT_EQ(argsort(x, false, 2), (std::vector<int64_t>{2, 5}));
}

TEST(Sort, ZerosOfBothSignsAreEqual) {
  EXPECT_EQ(argsort({0.0f, -0.0f, 0.0f}, false), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(argsort({0.0f, -0.0f, 0.0f}, true), (std::vector<int64_t>{0, 1, 2}));
}

TEST(Sort, UnsortedTopkKeepsPositions) {
  EXPECT_EQ(argsort({5, 1, 9, 7, 3}, true, 3, false), (std::vector<int64_t>{0, 2, 3}));
}

TEST(Sort, SixteenBitFloatsAndBool) {
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    auto encode = [&](float x) { return dtype == DType::kF16 ? f32_to_f16(x) : f32_to_bf16(x); };
    const std::vector<uint16_t> x{encode(1), encode(-2), encode(0.5f)};
    std::vector<uint16_t> values(3);
    SortParams p;
    p.dtype = dtype, p.sizes[0] = 3, p.src_strides[0] = p.value_strides[0] = 1;
    Scratch scratch(sort_scratch_bytes(p, 1));
    sort(p, x.data(), values.data(), nullptr, scratch.data(), 1);
    EXPECT_EQ(values, (std::vector<uint16_t>{encode(-2), encode(0.5f), encode(1)}));
  }
  const uint8_t flags[] = {1, 0, 1};
  uint8_t sorted[3] = {9, 9, 9};
  SortParams p;
  p.dtype = DType::kBool, p.sizes[0] = 3, p.src_strides[0] = p.value_strides[0] = 1;
  Scratch scratch(sort_scratch_bytes(p, 1));
  sort(p, flags, sorted, nullptr, scratch.data(), 1);
  EXPECT_EQ(sorted[0] * 100 + sorted[1] * 10 + sorted[2], 11);
}

TEST(Sort, ZeroSizesAndErrors) {
  SortParams p;
  p.sizes[0] = 0;
  sort(p, nullptr, nullptr, nullptr, nullptr, 1);
  p.k = 1;
  EXPECT_EQ(p.validate().code(), "K4314");
  p.k = -1, p.dim = 3;
  EXPECT_EQ(p.validate().code(), "K4311");
}

}  // namespace
}  // namespace kiln::cpu
