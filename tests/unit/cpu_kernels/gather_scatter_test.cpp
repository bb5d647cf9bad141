#include "backends/cpu/kernels/gather_scatter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/parallel_for.h"
#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

Dims dense_strides(int rank, const Dims& sizes) {
  Dims strides{};
  int64_t step = 1;
  for (int d = rank - 1; d >= 0; --d) {
    strides[d] = step;
    step *= sizes[d];
  }
  return strides;
}

GatherParams make(int rank, int dim, Dims index_sizes, Dims table_sizes) {
  GatherParams p;
  p.rank = rank, p.dim = dim, p.dim_size = table_sizes[dim];
  p.sizes = index_sizes;
  p.index_strides = p.dense_strides = dense_strides(rank, index_sizes);
  p.table_strides = dense_strides(rank, table_sizes);
  return p;
}

// Offsets of index/dense and of the table for every position, by plain arithmetic.
template <class Body>
void for_positions(const GatherParams& p, const std::vector<int64_t>& index, Body&& body) {
  for (int64_t at = 0; at < element_count(p.rank, p.sizes); ++at) {
    int64_t rest = at, place = 0;
    for (int d = p.rank - 1; d >= 0; --d) {
      place += (d == p.dim ? index[at] : rest % p.sizes[d]) * p.table_strides[d];
      rest /= p.sizes[d];
    }
    body(at, place);
  }
}

struct Shape {
  int rank, dim;
  Dims index_sizes, table_sizes;
};
const Shape kShapes[] = {
    {1, 0, {30}, {7}},
    {2, 0, {5, 200}, {9, 201}},
    {2, 1, {100, 40}, {120, 300}},
    {3, 1, {4, 6, 130}, {4, 3, 130}},
    {3, 0, {8, 5, 3}, {2, 6, 4}},
    {3, 2, {8, 5, 3}, {8, 6, 1}},
};

TEST(Gather, MatchesTheDefinition) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    for (const Shape& s : kShapes) {
      GatherParams p = make(s.rank, s.dim, s.index_sizes, s.table_sizes);
      ASSERT_TRUE(p.validate().ok());
      const int64_t n = element_count(p.rank, p.sizes);
      const auto index = random_integers<int64_t>(n, 0, static_cast<int>(p.dim_size) - 1, 1);
      const std::vector<int32_t> narrow(index.begin(), index.end());
      const auto table = random_reals<float>(element_count(s.rank, s.table_sizes), 2);
      std::vector<float> expected(n), out(n);
      for_positions(p, index, [&](int64_t at, int64_t place) { expected[at] = table[place]; });
      ASSERT_TRUE(gather(p, table.data(), index.data(), out.data()).ok());
      EXPECT_EQ(out, expected);
      std::fill(out.begin(), out.end(), 0.0f);
      p.index_type = IndexType::kI32;
      ASSERT_TRUE(gather(p, table.data(), narrow.data(), out.data()).ok());
      EXPECT_EQ(out, expected);
    }
  }
}

TEST(Scatter, EveryReduction) {
  for (int threads : {1, 3}) {
    for (const Shape& s : kShapes) {
      for (ScatterReduce reduce :
           {ScatterReduce::kReplace, ScatterReduce::kSum, ScatterReduce::kProd,
            ScatterReduce::kMean, ScatterReduce::kMax, ScatterReduce::kMin}) {
        for (bool include_self : {true, false}) {
          GatherParams p = make(s.rank, s.dim, s.index_sizes, s.table_sizes);
          const int64_t n = element_count(p.rank, p.sizes);
          const auto index = random_integers<int64_t>(n, 0, static_cast<int>(p.dim_size) - 1, 1);
          const auto dense = random_integers<float>(n, -2, 2, 2);
          auto table = random_integers<float>(element_count(s.rank, s.table_sizes), -2, 2, 3);
          std::vector<std::vector<double>> hits(table.size());
          std::vector<double> expected(table.begin(), table.end());
          for_positions(p, index,
                        [&](int64_t at, int64_t place) { hits[place].push_back(dense[at]); });
          for (size_t i = 0; i < hits.size(); ++i) {
            if (hits[i].empty()) continue;
            if (include_self) hits[i].insert(hits[i].begin(), expected[i]);
            double sum = 0, prod = 1, max = hits[i][0], min = hits[i][0];
            for (double h : hits[i]) {
              sum += h, prod *= h, max = std::max(max, h), min = std::min(min, h);
            }
            const double results[] = {
                hits[i].back(), sum, prod, sum / static_cast<double>(hits[i].size()), max, min};
            expected[i] = results[static_cast<int>(reduce)];
          }
          Scratch scratch(scatter_scratch_bytes(p, reduce, threads));
          ASSERT_TRUE(scatter(p, reduce, include_self, dense.data(), index.data(), table.data(),
                              scratch.data(), threads)
                          .ok());
          for (size_t i = 0; i < table.size(); ++i) {
            ASSERT_EQ(table[i], static_cast<float>(expected[i]))
                << static_cast<int>(reduce) << " at " << i;
          }
        }
      }
    }
  }
}

// Expected values from torch: torch.tensor([7, -7, 5]).scatter_reduce(0, [0, 0, 1, 1], [1, 2, 0,
// 0], r).
TEST(Scatter, IntegerMeanRoundsDownAndWraps) {
  GatherParams p = make(1, 0, {4}, {3});
  p.dtype = DType::kI64;
  const std::vector<int64_t> index{0, 0, 1, 1};
  const std::vector<int64_t> dense{1, 2, 0, 0};
  std::vector<int64_t> table{7, -7, 5};
  Scratch scratch(scatter_scratch_bytes(p, ScatterReduce::kMean, 1));
  ASSERT_TRUE(scatter(p, ScatterReduce::kMean, true, dense.data(), index.data(), table.data(),
                      scratch.data(), 1)
                  .ok());
  EXPECT_EQ(table, (std::vector<int64_t>{3, -3, 5}));
}

TEST(Scatter, NanWinsMaxAndMin) {
  for (ScatterReduce reduce : {ScatterReduce::kMax, ScatterReduce::kMin}) {
    GatherParams p = make(1, 0, {3}, {2});
    const std::vector<int64_t> index{0, 0, 0};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> dense{1, nan, 2};
    std::vector<float> table{0, 0};
    ASSERT_TRUE(
        scatter(p, reduce, false, dense.data(), index.data(), table.data(), nullptr, 1).ok());
    EXPECT_TRUE(std::isnan(table[0]));
    EXPECT_EQ(table[1], 0.0f);
  }
}

TEST(Scatter, OneValueAndOtherDTypes) {
  const std::vector<int64_t> index{2, 0};
  auto check = [&]<class T>(DType dtype, T value, std::vector<T> table, std::vector<T> expected) {
    GatherParams p = make(1, 0, {2}, {3});
    p.dtype = dtype;
    p.dense_strides = {0};
    ASSERT_TRUE(
        scatter(p, ScatterReduce::kSum, true, &value, index.data(), table.data(), nullptr, 2).ok());
    EXPECT_EQ(table, expected) << dtype_name(dtype);
  };
  check(DType::kF64, 0.5, {1, 2, 3}, {1.5, 2, 3.5});
  check(DType::kI32, 5, {1, 2, 3}, {6, 2, 8});
  check(DType::kU8, uint8_t{255}, {1, 2, 3}, {0, 2, 2});
  check(DType::kI16, int16_t{32767}, {1, 2, 3}, {-32768, 2, -32766});
  check(DType::kBool, uint8_t{1}, {1, 0, 0}, {1, 0, 1});
  check(DType::kBF16, f32_to_bf16(2), {f32_to_bf16(1), 0, 0}, {f32_to_bf16(3), 0, f32_to_bf16(2)});
  check(DType::kF16, f32_to_f16(2), {f32_to_f16(1), 0, 0}, {f32_to_f16(3), 0, f32_to_f16(2)});
}

TEST(Gather, OutOfRange) {
  GatherParams p = make(2, 1, {3, 2}, {3, 4});
  std::vector<int64_t> index{0, 1, 2, 4, -1, 0};
  std::vector<float> table(12, 1.0f), out(6, -3.0f);
  Status status = gather(p, table.data(), index.data(), out.data());
  EXPECT_EQ(status.code(), "K4312");
  EXPECT_EQ(status.message(), "gather: index is out of range, got 4 at position 3, range [0, 3]");
  EXPECT_EQ(out, std::vector<float>(6, -3.0f));
  EXPECT_EQ(
      scatter(p, ScatterReduce::kSum, true, out.data(), index.data(), table.data(), nullptr, 1)
          .code(),
      "K4312");
  EXPECT_EQ(table, std::vector<float>(12, 1.0f));
  index[3] = 0;
  EXPECT_EQ(gather(p, table.data(), index.data(), out.data()).message(),
            "gather: index is out of range, got -1 at position 4, range [0, 3]");
}

TEST(Gather, ZeroSizesAndBadParameters) {
  GatherParams p = make(2, 1, {0, 2}, {3, 4});
  EXPECT_TRUE(gather(p, nullptr, nullptr, nullptr).ok());
  EXPECT_TRUE(scatter(p, ScatterReduce::kSum, true, nullptr, nullptr, nullptr, nullptr, 1).ok());
  p.dim = 2;
  EXPECT_EQ(p.validate().code(), "K4311");
  p.dim = 0, p.dim_size = -1;
  EXPECT_EQ(p.validate().code(), "K4311");
}

}  // namespace
}  // namespace kiln::cpu
