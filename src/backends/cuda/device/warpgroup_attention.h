// Attention (device/attention.h) for 16-bit elements by warpgroups (sm_90a). `Scores`:
// device/softmax_rows.h; `out.put_eight(i, e, eight)` stores eight elements of a row. Rows of all
// operands begin at multiples of 16 bytes.
#pragma once

#include "device/async_copy.h"
#include "device/attention.h"
#include "device/softmax_rows.h"
#include "device/wgmma.h"

template <int32 kWarpgroups_, int32 kKeys_, bool kOnce_>
struct WarpgroupAttentionTile {
  static constexpr int32 kWarpgroups = kWarpgroups_;  // of 64 queries
  static constexpr int32 kKeys = kKeys_;              // at a time, a multiple of 16
  static constexpr bool kOnce = kOnce_;               // there are no more
  static constexpr int32 kThreads = kWarpgroups * 128, kRows = kWarpgroups * 64;
  static constexpr int32 kStages = kOnce ? 1 : 2;
};

// A matrix in shared memory as products want it (device/wgmma.h): parts of 64 columns, rows of 128
// bytes, of which the eight pieces are swizzled.
template <int32 kRows>
struct SwizzledRows {
  // Where a piece of eight columns begins.
  static KILN_DEVICE int32 at(int32 row, int32 piece) {
    return (piece / 8 * kRows + row) * 64 + (piece % 8 ^ row % 8) * 8;
  }
};

// As fetch_rows of device/matrix_attention.h.
template <class T, int32 kRows, int32 kColumns, int32 kThreads, class Index>
KILN_DEVICE void fetch_swizzled(const Rows<T, Index>& from, Index first, const Shared<T>& to,
                                AsyncCopies& copies) {
  constexpr int32 kParts = (kColumns + 63) / 64, kStep = kThreads / 8;
  // By warps and lanes, which the compiler knows not to be negative.
  const int32 own_row = warp() * 4 + lane() / 8, piece = lane() % 8;
  const Index left = from.count - first;
  // One address, to which constants are added; where nothing is read, it may be any.
  const auto own_from = from.base + ((first + own_row) * from.by_row + piece * 8);
  const int32 own_to = SwizzledRows<kRows>::at(own_row, piece);
  KILN_UNROLL
  for (int32 part = 0; part < kParts; ++part) {
    KILN_UNROLL
    for (int32 row = 0; row < kRows; row += kStep) {
      if (row + kStep > kRows && row + own_row >= kRows) continue;
      const bool inside = (row + kStep <= left || row + own_row < left) &&
                          (part * 64 + 64 <= kColumns || part * 64 + piece * 8 < kColumns);
      copies.start_at(to, own_to + (part * kRows + row) * 64,
                      own_from + (row * from.by_row + part * 64), inside);
    }
  }
}

// The most columns that one product may have of so many.
KILN_DEVICE constexpr int32 columns_of_product(int32 columns) {
  return columns >= 128 ? columns / 64 * 64 : columns >= 64 ? 64 : columns >= 32 ? 32 : 16;
}
template <int32 kAt, int32 kCount, int32 kSums>
KILN_DEVICE auto part_of(float (&sums)[kSums]) -> float (&)[kCount] {
  static_assert(kAt + kCount <= kSums, "inside");
  return *reinterpret_cast<float(*)[kCount]>(sums + kAt);
}

// Dynamic shared memory: AttentionKernel::shared_bytes.
template <class T, int32 kHead, int32 kValue, class Tile, class Index, class Scores, class Out_>
struct WarpgroupAttention {
  static constexpr int32 kKeys = Tile::kKeys, kRows = Tile::kRows, kThreads = Tile::kThreads;
  static constexpr int32 kParts = (kHead + 63) / 64, kPartsV = (kValue + 63) / 64;
  static constexpr int32 kQueriesBytes = kParts * kRows * 128, kKeysBytes = kParts * kKeys * 128;
  static constexpr int32 kStageBytes = kKeysBytes + kPartsV * kKeys * 128;

  const Rows<T, Index>& q;
  const Rows<T, Index>& k;
  const Rows<T, Index>& v;
  const Scores& scores;
  const Out_& out;
  Index first_row, end_key;
  int32 base;  // of the shared memory

  // What a thread holds.
  struct Own {
    AsyncCopies copies;
    WarpgroupProducts products;
    float sums[kPartsV][32];
    RowSums rows;
    int32 warp_row;  // the warp's first in the block
  };

  KILN_DEVICE Shared<T> queries() const { return dynamic_shared<T>(base); }
  KILN_DEVICE Shared<T> keys(int32 stage) const {
    return dynamic_shared<T>(base + kQueriesBytes + stage * kStageBytes);
  }
  KILN_DEVICE Shared<T> values(int32 stage) const {
    return dynamic_shared<T>(base + kQueriesBytes + stage * kStageBytes + kKeysBytes);
  }
  KILN_DEVICE Shared<float> addends(int32 stage) const {
    return dynamic_shared<float>(base + kQueriesBytes + Tile::kStages * kStageBytes +
                                 stage * kKeys * 4);
  }

  KILN_DEVICE void fetch_keys(Own& own, Index first, int32 stage) const {
    fetch_swizzled<T, kKeys, kHead, kThreads>(k, first, keys(stage), own.copies);
  }
  KILN_DEVICE void fetch_values(Own& own, Index first, int32 stage) const {
    fetch_swizzled<T, kKeys, kValue, kThreads>(v, first, values(stage), own.copies);
  }
  // Copies of all threads but the last kPending groups of each are there for products.
  template <int32 kPending>
  KILN_DEVICE void wait_for_copies(Own& own) const {
    own.copies.template wait<kPending>();
    show_to_products();
    barrier();
  }

  // Scores of the keys from kFirst on, by as many at a time as products have columns.
  template <int32 kFirst>
  KILN_DEVICE void multiply_keys(Own& own, float (&score)[kKeys / 2], MatrixDescriptor rows,
                                 MatrixDescriptor columns) const {
    constexpr int32 kLeft = kKeys - kFirst, kCount = columns_of_product(kLeft);
    float(&part)[kCount / 2] = part_of<kFirst / 2, kCount / 2>(score);
    KILN_UNROLL
    for (int32 d = 0; d < kHead; d += 16) {
      own.products.start(T{}, part, rows.moved(d / 64 * (kRows * 128) + d % 64 * 2),
                         columns.moved((d / 64 * kKeys + kFirst) * 128 + d % 64 * 2), d != 0);
    }
    if constexpr (kCount < kLeft) multiply_keys<kFirst + kCount>(own, score, rows, columns);
  }
  template <int32 kFirst>
  static KILN_DEVICE void scores_done(Own& own, float (&score)[kKeys / 2]) {
    constexpr int32 kLeft = kKeys - kFirst, kCount = columns_of_product(kLeft);
    own.products.done(part_of<kFirst / 2, kCount / 2>(score));
    if constexpr (kCount < kLeft) scores_done<kFirst + kCount>(own, score);
  }
  KILN_DEVICE void add_values(Own& own, const uint32 (&terms)[kKeys / 4], int32 stage,
                              Index keys) const {
    const MatrixDescriptor columns = describe_matrix(values(stage));
    own.products.begin();
    KILN_UNROLL
    for (int32 n = 0; n < kKeys; n += 16) {
      if (Tile::kOnce && n >= keys) continue;
      const uint32 a[4] = {terms[n / 4], terms[n / 4 + 1], terms[n / 4 + 2], terms[n / 4 + 3]};
      KILN_UNROLL
      for (int32 part = 0; part < kPartsV; ++part) {
        own.products.start_transposed(T{}, own.sums[part], a,
                                      columns.moved((part * kKeys + n) * 128),
                                      !Tile::kOnce || n != 0);
      }
    }
    own.products.commit();
    own.products.template wait<0>();
    KILN_UNROLL
    for (int32 part = 0; part < kPartsV; ++part) own.products.done(own.sums[part]);
  }

  // Keys [first, first + kKeys), which are there.
  KILN_DEVICE void take_keys(Own& own, Index first, int32 stage) const {
    const Index row = first_row + own.warp_row + lane() / 4;
    float score[kKeys / 2];
    own.products.begin();
    multiply_keys<0>(own, score, describe_matrix(queries()).moved(own.warp_row / 64 * (64 * 128)),
                     describe_matrix(keys(stage)));
    own.products.commit();
    RowMasks<kKeys / 2, Index, Scores> masks;
    masks.fetch(scores, row, first + lane() % 4 * 2, q.count, k.count);
    own.products.template wait<0>();
    scores_done<0>(own, score);
    if (Tile::kOnce || first + kKeys > k.count ||
        (Scores::kCausal && first + kKeys > first_row + own.warp_row)) {
      finish_scores<true>(score, scores, masks, addends(stage), row, first, k.count);
    } else {
      finish_scores<false>(score, scores, masks, addends(stage), row, first, k.count);
    }
    uint32 terms[kKeys / 4];
    float factor[2];
    own.rows.template take<Tile::kOnce>(T{}, scores, score, terms, factor);
    if constexpr (Tile::kOnce) {
      wait_for_copies<0>(own);  // and nobody reads the queries any more
    } else {
      KILN_UNROLL
      for (int32 part = 0; part < kPartsV; ++part) {
        KILN_UNROLL
        for (int32 i = 0; i < 32; ++i) own.sums[part][i] *= factor[i % 4 / 2];
      }
    }
    add_values(own, terms, stage, k.count);
  }

  KILN_DEVICE void finish(Own& own) const {
    float share[2];
    own.rows.shares(share);
    // Through the place of the queries, each warp by its own rows.
    using At = SwizzledRows<kRows>;
    KILN_UNROLL
    for (int32 part = 0; part < kPartsV; ++part) {
      if (part > 0) warp_barrier();
      KILN_UNROLL
      for (int32 p = 0; p < 64; p += 16) {
        uint32 words[4];
        KILN_UNROLL
        for (int32 w = 0; w < 4; ++w) {
          const int32 i = (p + w / 2 * 8) / 2 + w % 2 * 2;
          words[w] = pack_pair(T{}, own.sums[part][i] * share[w % 2],
                               own.sums[part][i + 1] * share[w % 2]);
        }
        store_matrices(queries() + At::at(own.warp_row + lane() % 16, p / 8 + lane() / 16), words);
      }
      warp_barrier();
      KILN_UNROLL
      for (int32 i = 0; i < 16; i += 4) {
        const int32 row = own.warp_row + i + lane() / 8, piece = lane() % 8;
        if (part * 64 + 64 <= kValue || part * 64 + piece * 8 < kValue) {
          out.put_eight(first_row + row, part * 64 + piece * 8,
                        load<8>(queries() + At::at(row, piece)));
        }
      }
    }
  }

  // Nothing where there are no such instructions: who launches kernels knows.
  KILN_DEVICE void run() {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    work();
#endif
  }

  KILN_DEVICE void work() {
    base = static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024);
    Own own;
    // Through a shuffle, so that the compiler knows that it is the same for all of a warp.
    own.warp_row = shuffle(thread_x() / 32, 0) * 16;
    fetch_swizzled<T, kRows, kHead, kThreads>(q, first_row, queries(), own.copies);
    fetch_keys(own, 0, 0);
    if constexpr (Tile::kOnce) {
      own.copies.commit();
      fetch_values(own, 0, 0);
      own.copies.commit();
      bring_addends<kKeys>(scores, addends(0), Index(0), k.count);
      wait_for_copies<1>(own);
      take_keys(own, 0, 0);
    } else {
      fetch_values(own, 0, 0);
      own.copies.commit();
      KILN_UNROLL
      for (int32 part = 0; part < kPartsV; ++part) {
        for (int32 i = 0; i < 32; ++i) own.sums[part][i] = 0.0f;
      }
      int32 stage = 0;
      for (Index first = 0; first < end_key; first += kKeys) {
        bring_addends<kKeys>(scores, addends(stage), first, k.count);
        wait_for_copies<0>(own);  // and nobody reads the other stage any more
        if (first + kKeys < end_key) {
          fetch_keys(own, first + kKeys, 1 - stage);
          fetch_values(own, first + kKeys, 1 - stage);
          own.copies.commit();
        }
        // Rows of a warpgroup may have no columns there.
        if (!Scores::kCausal || first < first_row + (own.warp_row / 64 * 64 + 64)) {
          take_keys(own, first, stage);
        }
        stage = 1 - stage;
      }
      own.copies.template wait<0>();  // those before a loop that has nothing to do
      barrier();                      // and nobody reads the queries any more
    }
    finish(own);
  }
};
