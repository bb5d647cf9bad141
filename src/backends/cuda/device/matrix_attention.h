// Attention (device/attention.h) for 16-bit elements by matrix instructions, blocked as in
// FlashAttention (Dao et al. 2022, arXiv 2205.14135). `Scores`: device/softmax_rows.h;
// `out.put_eight(i, e, eight)` stores eight elements of a row, where they may be stored as one.
#pragma once

#include "device/attention.h"
#include "device/softmax_rows.h"

template <int32 kRows_, int32 kKeys_, bool kOnce_, bool kEightQ_, bool kEightK_, bool kEightV_,
          bool kEightOut_>
struct MatrixAttentionTile {
  static constexpr int32 kRows = kRows_;  // queries of a block, 16 of a warp
  static constexpr int32 kKeys = kKeys_;  // at a time
  static constexpr bool kOnce = kOnce_;   // there are no more
  // Whether q, k, v are read, and the result is written, eight elements at a time.
  static constexpr bool kEightQ = kEightQ_, kEightK = kEightK_, kEightV = kEightV_,
                        kEightOut = kEightOut_;
  static constexpr int32 kThreads = kRows * 2;
};

// Rows [first, first + kRows) with kColumns columns on their way to shared memory, zeros beyond
// what is there and up to kPadded columns; pitch kPadded + 8, so that eight rows lie in different
// banks. kEight: whether eight elements may be read as one; else they are there at once.
template <class T, int32 kRows, int32 kColumns, int32 kPadded, bool kEight, int32 kThreads,
          class Index>
KILN_DEVICE void fetch_rows(const Rows<T, Index>& from, Index first, const Shared<T>& to,
                            AsyncCopies& copies) {
  constexpr int32 kPieces = kPadded / 8;
  KILN_UNROLL
  for (int32 i = thread_x(); i < kRows * kPieces; i += kThreads) {
    const int32 row = i / kPieces, column = i % kPieces * 8;
    const bool there = first + row < from.count;
    if constexpr (kEight) {
      const bool inside = there && column < kColumns;
      copies.start_at(to, row * (kPadded + 8) + column,
                      from.base + (inside ? (first + row) * from.by_row + column : 0), inside);
    } else {
      Pack<T, 8> piece{};
      for (int32 e = 0; e < 8; ++e) {
        if (there && column + e < kColumns) {
          piece.at[e] = from.base[(first + row) * from.by_row + (column + e) * from.by_column];
        }
      }
      store<8>(to + (row * (kPadded + 8) + column), piece);
    }
  }
}

// Dynamic shared memory: AttentionKernel::shared_bytes.
//
// The next block's keys are on their way during the second product, values during the first one.
template <class T, int32 kHead, int32 kValue, class Tile, class Index, class Scores, class Out_>
struct MatrixAttention {
  static constexpr int32 kKeys = Tile::kKeys, kRows = Tile::kRows;
  static constexpr int32 kDepth = (kHead + 15) / 16 * 16, kOut = (kValue + 15) / 16 * 16;
  static constexpr int32 kPitch = kDepth + 8, kPitchV = kOut + 8;

  const Rows<T, Index>& q;
  const Rows<T, Index>& k;
  const Rows<T, Index>& v;
  const Scores& scores;
  const Out_& out;
  Index first_row, end_key;

  // What a warp holds.
  struct Own {
    AsyncCopies copies;
    uint32 left[kDepth / 16 + 1][4];
    float sums[kOut / 2 + 1];
    RowSums rows;
  };

  static KILN_DEVICE Shared<T> queries() { return dynamic_shared<T>(); }
  static KILN_DEVICE Shared<T> keys() { return queries() + kRows * kPitch; }
  static KILN_DEVICE Shared<T> values() { return keys() + kKeys * kPitch; }
  // What masks add to columns; two, by turns.
  static KILN_DEVICE Shared<float> addends(int32 turn) {
    return dynamic_shared<float>((kRows * kPitch + kKeys * (kPitch + kPitchV)) * 2 +
                                 turn * kKeys * 4);
  }
  static KILN_DEVICE int32 warp_row() { return warp() * 16; }
  KILN_DEVICE Index own_row() const { return first_row + warp_row(); }

  KILN_DEVICE void fetch_keys(Own& own, Index first) const {
    fetch_rows<T, kKeys, kHead, kDepth, Tile::kEightK, Tile::kThreads>(k, first, keys(),
                                                                       own.copies);
  }
  KILN_DEVICE void fetch_values(Own& own, Index first) const {
    fetch_rows<T, kKeys, kValue, kOut, Tile::kEightV, Tile::kThreads>(v, first, values(),
                                                                      own.copies);
  }
  KILN_DEVICE void load_queries(Own& own) const {
    KILN_UNROLL
    for (int32 d = 0; d < kDepth; d += 16) {
      load_matrices_at<T>(own.left[d / 16], queries(),
                          (warp_row() + lane() % 16) * kPitch + d + lane() / 16 * 8);
    }
  }
  // kPart: only keys up to `limit` count, of the others in steps of 16 nothing is computed;
  // without, the products are one straight piece of code.
  template <bool kPart>
  KILN_DEVICE void multiply_keys(Own& own, float (&score)[kKeys / 2], Index limit) const {
    KILN_UNROLL
    for (int32 n = 0; n < kKeys / 8; n += 2) {
      float low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
      if (!kPart || n * 8 < limit) {
        KILN_UNROLL
        for (int32 d = 0; d < kDepth; d += 16) {
          uint32 b[4];
          load_matrices_at<T>(
              b, keys(), (n * 8 + lane() / 16 * 8 + lane() % 8) * kPitch + d + lane() / 8 % 2 * 8);
          const uint32 first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
          mma_16x8x16(T{}, low, own.left[d / 16], first);
          mma_16x8x16(T{}, high, own.left[d / 16], second);
        }
      }
      for (int32 i = 0; i < 4; ++i) {
        score[4 * n + i] = low[i];
        score[4 * n + 4 + i] = high[i];
      }
    }
  }
  template <bool kPart>
  KILN_DEVICE void add_values(Own& own, const uint32 (&terms)[kKeys / 4], Index limit) const {
    KILN_UNROLL
    for (int32 n = 0; n < kKeys / 8; n += 2) {
      if (kPart && n * 8 >= limit) continue;
      const uint32 a[4] = {terms[2 * n], terms[2 * n + 1], terms[2 * n + 2], terms[2 * n + 3]};
      KILN_UNROLL
      for (int32 e = 0; e < kOut / 8; e += 2) {
        uint32 b[4];
        load_matrices_transposed_at<T>(b, values(),
                                       (n * 8 + lane() % 16) * kPitchV + e * 8 + lane() / 16 * 8);
        const uint32 first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        float low[4], high[4];
        for (int32 i = 0; i < 4; ++i) {
          low[i] = own.sums[4 * e + i];
          high[i] = own.sums[4 * e + 4 + i];
        }
        mma_16x8x16(T{}, low, a, first);
        mma_16x8x16(T{}, high, a, second);
        for (int32 i = 0; i < 4; ++i) {
          own.sums[4 * e + i] = low[i];
          own.sums[4 * e + 4 + i] = high[i];
        }
      }
    }
  }

  // Keys [first, first + kKeys); the first ones are on their way already.
  KILN_DEVICE void take_keys(Own& own, Index first) const {
    fetch_values(own, first);
    own.copies.commit();
    // What the warp has to do: columns up to here, if it has queries at all.
    Index limit = Tile::kOnce || own_row() < q.count ? k.count - first : 0;
    if (Scores::kCausal && limit > own_row() + 16 - first) limit = own_row() + 16 - first;
    const Shared<float> of_columns = addends(static_cast<int32>(first / kKeys % 2));
    bring_addends<kKeys>(scores, of_columns, first, k.count);
    const Index row = own_row() + lane() / 4, column = first + lane() % 4 * 2;
    RowMasks<kKeys / 2, Index, Scores> masks;
    masks.fetch(scores, row, column, q.count, k.count);
    own.copies.template wait<1>();
    barrier();  // keys and queries are there
    if (first == 0) load_queries(own);
    float score[kKeys / 2];
    if (!Tile::kOnce && limit >= kKeys) {
      multiply_keys<false>(own, score, limit);
    } else {
      multiply_keys<true>(own, score, limit);
    }
    if constexpr (!Tile::kOnce) {
      barrier();  // nobody reads the keys any more
      if (first + kKeys < end_key) fetch_keys(own, first + kKeys);
      own.copies.commit();
    }
    if (Tile::kOnce || limit < kKeys || (Scores::kCausal && first + kKeys > own_row())) {
      finish_scores<true>(score, scores, masks, of_columns, row, first, k.count);
    } else {
      finish_scores<false>(score, scores, masks, of_columns, row, first, k.count);
    }
    uint32 terms[kKeys / 4];
    float factor[2];
    own.rows.template take<Tile::kOnce>(T{}, scores, score, terms, factor);
    if constexpr (!Tile::kOnce) {
      KILN_UNROLL
      for (int32 e = 0; e < kOut / 2; ++e) own.sums[e] *= factor[e % 4 / 2];
    }
    own.copies.template wait<Tile::kOnce ? 0 : 1>();
    barrier();  // values are there
    if (!Tile::kOnce && limit >= kKeys) {
      add_values<false>(own, terms, limit);
    } else {
      add_values<true>(own, terms, limit);
    }
    if constexpr (!Tile::kOnce) barrier();  // nobody reads the values any more
  }

  KILN_DEVICE void finish(Own& own) const {
    float share[2];
    own.rows.shares(share);
    KILN_UNROLL
    for (int32 e = 0; e < kOut / 2; ++e) own.sums[e] *= share[e % 4 / 2];
    const int32 g = lane() / 4, t = lane() % 4;
    if constexpr (Tile::kEightOut) {
      // Through shared memory, each warp in the place of its queries and further on.
      const Shared<T> results = dynamic_shared<T>();
      if constexpr (Tile::kOnce && kPitchV > kPitch) barrier();
      KILN_UNROLL
      for (int32 e = 0; e < kOut / 8; ++e) {
        for (int32 r = 0; r < 2; ++r) {
          const Pack<T, 2> pair{
              {narrow<T>(own.sums[4 * e + 2 * r]), narrow<T>(own.sums[4 * e + 2 * r + 1])}};
          store<2>(results + ((warp_row() + g + r * 8) * kPitchV + e * 8 + t * 2), pair);
        }
      }
      warp_barrier();
      constexpr int32 kPieces = kValue / 8;
      KILN_UNROLL
      for (int32 i = lane(); i < 16 * kPieces; i += 32) {
        const int32 row = warp_row() + i / kPieces, column = i % kPieces * 8;
        out.put_eight(first_row + row, column, load<8>(results + (row * kPitchV + column)));
      }
    } else {
      KILN_UNROLL
      for (int32 e = 0; e < kOut / 8; ++e) {
        for (int32 i = 0; i < 4; ++i) {
          const int32 column = e * 8 + t * 2 + i % 2;
          if (column < kValue) out.put(own_row() + g + i / 2 * 8, column, own.sums[4 * e + i]);
        }
      }
    }
  }

  KILN_DEVICE void run() const {
    Own own;
    KILN_UNROLL
    for (int32 e = 0; e < kOut / 2; ++e) own.sums[e] = 0.0f;
    fetch_rows<T, kRows, kHead, kDepth, Tile::kEightQ, Tile::kThreads>(q, first_row, queries(),
                                                                       own.copies);
    fetch_keys(own, 0);
    own.copies.commit();
    if constexpr (Tile::kOnce) {
      take_keys(own, 0);
    } else {
      for (Index first = 0; first < end_key; first += kKeys) take_keys(own, first);
      own.copies.template wait<0>();  // those before a loop that has nothing to do
      barrier();
    }
    finish(own);
  }
};
