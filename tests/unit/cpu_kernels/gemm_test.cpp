#include "backends/cpu/kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "unit/cpu_kernels/buffers.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln::cpu {
namespace {

enum Order { kRowMajor, kColumnMajor, kSpread };  // kSpread: no stride is 1

std::array<int64_t, 2> strides(Order order, int64_t rows, int64_t columns) {
  if (order == kRowMajor) return {columns, 1};
  if (order == kColumnMajor) return {1, rows};
  return {columns * 2, 2};
}

// Integer values, so that every order of summation gives the same bits.
template <class T>
void check(int64_t m, int64_t n, int64_t k, Order a_order, Order b_order, Order c_order, bool bias,
           bool packed, int threads, int64_t batch = 1, bool share_b = false) {
  GemmParams p;
  p.dtype = sizeof(T) == 4 ? DType::kF32 : DType::kF64;
  p.m = m, p.n = n, p.k = k;
  p.a_strides = strides(a_order, m, k);
  p.b_strides = strides(b_order, k, n);
  p.c_strides = strides(c_order, m, n);
  p.has_bias = bias, p.packed_b = packed;
  p.batch_rank = 2;
  p.batch_sizes = {batch, 2};
  const int64_t a_size = m * k * 2, b_size = k * n * 2, c_size = m * n * 2;
  p.a_batch_strides = {2 * a_size, a_size};
  p.b_batch_strides = share_b || packed ? Dims{0, 0} : Dims{b_size, 0};
  p.c_batch_strides = {c_size, batch * c_size};
  ASSERT_TRUE(p.validate().ok());
  const auto a = random_integers<T>(batch * 2 * a_size, -4, 4, 1);
  const auto b = random_integers<T>(batch * b_size, -4, 4, 2);
  const auto bias_values = random_integers<T>(n, -9, 9, 3);
  std::vector<T> c(static_cast<size_t>(batch * 2 * c_size), T(-1));
  std::vector<T> expected = c;
  for (int64_t s = 0; s < batch; ++s)
    for (int64_t t = 0; t < 2; ++t)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          T sum = bias ? bias_values[j] : T(0);
          for (int64_t q = 0; q < k; ++q) {
            sum += a[s * p.a_batch_strides[0] + t * p.a_batch_strides[1] + i * p.a_strides[0] +
                     q * p.a_strides[1]] *
                   b[s * p.b_batch_strides[0] + q * p.b_strides[0] + j * p.b_strides[1]];
          }
          expected[s * p.c_batch_strides[0] + t * p.c_batch_strides[1] + i * p.c_strides[0] +
                   j * p.c_strides[1]] = sum;
        }
  const GemmPlan plan(p, threads);
  Scratch scratch(plan.scratch_bytes());
  Scratch weights(packed ? packed_weights_bytes(p.dtype, k, n) : 0);
  if (packed) pack_weights(p.dtype, k, n, p.b_strides, b.data(), weights.data());
  plan.run(a.data(), packed ? weights.data() : b.data(), bias ? bias_values.data() : nullptr,
           c.data(), scratch.data());
  EXPECT_TRUE(c == expected) << m << "x" << n << "x" << k << " orders " << a_order << b_order
                             << c_order << " bias " << bias << " packed " << packed << " threads "
                             << threads << " batch " << batch;
}

const int64_t kSizes[][3] = {
    {1, 1, 1},     {1, 33, 17},   {2, 64, 300}, {3, 5, 600},    {4, 1100, 7},   {5, 40, 40},
    {12, 32, 256}, {13, 31, 257}, {48, 70, 20}, {50, 16, 520},  {100, 130, 65}, {7, 3, 1},
    {1, 2500, 70}, {4, 700, 30},  {60, 1, 50},  {3, 1030, 259},
};

TEST(Gemm, EverySizeOrderAndTarget) {
  for_each_simd_target([] {
    for (const auto& [m, n, k] : kSizes) {
      for (Order a : {kRowMajor, kColumnMajor, kSpread}) {
        for (Order b : {kRowMajor, kColumnMajor, kSpread}) {
          check<float>(m, n, k, a, b, kRowMajor, m % 2 == 0, false, 2);
        }
      }
      for (Order c : {kColumnMajor, kSpread}) {
        check<float>(m, n, k, kRowMajor, kRowMajor, c, false, false, 3);
        check<float>(m, n, k, kRowMajor, kColumnMajor, c, true, false, 3);
      }
      check<double>(m, n, k, kRowMajor, kRowMajor, kRowMajor, true, false, 2);
      check<double>(m, n, k, kRowMajor, kColumnMajor, kRowMajor, false, false, 1);
      for (Order b : {kRowMajor, kColumnMajor, kSpread}) {
        check<float>(m, n, k, kRowMajor, b, kRowMajor, true, true, 2);
        check<double>(m, n, k, kRowMajor, b, kSpread, false, true, 2);
      }
    }
  });
}

TEST(Gemm, Batches) {
  for (bool share_b : {false, true}) {
    for (int threads : {1, 2, 7}) {
      check<float>(30, 40, 50, kRowMajor, kRowMajor, kRowMajor, true, false, threads, 5, share_b);
      check<float>(2, 40, 50, kRowMajor, kColumnMajor, kRowMajor, true, false, threads, 5, share_b);
      check<float>(2, 40, 50, kRowMajor, kRowMajor, kColumnMajor, false, false, threads, 5,
                   share_b);
      check<float>(1, 100, 50, kRowMajor, kRowMajor, kRowMajor, true, true, threads, 5);
    }
  }
}

TEST(Gemm, ZeroSizes) {
  check<float>(0, 5, 5, kRowMajor, kRowMajor, kRowMajor, true, false, 2);
  check<float>(5, 0, 5, kRowMajor, kRowMajor, kRowMajor, true, false, 2);
  for (int64_t m : {1, 5, 50}) {  // nothing to sum: the bias, or zero
    check<float>(m, 40, 0, kRowMajor, kRowMajor, kRowMajor, true, false, 2);
    check<float>(m, 40, 0, kRowMajor, kColumnMajor, kRowMajor, false, false, 2);
    check<float>(m, 40, 0, kRowMajor, kRowMajor, kRowMajor, true, true, 2);
  }
  check<float>(5, 5, 5, kRowMajor, kRowMajor, kRowMajor, false, false, 2, 0);
}

// Padding must not spread what real elements hold: 0 * inf is NaN.
TEST(Gemm, InfinityStaysInItsPlace) {
  const float inf = std::numeric_limits<float>::infinity();
  for (int64_t m : {1, 3, 20}) {
    for (Order order : {kRowMajor, kColumnMajor}) {
      const int64_t n = 37, k = 18;
      GemmParams p;
      p.m = m, p.n = n, p.k = k;
      p.a_strides = {k, 1}, p.b_strides = strides(order, k, n), p.c_strides = {n, 1};
      std::vector<float> a(m * k, 1.0f), b(k * n, 1.0f), c(m * n);
      b[(k - 1) * p.b_strides[0] + (n - 1) * p.b_strides[1]] = inf;
      const GemmPlan plan(p, 1);
      Scratch scratch(plan.scratch_bytes());
      plan.run(a.data(), b.data(), nullptr, c.data(), scratch.data());
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) EXPECT_EQ(c[i * n + j], j == n - 1 ? inf : 18.0f);
      }
    }
  }
}

TEST(Gemm, SameBitsForEveryThreadCount) {
  for (int64_t m : {1, 3, 100}) {
    for (Order order : {kRowMajor, kColumnMajor}) {
      const int64_t n = 500, k = 700;
      GemmParams p;
      p.m = m, p.n = n, p.k = k;
      p.a_strides = {k, 1}, p.b_strides = strides(order, k, n), p.c_strides = {n, 1};
      const auto a = random_reals<float>(m * k, 1), b = random_reals<float>(k * n, 2);
      std::vector<std::vector<float>> results;
      for (int threads : {1, 2, 3, 8}) {
        const GemmPlan plan(p, threads);
        Scratch scratch(plan.scratch_bytes());
        results.emplace_back(m * n);
        plan.run(a.data(), b.data(), nullptr, results.back().data(), scratch.data());
        EXPECT_EQ(results.back(), results.front());
      }
    }
  }
}

// The epilogue doubles what it is given: any element visited never, twice or too early shows.
TEST(Gemm, EpilogueSeesEveryFinalElementOnce) {
  for (int threads : {1, 3}) {
    for (int64_t m : {1, 4, 100}) {
      for (Order b_order : {kRowMajor, kColumnMajor}) {
        for (Order c_order : {kRowMajor, kColumnMajor, kSpread}) {
          for (bool packed : {false, true}) {
            const int64_t n = 1050, k = 300, batch = 2;
            GemmParams p;
            p.m = m, p.n = n, p.k = k, p.packed_b = packed;
            p.a_strides = {k, 1}, p.b_strides = strides(b_order, k, n);
            p.c_strides = strides(c_order, m, n);
            p.batch_rank = 1, p.batch_sizes[0] = batch;
            p.a_batch_strides[0] = m * k, p.c_batch_strides[0] = 2 * m * n;
            const auto a = random_integers<float>(batch * m * k, -4, 4, 1);
            const auto b = random_integers<float>(k * n, -4, 4, 2);
            const GemmPlan plan(p, threads);
            Scratch scratch(plan.scratch_bytes()), weights(packed_weights_bytes(p.dtype, k, n));
            pack_weights(p.dtype, k, n, p.b_strides, b.data(), weights.data());
            const void* b_data = packed ? weights.data() : b.data();
            std::vector<float> plain(batch * 2 * m * n), doubled(plain.size());
            plan.run(a.data(), b_data, nullptr, plain.data(), scratch.data());
            plan.run(a.data(), b_data, nullptr, doubled.data(), scratch.data(),
                     [&](int64_t s, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
                       for (int64_t i = m0; i < m1; ++i) {
                         for (int64_t j = n0; j < n1; ++j) {
                           float& c = doubled[s * p.c_batch_strides[0] + i * p.c_strides[0] +
                                              j * p.c_strides[1]];
                           c = 2 * c + 1;
                         }
                       }
                     });
            for (int64_t s = 0; s < batch; ++s) {
              for (int64_t i = 0; i < m; ++i) {
                for (int64_t j = 0; j < n; ++j) {
                  const int64_t at =
                      s * p.c_batch_strides[0] + i * p.c_strides[0] + j * p.c_strides[1];
                  ASSERT_EQ(doubled[at], 2 * plain[at] + 1)
                      << m << " " << b_order << c_order << packed;
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(Gemm, RefusesBadParameters) {
  GemmParams p;
  p.m = -1;
  EXPECT_EQ(p.validate().code(), "K4322");
  p.m = 1, p.dtype = DType::kI64;
  EXPECT_EQ(p.validate().code(), "K4322");
  p.dtype = DType::kF32, p.batch_rank = 99;
  EXPECT_EQ(p.validate().code(), "K4322");
}

}  // namespace
}  // namespace kiln::cpu
