// Softmax of rows of scores that matrix instructions left in registers, blocks of columns one after
// the other with a running maximum and sum (online softmax: Milakov and Gimelshein 2018, arXiv
// 1805.02867).
//
// Of a warp's 16 rows a thread holds, g = lane / 4, t = lane % 4: score[4 n + i] of row
// g + i / 2 * 8 and column 8 n + 2 t + i % 2. Four lanes share a row. Scores are logarithms to base
// 2.
//
// `Scores` has
//   static constexpr MaskKind kMask
//   static constexpr bool kCausal               whether row i has columns up to i only
//   static constexpr bool kPairs                two masks of a row may be read as one
//   static constexpr float kScale               factor on the products
//   In<Mask> mask_at(Index row, Index column)
//   float addend(Mask mask)                     what a mask adds
//   float masked(float product, float addend)   the score
#pragma once

#include "device/element.h"
#include "device/mma.h"

// One for all rows, of each column; or of each row and column.
enum class MaskKind { kNone, kOfColumns, kOfRows };

// Without a mask, products are scaled where the maximum is subtracted: as one instruction.
template <class Scores>
constexpr bool kScaledLate = Scores::kMask == MaskKind::kNone&& Scores::kScale > 0;

// Masks of each row, on their way while the products are computed.
template <int32 kSums, class Index, class Scores>
struct RowMasks {
  using Mask = typename Scores::Mask;
  static constexpr bool kThere = Scores::kMask == MaskKind::kOfRows;
  Pack<Mask, 2> at[kThere ? kSums / 2 : 1];

  // `row`, `column`: the thread's first; `rows`, `columns`: how many there are.
  KILN_DEVICE void fetch(const Scores& scores, Index row, Index column, Index rows, Index columns) {
    if constexpr (kThere) {
      KILN_UNROLL
      for (int32 n = 0; n < kSums / 4; ++n) {
        for (int32 r = 0; r < 2; ++r) {
          const Index i = row + r * 8 < rows ? row + r * 8 : rows - 1, j = column + n * 8;
          if constexpr (Scores::kPairs) {
            at[2 * n + r] = load<2>(scores.mask_at(i, j < columns ? j : columns - 2));
          } else {
            for (int32 e = 0; e < 2; ++e) {
              at[2 * n + r].at[e] = *scores.mask_at(i, j + e < columns ? j + e : columns - 1);
            }
          }
        }
      }
    }
  }
};

// What masks add to the columns [first, first + kKeys), for all threads of the block behind a
// barrier.
template <int32 kKeys, class Index, class Scores>
KILN_DEVICE void bring_addends(const Scores& scores, const Shared<float>& to, Index first,
                               Index columns) {
  if constexpr (Scores::kMask == MaskKind::kOfColumns) {
    for (int32 j = thread_x(); j < kKeys; j += threads_x()) {
      to[j] = first + j < columns ? scores.addend(*scores.mask_at(0, first + j)) : 0.0f;
    }
  }
}

// Scores of products: scaled, with what masks add, minus infinity where there is none. `addends`:
// those of the columns, MaskKind::kOfColumns. `first`: column 0's; `row`: the thread's first one.
// kEdge: whether there may be columns that a row does not have.
template <bool kEdge, int32 kSums, class Index, class Scores>
KILN_DEVICE void finish_scores(float (&score)[kSums], const Scores& scores,
                               const RowMasks<kSums, Index, Scores>& masks,
                               const Shared<float>& addends, Index row, Index first,
                               Index columns) {
  [[maybe_unused]] const float nothing = -infinity_of(0.0f);
  KILN_UNROLL
  for (int32 n = 0; n < kSums / 4; ++n) {
    const int32 own = n * 8 + lane() % 4 * 2;
    [[maybe_unused]] Pack<float, 2> of_column{};
    if constexpr (Scores::kMask == MaskKind::kOfColumns) of_column = load<2>(addends + own);
    KILN_UNROLL
    for (int32 i = 0; i < 4; ++i) {
      float x = score[4 * n + i];
      if constexpr (Scores::kMask != MaskKind::kNone) {
        float more = of_column.at[i % 2];
        if constexpr (Scores::kMask == MaskKind::kOfRows) {
          more = scores.addend(masks.at[2 * n + i / 2].at[i % 2]);
        }
        x = scores.masked(x, more);
      } else if constexpr (!kScaledLate<Scores>) {
        x = x * Scores::kScale;
      }
      if constexpr (kEdge) {
        const Index column = first + own + i % 2;
        if (Scores::kCausal && column > row + i / 2 * 8) x = nothing;
        if (first + (n * 8 + 8) > columns && column >= columns) x = nothing;
      }
      score[4 * n + i] = x;
    }
  }
}

// Of the two rows of a thread; sums are of its own columns until the end.
struct RowSums {
  float max[2] = {-infinity_of(0.0f), -infinity_of(0.0f)};
  float total[2] = {0.0f, 0.0f};

  // Terms of the softmax, but for the division: in pairs, as a left operand has them. What was
  // summed before is to be multiplied by `factor`.
  // kOnce: there was nothing before, and `factor` is not set.
  template <bool kOnce, class T, class Scores, int32 kSums>
  KILN_DEVICE void take(T type, const Scores&, const float (&score)[kSums],
                        uint32 (&terms)[kSums / 2], float (&factor)[2]) {
    const float nothing = -infinity_of(0.0f);
    float shift[2];
    KILN_UNROLL
    for (int32 r = 0; r < 2; ++r) {
      float most = nothing;
      KILN_UNROLL
      for (int32 n = 0; n < kSums / 4; ++n) {
        most = fmaxf(most, fmaxf(score[4 * n + 2 * r], score[4 * n + 2 * r + 1]));
      }
      for (int32 distance = 1; distance < 4; distance *= 2) {
        most = fmaxf(most, shuffle_xor(most, distance));
      }
      if constexpr (kScaledLate<Scores>) most = most * Scores::kScale;
      if constexpr (!kOnce) most = fmaxf(max[r], most);
      // Where all was masked so far, terms are 2^-infinity whatever is subtracted.
      shift[r] = most == nothing ? 0.0f : most;
      if constexpr (!kOnce) {
        factor[r] = exp2_of(max[r] - shift[r]);
        max[r] = most;
        total[r] *= factor[r];
      }
    }
    KILN_UNROLL
    for (int32 n = 0; n < kSums / 4; ++n) {
      for (int32 r = 0; r < 2; ++r) {
        float term[2];
        for (int32 e = 0; e < 2; ++e) {
          const float x = score[4 * n + 2 * r + e];
          term[e] = exp2_of(kScaledLate<Scores> ? multiply_add(x, Scores::kScale, -shift[r])
                                                : x - shift[r]);
          total[r] += term[e];
        }
        terms[2 * n + r] = pack_pair(type, term[0], term[1]);
      }
    }
  }
  // What sums are multiplied by at the end: rows without any column give zeros.
  KILN_DEVICE void shares(float (&share)[2]) const {
    for (int32 r = 0; r < 2; ++r) {
      float sum = total[r];
      for (int32 distance = 1; distance < 4; distance *= 2) sum += shuffle_xor(sum, distance);
      share[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
    }
  }
};
