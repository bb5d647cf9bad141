// Scaled dot product attention for a block of queries of one head. Blocks of keys are visited with
// a running maximum and sum (online softmax: Milakov and Gimelshein 2018, arXiv 1805.02867; blocked
// as in FlashAttention, Dao et al. 2022, arXiv 2205.14135). A row whose keys are all masked gives
// zeros.
//
// `scores.of(score, i, j, mask)` is the score of query i and key j after scale and mask, minus
// infinity where they do not meet; mask is scores.mask(i, j) where there is one (kMasked).
// `out.put(i, e, value)` stores, and ignores rows beyond the last.
#pragma once

#include "device/async_copy.h"
#include "device/product.h"

// Rows of a matrix in memory.
template <class T, class Index>
struct Rows {
  In<T> base;
  Index count, by_row, by_column;
};

KILN_DEVICE float exp_of(float x) { return expf(x); }
KILN_DEVICE double exp_of(double x) { return exp(x); }

// e^(x - max), where minus infinity is no part of a sum even if nothing else is there.
template <class Number>
KILN_DEVICE Number softmax_term(Number x, Number max) {
  const bool nothing = x == -infinity_of(Number(0));
  return nothing ? Number(0) : exp_of(x - max);
}
// What sums so far are multiplied by when the maximum grows.
template <class Number>
KILN_DEVICE Number softmax_factor(Number old_max, Number max) {
  return old_max == max ? Number(1) : softmax_term(old_max, max);
}

// 16 queries by 128 threads, 8 a row.
template <class T, int32 kHead, int32 kValue, int32 kKeys, class Index, class Scores, class Out_>
KILN_DEVICE void simt_attention(const Rows<T, Index>& q, const Rows<T, Index>& k,
                                const Rows<T, Index>& v, const Scores& scores, const Out_& out,
                                Index first_row, Index end_key) {
  using Number = SumOf<T>;
  constexpr int32 kRows = 16, kOwn = kKeys / 8, kOwnValues = (kValue + 7) / 8;
  KILN_SHARED(Number, queries, kRows * (kHead + 1));
  KILN_SHARED(Number, keys, kKeys * (kHead + 1));
  KILN_SHARED(Number, values, kKeys * kValue + 1);
  KILN_SHARED(Number, terms, kRows * (kKeys + 1));
  const int32 row = thread_x() / 8, t = thread_x() % 8;
  const Number nothing = -infinity_of(Number(0));
  for (int32 i = thread_x(); i < kRows * kHead; i += 128) {
    const Index r = first_row + i / kHead;
    Number x = 0;
    if (r < q.count) {
      const T element = q.base[r * q.by_row + (i % kHead) * q.by_column];
      x = widen(element);
    }
    queries[i / kHead * (kHead + 1) + i % kHead] = x;
  }
  Number max = nothing, total = 0;
  Number sums[kOwnValues + 1];
  for (int32 e = 0; e < kOwnValues; ++e) sums[e] = 0;
  for (Index first = 0; first < end_key; first += kKeys) {
    barrier();
    for (int32 i = thread_x(); i < kKeys * kHead; i += 128) {
      const Index j = first + i / kHead;
      Number x = 0;
      if (j < k.count) {
        const T element = k.base[j * k.by_row + (i % kHead) * k.by_column];
        x = widen(element);
      }
      keys[i / kHead * (kHead + 1) + i % kHead] = x;
    }
    for (int32 i = thread_x(); i < kKeys * kValue; i += 128) {
      const Index j = first + i / kValue;
      Number x = 0;
      if (j < v.count) {
        const T element = v.base[j * v.by_row + (i % kValue) * v.by_column];
        x = widen(element);
      }
      values[i] = x;
    }
    barrier();
    Number own[kOwn], block_max = nothing;
    for (int32 n = 0; n < kOwn; ++n) {
      const int32 j = t + n * 8;
      Number sum = 0;
      for (int32 d = 0; d < kHead; ++d) {
        sum = multiply_add(static_cast<Number>(queries[row * (kHead + 1) + d]),
                           static_cast<Number>(keys[j * (kHead + 1) + d]), sum);
      }
      own[n] = nothing;
      if (first + j < k.count && first_row + row < q.count) {
        typename Scores::Mask mask{};
        if constexpr (Scores::kMasked) mask = scores.mask(first_row + row, first + j);
        own[n] = scores.of(sum, first_row + row, first + j, mask);
      }
      if (own[n] > block_max) block_max = own[n];
    }
    for (int32 mask = 1; mask < 8; mask *= 2) {
      const Number other = shuffle_xor(block_max, mask);
      if (other > block_max) block_max = other;
    }
    const Number new_max = block_max > max ? block_max : max;
    const Number factor = softmax_factor(max, new_max);
    max = new_max;
    Number block_total = 0;
    for (int32 n = 0; n < kOwn; ++n) {
      const Number term = softmax_term(own[n], max);
      terms[row * (kKeys + 1) + t + n * 8] = term;
      block_total += term;
    }
    for (int32 mask = 1; mask < 8; mask *= 2) {
      const Number other = shuffle_xor(block_total, mask);
      block_total += other;
    }
    total = total * factor + block_total;
    warp_barrier();  // the row's terms are written by the same warp
    for (int32 e = 0; e < kOwnValues; ++e) {
      Number sum = sums[e] * factor;
      if (t + e * 8 < kValue) {
        for (int32 j = 0; j < kKeys; ++j) {
          sum = multiply_add(static_cast<Number>(terms[row * (kKeys + 1) + j]),
                             static_cast<Number>(values[j * kValue + t + e * 8]), sum);
        }
      }
      sums[e] = sum;
    }
  }
  for (int32 e = 0; e < kOwnValues; ++e) {
    if (t + e * 8 < kValue) {
      out.put(first_row + row, t + e * 8, total == Number(0) ? Number(0) : sums[e] / total);
    }
  }
}
