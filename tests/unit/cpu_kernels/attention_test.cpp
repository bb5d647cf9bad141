#include "backends/cpu/kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "backends/cpu/kernels/element.h"
#include "unit/cpu_kernels/buffers.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// The definition, in double.
template <class T>
std::vector<double> oracle(const AttentionParams& p, const AttentionBuffers& io) {
  std::vector<double> out;
  const int64_t group = p.heads / p.kv_heads;
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t h = 0; h < p.heads; ++h)
      for (int64_t i = 0; i < p.q_len; ++i) {
        std::vector<double> s(p.kv_len);
        double max = -kInf;
        for (int64_t j = 0; j < p.kv_len; ++j) {
          double dot = 0;
          for (int64_t e = 0; e < p.head_dim; ++e) {
            dot += static_cast<double>(
                       static_cast<const T*>(io.q)[b * p.q_strides[0] + h * p.q_strides[1] +
                                                   i * p.q_strides[2] + e * p.q_strides[3]]) *
                   static_cast<const T*>(io.k)[b * p.k_strides[0] + h / group * p.k_strides[1] +
                                               j * p.k_strides[2] + e * p.k_strides[3]];
          }
          s[j] = dot * p.scale;
          const int64_t at = b * p.mask_strides[0] + h * p.mask_strides[1] + i * p.mask_strides[2] +
                             j * p.mask_strides[3];
          if (p.mask == AttentionMask::kAdditive) s[j] += static_cast<const T*>(io.mask)[at];
          if (p.mask == AttentionMask::kBool && !static_cast<const uint8_t*>(io.mask)[at])
            s[j] = -kInf;
          if (p.causal && j > i) s[j] = -kInf;
          max = std::max(max, s[j]);
        }
        double sum = 0;
        for (double& x : s) sum += x = max == -kInf ? 0.0 : std::exp(x - max);
        for (int64_t c = 0; c < p.value_dim; ++c) {
          double value = 0;
          for (int64_t j = 0; j < p.kv_len; ++j) {
            value +=
                s[j] * static_cast<const T*>(io.v)[b * p.v_strides[0] + h / group * p.v_strides[1] +
                                                   j * p.v_strides[2] + c * p.v_strides[3]];
          }
          out.push_back(sum == 0 ? 0.0 : value / sum);
        }
      }
  return out;
}

struct Case {
  int64_t batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim;
  AttentionMask mask = AttentionMask::kNone;
  bool causal = false;
  enum Order { kBHLD, kBLHD, kInnerStrided } order = kBHLD;
  enum MaskShape { kFull, kPerKey, kPerRow } mask_shape = kFull;
};

std::array<int64_t, 4> strides(Case::Order order, int64_t h, int64_t l, int64_t d) {
  if (order == Case::kBLHD) return {h * l * d, d, h * d, 1};
  if (order == Case::kInnerStrided) return {h * l * d, l * d, 1, l};
  return {h * l * d, l * d, d, 1};
}

AttentionParams params_of(const Case& c, DType dtype) {
  AttentionParams p;
  p.dtype = p.mask_dtype = dtype;
  p.batch = c.batch, p.heads = c.heads, p.kv_heads = c.kv_heads;
  p.q_len = c.q_len, p.kv_len = c.kv_len, p.head_dim = c.head_dim, p.value_dim = c.value_dim;
  p.q_strides = strides(c.order, c.heads, c.q_len, c.head_dim);
  p.k_strides = strides(c.order, c.kv_heads, c.kv_len, c.head_dim);
  p.v_strides = strides(c.order, c.kv_heads, c.kv_len, c.value_dim);
  p.out_strides =
      strides(c.order == Case::kBHLD ? Case::kBLHD : c.order, c.heads, c.q_len, c.value_dim);
  p.mask = c.mask;
  p.causal = c.causal;
  p.scale = 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(c.head_dim, 1)));
  if (c.mask_shape == Case::kFull) {
    p.mask_strides = {c.heads * c.q_len * c.kv_len, c.q_len * c.kv_len, c.kv_len, 1};
  } else if (c.mask_shape == Case::kPerKey) {
    p.mask_strides = {c.kv_len, 0, 0, 1};
  } else {
    p.mask_strides = {0, c.q_len, 1, 0};
  }
  return p;
}

template <class T>
void check(const Case& c, int threads, double tolerance) {
  const AttentionParams p = params_of(c, sizeof(T) == 4 ? DType::kF32 : DType::kF64);
  ASSERT_TRUE(p.validate().ok());

  // Exact sizes on the heap, so that the address sanitizer sees a read past the
  // end.
  auto q = random_reals<T>(c.batch * c.heads * c.q_len * c.head_dim, 1);
  auto k = random_reals<T>(c.batch * c.kv_heads * c.kv_len * c.head_dim, 2);
  auto v = random_reals<T>(c.batch * c.kv_heads * c.kv_len * c.value_dim, 3);
  for (T& x : q) x *= 4;
  int64_t mask_size = c.batch * c.heads * c.q_len * c.kv_len;
  if (c.mask_shape == Case::kPerKey) mask_size = c.batch * c.kv_len;
  if (c.mask_shape == Case::kPerRow) mask_size = c.heads * c.q_len;
  auto mask = random_reals<T>(mask_size, 4);
  std::vector<uint8_t> mask_bytes(mask.size());
  for (size_t i = 0; i < mask.size(); ++i) {
    mask_bytes[i] = mask[i] > 0.2 ? 0 : static_cast<uint8_t>(1 + i % 2);
    if (mask[i] > 0.7) mask[i] = -std::numeric_limits<T>::infinity();
  }
  const int64_t out_size = c.batch * c.heads * c.q_len * c.value_dim;
  std::vector<T> out(static_cast<size_t>(out_size), T(-77));
  AttentionBuffers io{q.data(), k.data(), v.data(), nullptr, out.data()};
  if (c.mask == AttentionMask::kAdditive) io.mask = mask.data();
  if (c.mask == AttentionMask::kBool) io.mask = mask_bytes.data();
  Scratch scratch(attention_scratch_bytes(p, threads));
  attention(p, io, scratch.data(), threads);

  const std::vector<double> expected = oracle<T>(p, io);
  size_t at = 0;
  double worst = 0;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t i = 0; i < c.q_len; ++i)
        for (int64_t e = 0; e < c.value_dim; ++e) {
          const double got = out[b * p.out_strides[0] + h * p.out_strides[1] +
                                 i * p.out_strides[2] + e * p.out_strides[3]];
          const double error = std::abs(got - expected[at++]);
          worst = std::isnan(error) ? kInf : std::max(worst, error);
        }
  EXPECT_LE(worst, tolerance) << "B" << c.batch << " H" << c.heads << "/" << c.kv_heads << " Lq"
                              << c.q_len << " Lk" << c.kv_len << " D" << c.head_dim << "/"
                              << c.value_dim << " mask " << static_cast<int>(c.mask) << "/"
                              << c.mask_shape << " causal " << c.causal << " order " << c.order
                              << " threads " << threads;
}

const Case kCases[] = {
    {1, 12, 12, 128, 128, 64, 64},
    {1, 3, 3, 197, 197, 64, 64, AttentionMask::kNone, false, Case::kBLHD},
    {2, 4, 2, 33, 70, 40, 24, AttentionMask::kAdditive},
    {2, 4, 1, 50, 300, 17, 19, AttentionMask::kBool, false, Case::kBLHD},
    {1, 2, 2, 600, 600, 16, 16, AttentionMask::kNone, true},
    {1, 1, 1, 100, 60, 8, 8, AttentionMask::kNone, true, Case::kBLHD},
    {1, 1, 1, 60, 100, 8, 8, AttentionMask::kNone, true},
    {1, 2, 1, 9, 5, 300, 70, AttentionMask::kAdditive, true},
    {2, 2, 2, 31, 65, 1, 1, AttentionMask::kBool, false, Case::kBHLD, Case::kPerKey},
    {2, 2, 2, 31, 520, 5, 3, AttentionMask::kAdditive, false, Case::kBHLD, Case::kPerKey},
    {2, 2, 2, 31, 65, 5, 3, AttentionMask::kAdditive, false, Case::kBHLD, Case::kPerRow},
    {2, 2, 2, 31, 300, 5, 3, AttentionMask::kBool, false, Case::kBHLD, Case::kPerRow},
    {1, 2, 2, 23, 45, 13, 21, AttentionMask::kAdditive, false, Case::kInnerStrided},
    {1, 2, 2, 3, 45, 13, 21, AttentionMask::kNone, false, Case::kInnerStrided},
    // Few query rows: read in place.
    {1, 12, 12, 1, 1000, 64, 64},
    {2, 8, 2, 1, 257, 80, 72, AttentionMask::kAdditive, false, Case::kBLHD},
    {2, 2, 2, 3, 600, 7, 9, AttentionMask::kBool, false, Case::kBHLD, Case::kPerKey},
    {1, 2, 2, 5, 300, 33, 65, AttentionMask::kNone, true, Case::kBLHD},
    {1, 1, 1, 1, 1, 1, 1},
    {1, 2, 1, 3, 2, 20, 1, AttentionMask::kBool},
    {3, 6, 6, 6, 256, 16, 48},
};

TEST(Attention, MatchesTheDefinition) {
  for_each_simd_target([] {
    for (const Case& c : kCases) {
      for (int threads : {1, 2, 5}) check<float>(c, threads, 2e-6);
    }
  });
}

TEST(Attention, DoublePrecision) {
  for_each_simd_target([] {
    for (const Case& c : kCases) check<double>(c, 2, 1e-13);
  });
}

// What is computed in f32 from the same numbers, rounded once.
template <class S>
void check_16_bit(const Case& c, DType dtype, bool wide_mask, int threads) {
  AttentionParams p = params_of(c, dtype);
  if (wide_mask) p.mask_dtype = DType::kF32;
  ASSERT_TRUE(p.validate().ok());
  auto narrow = [](int64_t size, int seed, std::vector<float>* wide) {
    std::vector<S> values;
    for (float& x : *wide = random_reals<float>(size, seed)) {
      values.emplace_back(x * 4);
      x = values.back();
    }
    return values;
  };
  std::vector<float> q, k, v, mask;
  auto q16 = narrow(c.batch * c.heads * c.q_len * c.head_dim, 1, &q);
  auto k16 = narrow(c.batch * c.kv_heads * c.kv_len * c.head_dim, 2, &k);
  auto v16 = narrow(c.batch * c.kv_heads * c.kv_len * c.value_dim, 3, &v);
  auto mask16 = narrow(c.batch * c.heads * c.q_len * c.kv_len, 4, &mask);
  const auto size = static_cast<size_t>(c.batch * c.heads * c.q_len * c.value_dim);
  std::vector<float> expected(size, -77.0f);
  std::vector<S> out(size, S(-77.0f));
  AttentionParams wide = p;
  wide.dtype = wide.mask_dtype = DType::kF32;
  Scratch scratch(attention_scratch_bytes(p, threads));
  ASSERT_EQ(attention_scratch_bytes(p, threads), attention_scratch_bytes(wide, threads));
  const bool masked = c.mask != AttentionMask::kNone;
  attention(wide, {q.data(), k.data(), v.data(), masked ? mask.data() : nullptr, expected.data()},
            scratch.data(), threads);
  const void* own_mask = wide_mask || c.mask == AttentionMask::kBool
                             ? static_cast<const void*>(mask.data()) : mask16.data();
  attention(p, {q16.data(), k16.data(), v16.data(), masked ? own_mask : nullptr, out.data()},
            scratch.data(), threads);
  for (size_t i = 0; i < size; ++i) {
    ASSERT_EQ(out[i].bits, S(expected[i]).bits)
        << i << " Lq" << c.q_len << " Lk" << c.kv_len << " D" << c.head_dim << "/" << c.value_dim
        << " mask " << static_cast<int>(c.mask) << " order " << c.order;
  }
}

TEST(Attention, SixteenBitsAreComputedInF32) {
  for_each_simd_target([] {
    for (const Case& c : kCases) {
      for (const bool wide_mask : {false, true}) {
        if (wide_mask && c.mask != AttentionMask::kAdditive) continue;
        check_16_bit<BF16>(c, DType::kBF16, wide_mask, 2);
        check_16_bit<F16>(c, DType::kF16, wide_mask, 2);
      }
    }
  });
}

TEST(Attention, ResultDoesNotDependOnThreads) {
  const Case c{1, 3, 1, 100, 700, 24, 24};
  AttentionParams p;
  p.batch = 1, p.heads = 3, p.kv_heads = 1, p.q_len = 100, p.kv_len = 700;
  p.head_dim = p.value_dim = 24, p.scale = 0.3;
  p.q_strides = strides(c.order, 3, 100, 24);
  p.k_strides = p.v_strides = strides(c.order, 1, 700, 24);
  p.out_strides = p.q_strides;
  for (int64_t q_len : {1, 100}) {
    p.q_len = q_len;
    auto q = random_reals<float>(7200, 1), k = random_reals<float>(16800, 2);
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2, 3, 8}) {
      std::vector<float> out(7200, 0.0f);
      Scratch scratch(attention_scratch_bytes(p, threads));
      attention(p, {q.data(), k.data(), k.data(), nullptr, out.data()}, scratch.data(), threads);
      results.push_back(out);
    }
    for (const auto& r : results) EXPECT_EQ(r, results[0]);
  }
}

AttentionParams simple(int64_t q_len, int64_t kv_len, int64_t dim) {
  AttentionParams p;
  p.batch = p.heads = p.kv_heads = 1;
  p.q_len = q_len, p.kv_len = kv_len, p.head_dim = p.value_dim = dim;
  p.q_strides = {0, 0, dim, 1};
  p.k_strides = p.v_strides = p.out_strides = p.q_strides;
  return p;
}

// torch 2.11 on CPU: eager scaled_dot_product_attention gives 0 for a row with
// no key left.
TEST(Attention, FullyMaskedRowsAreZero) {
  for (int64_t q_len : {3, 20}) {
    AttentionParams p = simple(q_len, 300, 4);
    p.mask = AttentionMask::kBool;
    p.mask_strides = {0, 0, 300, 1};
    auto x = random_reals<float>(300 * 4, 5);
    std::vector<uint8_t> mask(static_cast<size_t>(q_len) * 300, 1);
    std::fill_n(mask.begin() + 300, 300, 0);
    std::vector<float> out(static_cast<size_t>(q_len) * 4, -1.0f);
    Scratch scratch(attention_scratch_bytes(p, 2));
    attention(p, {x.data(), x.data(), x.data(), mask.data(), out.data()}, scratch.data(), 2);
    for (int e = 0; e < 4; ++e) {
      EXPECT_EQ(out[4 + e], 0.0f);
      EXPECT_NE(out[e], 0.0f);
    }
  }
}

TEST(Attention, NanInOneRowStaysInThatRow) {
  for (int64_t q_len : {2, 20}) {
    AttentionParams p = simple(q_len, 40, 4);
    auto q = random_reals<float>(q_len * 4, 5), k = random_reals<float>(160, 6);
    q[5] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> out(static_cast<size_t>(q_len) * 4, -1.0f);
    Scratch scratch(attention_scratch_bytes(p, 1));
    attention(p, {q.data(), k.data(), k.data(), nullptr, out.data()}, scratch.data(), 1);
    for (int64_t i = 0; i < q_len; ++i) {
      for (int64_t e = 0; e < 4; ++e) EXPECT_EQ(std::isnan(out[i * 4 + e]), i == 1);
    }
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  AttentionParams p = simple(16, 16, 1);
  std::vector<float> q(16, 1e4f), k(16), v(16);
  for (int j = 0; j < 16; ++j) k[j] = static_cast<float>(j), v[j] = static_cast<float>(j);
  std::vector<float> out(16);
  Scratch scratch(attention_scratch_bytes(p, 1));
  attention(p, {q.data(), k.data(), v.data(), nullptr, out.data()}, scratch.data(), 1);
  for (float x : out) EXPECT_EQ(x, 15.0f);
}

TEST(Attention, ZeroSizes) {
  AttentionParams p = simple(2, 0, 4);  // no keys: zeros
  std::vector<float> x(8, 1.0f), out(8, -1.0f);
  {
    Scratch scratch(attention_scratch_bytes(p, 2));
    attention(p, {x.data(), x.data(), x.data(), nullptr, out.data()}, scratch.data(), 2);
    for (float y : out) EXPECT_EQ(y, 0.0f);
  }
  for (int64_t q_len : {2, 10}) {  // no head dimension: the mean of the values
    p = simple(q_len, 2, 0);
    p.value_dim = 1;
    p.v_strides = p.out_strides = {0, 0, 1, 1};
    std::vector<float> v{1.0f, 3.0f}, mean(static_cast<size_t>(q_len), -1.0f);
    Scratch scratch(attention_scratch_bytes(p, 1));
    attention(p, {x.data(), x.data(), v.data(), nullptr, mean.data()}, scratch.data(), 1);
    for (float y : mean) EXPECT_EQ(y, 2.0f);
  }
  p = simple(0, 5, 4);
  EXPECT_EQ(attention_scratch_bytes(p, 2), 0u);
  attention(p, {}, nullptr, 2);
}

TEST(Attention, RefusesBadSizes) {
  AttentionParams p = simple(2, 2, 4);
  p.heads = 3, p.kv_heads = 2;
  EXPECT_EQ(p.validate().code(), "K4321");
  p = simple(2, 2, 4);
  p.kv_heads = 0;
  EXPECT_EQ(p.validate().code(), "K4321");
  p = simple(-1, 2, 4);
  EXPECT_EQ(p.validate().code(), "K4321");
  p = simple(2, 2, 4);
  p.dtype = DType::kI32;
  EXPECT_EQ(p.validate().code(), "K4321");
}

}  // namespace
}  // namespace kiln::cpu
