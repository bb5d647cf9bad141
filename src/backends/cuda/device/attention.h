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

// Rows [first, first + kRows) with kColumns columns on their way to shared memory, zeros beyond
// what is there and up to kPadded columns; pitch kPadded + 8, so that eight rows lie in different
// banks. kEight: whether eight elements may be read as one; else they are there at once.
template <class T, int32 kRows, int32 kColumns, int32 kPadded, bool kEight, class Index>
KILN_DEVICE void fetch_rows(const Rows<T, Index>& from, Index first, const Shared<T>& to,
                            AsyncCopies& copies) {
  constexpr int32 kPieces = kPadded / 8;
  KILN_UNROLL
  for (int32 i = thread_x(); i < kRows * kPieces; i += 128) {
    const int32 row = i / kPieces, column = i % kPieces * 8;
    const bool there = first + row < from.count;
    const Shared<T> target = to + (row * (kPadded + 8) + column);
    if constexpr (kEight) {
      const bool inside = there && column < kColumns;
      copies.start(target, from.base + (inside ? (first + row) * from.by_row + column : 0), inside);
    } else {
      Pack<T, 8> piece{};
      for (int32 e = 0; e < 8; ++e) {
        if (there && column + e < kColumns) {
          piece.at[e] = from.base[(first + row) * from.by_row + (column + e) * from.by_column];
        }
      }
      store<8>(target, piece);
    }
  }
}

// 64 queries by 4 warps of 16 each, by matrix instructions. Scores are logarithms to base 2.
// kEight...: whether q, k, v are read, and the result is written, eight elements at a time. Dynamic
// shared memory: AttentionKernel::shared_bytes.
//
// The next block's keys are on their way during the second product, values during the first one.
template <class T, int32 kHead, int32 kValue, int32 kKeys, bool kEightQ, bool kEightK, bool kEightV,
          bool kEightOut, class Index, class Scores, class Out_>
KILN_DEVICE void matrix_attention(const Rows<T, Index>& q, const Rows<T, Index>& k,
                                  const Rows<T, Index>& v, const Scores& scores, const Out_& out,
                                  Index first_row, Index end_key) {
  constexpr int32 kRows = 64, kGroups = kKeys / 8;
  constexpr int32 kDepth = (kHead + 15) / 16 * 16, kOut = (kValue + 15) / 16 * 16;
  constexpr int32 kPitch = kDepth + 8, kPitchV = kOut + 8;
  const Shared<T> queries = dynamic_shared<T>();
  const Shared<T> keys = queries + kRows * kPitch;
  const Shared<T> values = keys + kKeys * kPitch;
  const float nothing = -infinity_of(0.0f);
  const int32 g = lane() / 4, t = lane() % 4, warp_row = warp() * 16;
  const Index own_row = first_row + warp_row;  // the first one of the warp

  AsyncCopies copies;
  fetch_rows<T, kRows, kHead, kDepth, kEightQ>(q, first_row, queries, copies);
  fetch_rows<T, kKeys, kHead, kDepth, kEightK>(k, Index(0), keys, copies);
  copies.commit();

  float max[2] = {nothing, nothing}, total[2] = {0.0f, 0.0f};
  float sums[kOut / 8 + 1][4];
  KILN_UNROLL
  for (int32 e = 0; e < kOut / 8; ++e) {
    for (int32 i = 0; i < 4; ++i) sums[e][i] = 0.0f;
  }
  uint32 left[kDepth / 16 + 1][4];
  for (Index first = 0; first < end_key; first += kKeys) {
    fetch_rows<T, kKeys, kValue, kOut, kEightV>(v, first, values, copies);
    copies.commit();
    // What the warp has to do in this block: columns up to here, if it has queries at all.
    Index limit = own_row < q.count ? k.count - first : 0;
    if (Scores::kCausal && limit > own_row + 16 - first) limit = own_row + 16 - first;
    // Elements 0 and 1 of four are of row g, 2 and 3 of row g + 8; four lanes share a row.
    [[maybe_unused]] typename Scores::Mask mask[kGroups][4];
    if constexpr (Scores::kMasked) {
      KILN_UNROLL
      for (int32 n = 0; n < kGroups; ++n) {
        for (int32 i = 0; i < 4; ++i) {
          const Index row = own_row + g + i / 2 * 8, column = first + n * 8 + t * 2 + i % 2;
          mask[n][i] = scores.mask(row < q.count ? row : q.count - 1,
                                   column < k.count ? column : k.count - 1);
        }
      }
    }
    copies.wait<1>();
    barrier();  // keys and queries are there
    if (first == 0) {
      KILN_UNROLL
      for (int32 d = 0; d < kDepth; d += 16) {
        load_matrices<T>(left[d / 16],
                         queries + ((warp_row + lane() % 16) * kPitch + d + lane() / 16 * 8));
      }
    }
    float score[kGroups][4];
    KILN_UNROLL
    for (int32 n = 0; n < kGroups; n += 2) {
      for (int32 i = 0; i < 4; ++i) score[n][i] = score[n + 1][i] = 0.0f;
      if (n * 8 >= limit) continue;
      KILN_UNROLL
      for (int32 d = 0; d < kDepth; d += 16) {
        uint32 b[4];
        load_matrices<T>(
            b, keys + ((n * 8 + lane() / 16 * 8 + lane() % 8) * kPitch + d + lane() / 8 % 2 * 8));
        const uint32 low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        mma_16x8x16(T{}, score[n], left[d / 16], low);
        mma_16x8x16(T{}, score[n + 1], left[d / 16], high);
      }
    }
    barrier();  // nobody reads the keys any more
    if (first + kKeys < end_key) {
      fetch_rows<T, kKeys, kHead, kDepth, kEightK>(k, first + kKeys, keys, copies);
    }
    copies.commit();

    if (Scores::kMasked || limit < kKeys || (Scores::kCausal && first + kKeys > own_row)) {
      KILN_UNROLL
      for (int32 n = 0; n < kGroups; ++n) {
        for (int32 i = 0; i < 4; ++i) {
          const Index row = own_row + g + i / 2 * 8, column = first + n * 8 + t * 2 + i % 2;
          const float own = scores.of(score[n][i], row, column, mask[n][i]);
          score[n][i] = column < k.count ? own : nothing;
        }
      }
    } else {
      KILN_UNROLL
      for (int32 n = 0; n < kGroups; ++n) {
        for (int32 i = 0; i < 4; ++i) score[n][i] = scores.scaled(score[n][i]);
      }
    }
    float block_max[2] = {nothing, nothing};
    KILN_UNROLL
    for (int32 n = 0; n < kGroups; ++n) {
      for (int32 i = 0; i < 4; ++i) {
        if (score[n][i] > block_max[i / 2]) block_max[i / 2] = score[n][i];
      }
    }
    float factor[2], shift[2];
    KILN_UNROLL
    for (int32 r = 0; r < 2; ++r) {
      for (int32 distance = 1; distance < 4; distance *= 2) {
        const float other = shuffle_xor(block_max[r], distance);
        if (other > block_max[r]) block_max[r] = other;
      }
      const float new_max = block_max[r] > max[r] ? block_max[r] : max[r];
      // Where all was masked so far, terms are 2^-infinity whatever is subtracted.
      shift[r] = new_max == nothing ? 0.0f : new_max;
      factor[r] = exp2_of(max[r] - shift[r]);
      max[r] = new_max;
      total[r] *= factor[r];
    }
    uint32 terms[kGroups][2];
    KILN_UNROLL
    for (int32 n = 0; n < kGroups; ++n) {
      float term[4];
      for (int32 i = 0; i < 4; ++i) {
        term[i] = exp2_of(score[n][i] - shift[i / 2]);
        total[i / 2] += term[i];
      }
      for (int32 r = 0; r < 2; ++r) terms[n][r] = pack_pair(T{}, term[2 * r], term[2 * r + 1]);
    }
    KILN_UNROLL
    for (int32 e = 0; e < kOut / 8; ++e) {
      for (int32 i = 0; i < 4; ++i) sums[e][i] *= factor[i / 2];
    }
    copies.wait<1>();
    barrier();  // values are there
    KILN_UNROLL
    for (int32 n = 0; n < kGroups; n += 2) {
      if (n * 8 >= limit) continue;
      const uint32 a[4] = {terms[n][0], terms[n][1], terms[n + 1][0], terms[n + 1][1]};
      KILN_UNROLL
      for (int32 e = 0; e < kOut / 8; e += 2) {
        uint32 b[4];
        load_matrices_transposed<T>(
            b, values + ((n * 8 + lane() % 16) * kPitchV + e * 8 + lane() / 16 * 8));
        const uint32 low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        mma_16x8x16(T{}, sums[e], a, low);
        mma_16x8x16(T{}, sums[e + 1], a, high);
      }
    }
    barrier();  // nobody reads the values any more
  }
  copies.wait<0>();

  for (int32 r = 0; r < 2; ++r) {
    for (int32 distance = 1; distance < 4; distance *= 2) {
      const float other = shuffle_xor(total[r], distance);
      total[r] += other;
    }
  }
  KILN_UNROLL
  for (int32 e = 0; e < kOut / 8; ++e) {
    for (int32 i = 0; i < 4; ++i) {
      const float sum = total[i / 2];
      sums[e][i] = sum == 0.0f ? 0.0f : sums[e][i] / sum;
    }
  }
  if constexpr (kEightOut) {
    // Through shared memory, each warp its own rows.
    barrier();
    KILN_UNROLL
    for (int32 e = 0; e < kOut / 8; ++e) {
      for (int32 r = 0; r < 2; ++r) {
        const Pack<T, 2> pair{{narrow<T>(sums[e][2 * r]), narrow<T>(sums[e][2 * r + 1])}};
        store<2>(queries + ((warp_row + g + r * 8) * kPitchV + e * 8 + t * 2), pair);
      }
    }
    warp_barrier();
    constexpr int32 kPieces = kValue / 8;
    for (int32 i = lane(); i < 16 * kPieces; i += 32) {
      const int32 row = warp_row + i / kPieces, column = i % kPieces * 8;
      out.put_eight(first_row + row, column, load<8>(queries + (row * kPitchV + column)));
    }
  } else {
    KILN_UNROLL
    for (int32 e = 0; e < kOut / 8; ++e) {
      for (int32 i = 0; i < 4; ++i) {
        const int32 column = e * 8 + t * 2 + i % 2;
        if (column < kValue) out.put(own_row + g + i / 2 * 8, column, sums[e][i]);
      }
    }
  }
}
