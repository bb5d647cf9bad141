#include "backends/cpu/kernels/index.h"

#include <gtest/gtest.h>

#include "base/parallel_for.h"
#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

IndexParams embedding(int64_t rows, int64_t width, Dims index_sizes, int index_rank) {
  IndexParams p;
  p.op = "embedding";
  p.table_sizes[0] = rows, p.table_strides[0] = width;
  p.index_rank = index_rank;
  p.index_sizes = index_sizes;
  int64_t step = 1;
  for (int d = index_rank - 1; d >= 0; --d) {
    p.index_strides[0][d] = step;
    p.index_dense_strides[d] = step * width;
    step *= index_sizes[d];
  }
  p.slice_rank = 1;
  p.slice_sizes[0] = width, p.slice_table_strides[0] = p.slice_dense_strides[0] = 1;
  return p;
}

TEST(Index, Embedding) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    const auto table = random_reals<float>(50 * 300, 1);
    const auto wide = random_integers<int64_t>(4 * 33, 0, 49, 2);
    const std::vector<int32_t> narrow(wide.begin(), wide.end());
    for (bool use_narrow : {false, true}) {
      IndexParams p = embedding(50, 300, {4, 33}, 2);
      p.index_type = use_narrow ? IndexType::kI32 : IndexType::kI64;
      ASSERT_TRUE(p.validate().ok());
      std::vector<float> out(4 * 33 * 300);
      Scratch scratch(index_scratch_bytes(p));
      const void* index = use_narrow ? static_cast<const void*>(narrow.data()) : wide.data();
      ASSERT_TRUE(index_gather(p, table.data(), &index, out.data(), scratch.data()).ok());
      for (size_t i = 0; i < wide.size(); ++i) {
        for (int e = 0; e < 300; ++e) ASSERT_EQ(out[i * 300 + e], table[wide[i] * 300 + e]);
      }
    }
  }
}

// index_select along the last dim, which is also innermost in the result.
TEST(Index, SelectColumns) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    for (int bytes : {1, 2, 4, 8, 16}) {
      const int64_t rows = 700, cols = 13, count = 40;
      auto table = random_integers<uint8_t>(rows * cols * bytes, 0, 255, 3);
      auto index = random_integers<int64_t>(count, 0, cols - 1, 4);
      IndexParams p;
      p.op = "index_select";
      p.element_bytes = bytes;
      p.table_sizes[0] = cols, p.table_strides[0] = 1;
      p.index_rank = 1;
      p.index_sizes[0] = count, p.index_strides[0][0] = 1, p.index_dense_strides[0] = 1;
      p.slice_rank = 1;
      p.slice_sizes[0] = rows, p.slice_table_strides[0] = cols, p.slice_dense_strides[0] = count;
      std::vector<uint8_t> out(static_cast<size_t>(rows * count * bytes));
      Scratch scratch(index_scratch_bytes(p));
      const void* indices = index.data();
      ASSERT_TRUE(index_gather(p, table.data(), &indices, out.data(), scratch.data()).ok());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t k = 0; k < count; ++k) {
          for (int b = 0; b < bytes; ++b) {
            ASSERT_EQ(out[(r * count + k) * bytes + b], table[(r * cols + index[k]) * bytes + b]);
          }
        }
      }
    }
  }
}

// x[i0, :, i1] with i0 of shape [2, 1], i1 of shape [3]: the result is [2, 3, middle] in torch,
// here written as [middle, 2, 3] to see that strides are obeyed.
TEST(Index, TwoBroadcastIndices) {
  const int64_t a = 4, m = 5, b = 6;
  auto x = random_integers<int32_t>(a * m * b, -100, 100, 5);
  const std::vector<int64_t> i0{-1, 2}, i1{0, -6, 5};
  IndexParams p;
  p.allow_negative = true;
  p.index_count = 2;
  p.table_sizes = {a, b};
  p.table_strides = {m * b, 1};
  p.index_rank = 2;
  p.index_sizes = {2, 3};
  p.index_strides[0] = {1, 0};
  p.index_strides[1] = {0, 1};
  p.index_dense_strides = {3, 1};
  p.slice_rank = 1;
  p.slice_sizes[0] = m, p.slice_table_strides[0] = b, p.slice_dense_strides[0] = 6;
  std::vector<int32_t> out(30);
  Scratch scratch(index_scratch_bytes(p));
  const void* indices[] = {i0.data(), i1.data()};
  ASSERT_TRUE(index_gather(p, x.data(), indices, out.data(), scratch.data()).ok());
  const int64_t r0[] = {3, 2}, r1[] = {0, 0, 5};
  for (int64_t j = 0; j < m; ++j) {
    for (int s = 0; s < 2; ++s) {
      for (int t = 0; t < 3; ++t) EXPECT_EQ(out[j * 6 + s * 3 + t], x[(r0[s] * m + j) * b + r1[t]]);
    }
  }
}

TEST(Index, ScalarIndexAndNoSlice) {
  const std::vector<double> x{1, 2, 3};
  const int64_t i = 2;
  IndexParams p;
  p.element_bytes = 8;
  p.table_sizes[0] = 3, p.table_strides[0] = 1;
  double out = 0;
  Scratch scratch(index_scratch_bytes(p));
  const void* indices = &i;
  ASSERT_TRUE(index_gather(p, x.data(), &indices, &out, scratch.data()).ok());
  EXPECT_EQ(out, 3.0);
}

TEST(Index, OutOfRangeNamesTheFirst) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    std::vector<float> table(30, 1.0f), out(20000 * 3, -5.0f);
    std::vector<int64_t> index(20000, 1);
    index[6000] = 10, index[15000] = -77;
    IndexParams p = embedding(10, 3, {20000}, 1);
    Scratch scratch(index_scratch_bytes(p));
    const void* indices = index.data();
    Status status = index_gather(p, table.data(), &indices, out.data(), scratch.data());
    EXPECT_EQ(status.code(), "K4312");
    EXPECT_EQ(status.message(),
              "embedding: index is out of range, got 10 at position 6000, range [0, 9]");
    EXPECT_EQ(out, std::vector<float>(20000 * 3, -5.0f));
    index[6000] = -1;
    EXPECT_EQ(index_gather(p, table.data(), &indices, out.data(), scratch.data()).code(), "K4312");
    p.allow_negative = true;
    index[15000] = -10;
    EXPECT_TRUE(index_gather(p, table.data(), &indices, out.data(), scratch.data()).ok());
    p.table_sizes[0] = 0;
    EXPECT_EQ(index_put(p, DType::kF32, true, out.data(), &indices, table.data(), scratch.data())
                  .message(),
              "embedding: index is out of range, got 1 at position 0, range empty");
  }
}

TEST(Index, PutLastWinsAndAccumulates) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    const int64_t rows = 7, width = 20000;
    IndexParams p = embedding(rows, width, {5}, 1);
    p.allow_negative = true;
    const std::vector<int64_t> index{3, 0, 3, -1, 3};
    const auto values = random_integers<float>(5 * width, -9, 9, 6);
    const void* indices = index.data();
    Scratch scratch(index_scratch_bytes(p));
    std::vector<float> table(rows * width, 100.0f);
    ASSERT_TRUE(
        index_put(p, DType::kF32, false, values.data(), &indices, table.data(), scratch.data())
            .ok());
    std::vector<float> sums(rows * width, 100.0f);
    ASSERT_TRUE(
        index_put(p, DType::kF32, true, values.data(), &indices, sums.data(), scratch.data()).ok());
    for (int64_t e = 0; e < width; ++e) {
      ASSERT_EQ(table[3 * width + e], values[4 * width + e]);
      ASSERT_EQ(table[e], values[width + e]);
      ASSERT_EQ(table[6 * width + e], values[3 * width + e]);
      ASSERT_EQ(table[2 * width + e], 100.0f);
      ASSERT_EQ(sums[3 * width + e],
                100.0f + values[e] + values[2 * width + e] + values[4 * width + e]);
    }
  }
}

TEST(Index, AccumulatesEveryDType) {
  // Position 1 is hit twice, with a broadcast value.
  const std::vector<int32_t> index{1, 0, 1};
  auto check = [&]<class T>(DType dtype, std::vector<T> table, T value, std::vector<T> expected) {
    IndexParams p;
    p.index_type = IndexType::kI32;
    p.element_bytes = static_cast<int>(sizeof(T));
    p.table_sizes[0] = 3, p.table_strides[0] = 1;
    p.index_rank = 1;
    p.index_sizes[0] = 3, p.index_strides[0][0] = 1;
    p.index_dense_strides[0] = 0;
    const void* indices = index.data();
    Scratch scratch(index_scratch_bytes(p));
    ASSERT_TRUE(index_put(p, dtype, true, &value, &indices, table.data(), scratch.data()).ok());
    EXPECT_EQ(table, expected) << dtype_name(dtype);
  };
  check(DType::kF64, std::vector<double>{1, 2, 3}, 0.5, {1.5, 3, 3});
  check(DType::kI64, std::vector<int64_t>{1, 2, 3}, int64_t{1} << 40,
        {1 + (int64_t{1} << 40), 2 + (int64_t{1} << 41), 3});
  check(DType::kI8, std::vector<int8_t>{1, 100, 3}, int8_t{50}, {51, -56, 3});
  check(DType::kU8, std::vector<uint8_t>{1, 200, 3}, uint8_t{50}, {51, 44, 3});
  check(DType::kBool, std::vector<uint8_t>{0, 0, 0}, uint8_t{1}, {1, 1, 0});
  check(DType::kF16, std::vector<uint16_t>{f32_to_f16(1), f32_to_f16(2), 0}, f32_to_f16(0.5f),
        {f32_to_f16(1.5f), f32_to_f16(3), 0});
  check(DType::kBF16, std::vector<uint16_t>{f32_to_bf16(1), f32_to_bf16(2), 0}, f32_to_bf16(0.5f),
        {f32_to_bf16(1.5f), f32_to_bf16(3), 0});
}

TEST(Index, ZeroSizes) {
  IndexParams p = embedding(10, 3, {0}, 1);
  const void* indices = nullptr;
  EXPECT_TRUE(index_gather(p, nullptr, &indices, nullptr, nullptr).ok());
  p = embedding(10, 0, {2}, 1);
  const int64_t index[] = {0, 10};
  indices = index;
  Scratch scratch(index_scratch_bytes(p));
  EXPECT_EQ(index_gather(p, nullptr, &indices, nullptr, scratch.data()).code(), "K4312");
}

TEST(Index, RefusesBadParameters) {
  IndexParams p = embedding(10, 3, {2}, 1);
  p.element_bytes = 3;
  EXPECT_EQ(p.validate().code(), "K4311");
  p.element_bytes = 4;
  p.index_count = 0;
  EXPECT_EQ(p.validate().code(), "K4311");
}

}  // namespace
}  // namespace kiln::cpu
