// Products of 16-bit matrices whose rows lie along the depth, C[row, column] = sum over depth of
// A[row, depth] * B[column, depth], for results of few tiles: copies to shared memory run several
// stages ahead of the matrix instructions, so that a block alone on its multiprocessor is not idle
// while memory answers, and the depth may be split over the blocks of a cluster, which then add
// their sums through each other's shared memory, in a fixed order. (The pipeline is that of
// CUTLASS's multistage kernels for sm_80.)
//
// The result gets four neighbouring columns of a row at a time:
//   Extra extra(row, column)         what else the results need; read before the sums are there
//   put(row, column, extra, sums)    ignores what is outside; columns are multiples of 4
#pragma once

#include "device/async_copy.h"
#include "device/cluster.h"
#include "device/element.h"
#include "device/mma.h"

// Of A or B. Rows begin at multiples of 16 bytes, and the depth is a multiple of 8.
template <class T, class Index>
struct DepthRows {
  In<T> base;
  Index count, by_row, depth;
};

// A tile of kRows x kColumns results, of which each warp has kWarpRows x kWarpColumns; kStages
// parts of kDepth of the depth are in shared memory at a time.
template <int32 rows, int32 columns, int32 warp_rows, int32 warp_columns, int32 depth,
          int32 stages>
struct GemmTile {
  static constexpr int32 kRows = rows, kColumns = columns, kDepth = depth, kStages = stages;
  static constexpr int32 kWarpRows = warp_rows, kWarpColumns = warp_columns;
  static constexpr int32 kThreads = rows / warp_rows * (columns / warp_columns) * 32;
  static constexpr int32 kStage = (rows + columns) * depth;  // elements, A's before B's
  static constexpr int32 kPitch = columns + 8;               // of sums in shared memory, f32
};

// Where eight elements of a row lie in a tile of rows of kDepth elements. The order of a row's
// pieces depends on the row, so that those of eight rows at one depth lie in different banks.
template <int32 kDepth>
struct Swizzle {
  static constexpr int32 kPieces = kDepth / 8, kRowsOfBanks = 8 / kPieces;
  static_assert(kPieces == 4 || kPieces == 8, "rows of 64 or 128 bytes");
  static KILN_DEVICE int32 turn(int32 row) { return row / kRowsOfBanks % kPieces; }
  static KILN_DEVICE int32 at(int32 row, int32 piece) {
    return row * kDepth + (piece ^ turn(row)) * 8;
  }
};

// The part of an operand's tile that one thread copies, a piece of each kAtOnce-th row, of one
// stage after the other.
template <class T, class Index, int32 kRows, int32 kDepth, int32 kThreads, bool kWhole>
struct StageCopy {
  static constexpr int32 kPieces = kDepth / 8, kAtOnce = kThreads / kPieces;
  static constexpr int32 kCount = kRows / kAtOnce;
  static_assert(kRows % kAtOnce == 0 && kAtOnce % 8 == 0, "all threads copy, in turns of 8 rows");

  In<T> from;
  Index step, rows_left, depth_left;
  int32 to;

  // The first stage begins at depth `k`, the tile of each at element `place` of it.
  KILN_DEVICE void start(const DepthRows<T, Index>& rows, Index first_row, Index k, int32 place) {
    const int32 row = thread_x() / kPieces, piece = thread_x() % kPieces;
    from = rows.base + ((first_row + row) * rows.by_row + k + piece * 8);
    step = rows.by_row * kAtOnce;
    rows_left = rows.count - first_row - row;
    depth_left = rows.depth - k - piece * 8;
    to = place + Swizzle<kDepth>::at(row, piece);
  }
  // The next stage.
  KILN_DEVICE void copy(AsyncCopies& copies, const Shared<T>& stages, int32 stage) {
    const bool within = kWhole || depth_left > 0;
    KILN_UNROLL
    for (int32 i = 0; i < kCount; ++i) {
      copies.start_at(stages, stage + to + i * (kAtOnce * kDepth), from + i * step,
                      within && i * kAtOnce < rows_left);
    }
    from += kDepth;
    depth_left -= kDepth;
  }
};

// The sums of a warp, and the pieces of A and B that it multiplies: two of each, one of which is
// read from shared memory while the other is used.
template <class T, class Tile>
struct WarpProduct {
  static constexpr int32 kDepth = Tile::kDepth;
  static constexpr int32 kStripes = Tile::kWarpRows / 16, kBands = Tile::kWarpColumns / 8;
  static_assert(kBands % 2 == 0, "16 columns are read at a time");

  float sums[kStripes][kBands][4];
  uint32 left[2][kStripes][4], right[2][kBands / 2][4];
  int32 first_row, first_column;  // of the warp in the tile
  int32 a_place, b_place;         // in a stage, of the rows that this lane names

  KILN_DEVICE void start() {
    constexpr int32 kAcross = Tile::kColumns / Tile::kWarpColumns;
    first_row = warp() / kAcross * Tile::kWarpRows;
    first_column = warp() % kAcross * Tile::kWarpColumns;
    // Of the matrices that a lane names a row of: A's are (rows, depth), B's two of 8 columns.
    const int32 row = first_row + lane() % 16;
    const int32 column = first_column + lane() / 16 * 8 + lane() % 8;
    a_place = Swizzle<kDepth>::at(row, lane() / 16);
    b_place = Tile::kRows * kDepth + Swizzle<kDepth>::at(column, lane() / 8 % 2);
    KILN_UNROLL
    for (int32 i = 0; i < kStripes; ++i) {
      KILN_UNROLL
      for (int32 j = 0; j < kBands; ++j) {
        KILN_UNROLL
        for (int32 e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
      }
    }
  }
  // Sixteen of the depth from `d` on, a multiple of 16, of the stage at element `stage`, to buffer
  // `to`. That changes two bits of where pieces lie in their row.
  KILN_DEVICE void load(int32 to, const Shared<T>& stages, int32 stage, int32 d) {
    const int32 a_at = (stage + a_place) ^ d, b_at = (stage + b_place) ^ d;
    KILN_UNROLL
    for (int32 i = 0; i < kStripes; ++i) {
      load_matrices_at<T>(left[to][i], stages, a_at + i * (16 * kDepth));
    }
    KILN_UNROLL
    for (int32 j = 0; j < kBands / 2; ++j) {
      load_matrices_at<T>(right[to][j], stages, b_at + j * (16 * kDepth));
    }
  }
  KILN_DEVICE void multiply(int32 from) {
    KILN_UNROLL
    for (int32 i = 0; i < kStripes; ++i) {
      KILN_UNROLL
      for (int32 j = 0; j < kBands; ++j) {
        const uint32 (&pair)[4] = right[from][j / 2];
        const uint32 columns[2] = {pair[j % 2 * 2], pair[j % 2 * 2 + 1]};
        mma_16x8x16(T{}, sums[i][j], left[from][i], columns);
      }
    }
  }
  KILN_DEVICE void leave(const Shared<float>& tile) const {
    KILN_UNROLL
    for (int32 i = 0; i < kStripes; ++i) {
      KILN_UNROLL
      for (int32 j = 0; j < kBands; ++j) {
        const int32 row = first_row + i * 16 + lane() / 4;
        const int32 column = first_column + j * 8 + lane() % 4 * 2;
        const float (&s)[4] = sums[i][j];
        store<2>(tile + (row * Tile::kPitch + column), Pack<float, 2>{{s[0], s[1]}});
        store<2>(tile + ((row + 8) * Tile::kPitch + column), Pack<float, 2>{{s[2], s[3]}});
      }
    }
  }
};

// The groups of four columns that this thread gives to the result: the tile's are dealt out over
// the threads of all kParts blocks of a cluster, neighbours to neighbours, so that what a warp
// reads of another block's memory at a time lies in a row.
template <class Tile, int32 kParts>
struct TileGroups {
  static constexpr int32 kAcross = Tile::kColumns / 4, kGroups = Tile::kRows * kAcross;
  static constexpr int32 kAtOnce = Tile::kThreads * kParts;
  static constexpr int32 kCount = (kGroups + kAtOnce - 1) / kAtOnce;

  int32 first;
  KILN_DEVICE void start(int32 part) { first = part * Tile::kThreads + thread_x(); }
  KILN_DEVICE bool there(int32 i) const {
    return kGroups % kAtOnce == 0 || first + i * kAtOnce < kGroups;
  }
  KILN_DEVICE int32 row(int32 i) const { return (first + i * kAtOnce) / kAcross; }
  KILN_DEVICE int32 column(int32 i) const { return (first + i * kAtOnce) % kAcross * 4; }
};

// Four sums, added over the parts in their order.
template <int32 kParts>
KILN_DEVICE void add_parts(const Shared<float>& at, float (&sums)[4]) {
  Pack<float, 4> parts[kParts];
  KILN_UNROLL
  for (int32 p = 0; p < kParts; ++p) {
    if constexpr (kParts > 1) {
      parts[p] = load_peer(at, p);
    } else {
      parts[p] = load<4>(at);
    }
  }
  KILN_UNROLL
  for (int32 e = 0; e < 4; ++e) sums[e] = parts[0].at[e];
  KILN_UNROLL
  for (int32 p = 1; p < kParts; ++p) {
    KILN_UNROLL
    for (int32 e = 0; e < 4; ++e) sums[e] += parts[p].at[e];
  }
}

// Puts the sums that `product` holds, added over the kParts blocks of the cluster, of which this is
// number `part`. Dynamic shared memory is free, and has room for the tile's sums.
template <class Tile, int32 kParts, class Product, class Index, class Out_>
KILN_DEVICE void put_tile(const Product& product, const Out_& out, Index first_row,
                          Index first_column, int32 part) {
  using Groups = TileGroups<Tile, kParts>;
  // What is added to the results is on its way while the sums go through shared memory.
  constexpr int32 kEarly = Groups::kCount < 8 ? Groups::kCount : 8;
  Groups groups;
  groups.start(part);
  typename Out_::Extra extra[kEarly];
  KILN_UNROLL
  for (int32 i = 0; i < kEarly; ++i) {
    if (groups.there(i)) {
      extra[i] = out.extra(first_row + groups.row(i), first_column + groups.column(i));
    }
  }
  const Shared<float> tile = dynamic_shared<float>();
  product.leave(tile);
  if constexpr (kParts > 1) {
    cluster_barrier();
  } else {
    barrier();
  }
  KILN_UNROLL
  for (int32 i = 0; i < Groups::kCount; ++i) {
    if (groups.there(i)) {
      const int32 row = groups.row(i), column = groups.column(i);
      float sums[4];
      add_parts<kParts>(tile + (row * Tile::kPitch + column), sums);
      typename Out_::Extra late;
      if (i >= kEarly) late = out.extra(first_row + row, first_column + column);
      out.put(first_row + row, first_column + column, i < kEarly ? extra[i % kEarly] : late, sums);
    }
  }
  // A block's shared memory is there as long as it runs.
  if constexpr (kParts > 1) cluster_barrier();
}

// Has kRows rows from `first` on, as far as this part of the depth goes, brought to the L2 cache by
// all threads of a block: the weights', while the kernel before this one still makes the rest.
template <class Tile, int32 kParts, int32 kRows, class T, class Index>
KILN_DEVICE void prefetch_rows(const DepthRows<T, Index>& rows, Index first, int32 part) {
  constexpr int32 kLine = 64;  // elements
  const Index all = (rows.depth + (Tile::kDepth - 1)) / Tile::kDepth;
  const Index begin = all * part / kParts * Tile::kDepth;
  const Index end = all * (part + 1) / kParts * Tile::kDepth;
  const int32 lines = static_cast<int32>((end - begin + (kLine - 1)) / kLine);
  for (int32 i = thread_x(); i < kRows * lines; i += Tile::kThreads) {
    const Index row = first + i / lines, k = begin + i % lines * kLine;
    if (row < rows.count && k < rows.depth) prefetch(rows.base + (row * rows.by_row + k));
  }
}

// The tile of results from (first_row, first_column) on, by the kParts blocks of a cluster, of
// which this is number `part`. kWhole: the depth is a multiple of Tile::kDepth. Dynamic shared
// memory: kStages stages, or the sums.
template <class T, class Tile, int32 kParts, bool kWhole, class Index, class Out_>
KILN_DEVICE void multistage_gemm(const DepthRows<T, Index>& a, const DepthRows<T, Index>& b,
                                 const Out_& out, Index first_row, Index first_column,
                                 int32 part) {
  constexpr int32 kDepth = Tile::kDepth, kStages = Tile::kStages, kSteps = kDepth / 16;
  const Shared<T> stages = dynamic_shared<T>();
  const Index all = (a.depth + (kDepth - 1)) / kDepth;
  const Index begin = all * part / kParts;
  const int32 count = static_cast<int32>(all * (part + 1) / kParts - begin);
  StageCopy<T, Index, Tile::kRows, kDepth, Tile::kThreads, kWhole> copy_a;
  StageCopy<T, Index, Tile::kColumns, kDepth, Tile::kThreads, kWhole> copy_b;
  copy_b.start(b, first_column, begin * kDepth, Tile::kRows * kDepth);
  copy_a.start(a, first_row, begin * kDepth, 0);
  AsyncCopies copies;
  KILN_UNROLL
  for (int32 s = 0; s < kStages - 1; ++s) {
    if (s < count) {
      copy_b.copy(copies, stages, s * Tile::kStage);
      copy_a.copy(copies, stages, s * Tile::kStage);
    }
    copies.commit();
  }
  WarpProduct<T, Tile> product;
  product.start();
  copies.template wait<kStages - 2>();
  barrier();
  if (count > 0) product.load(0, stages, 0, 0);
  // The stage that is multiplied, and the one that is free.
  int32 current = 0, next = (kStages - 1) * Tile::kStage;
  for (int32 s = 0; s < count; ++s) {
    KILN_UNROLL
    for (int32 step = 0; step < kSteps; ++step) {
      if (step + 1 < kSteps) {
        product.load((step + 1) % 2, stages, current, (step + 1) * 16);
      } else {
        // The next stage is there, and all warps have read this one.
        copies.template wait<kStages - 2>();
        barrier();
        current = current + Tile::kStage == kStages * Tile::kStage ? 0 : current + Tile::kStage;
        if (s + 1 < count) product.load(0, stages, current, 0);
      }
      if (step == 0) {
        if (s + kStages - 1 < count) {
          copy_b.copy(copies, stages, next);
          copy_a.copy(copies, stages, next);
        }
        copies.commit();
        next = next + Tile::kStage == kStages * Tile::kStage ? 0 : next + Tile::kStage;
      }
      product.multiply(step % 2);
    }
  }
  put_tile<Tile, kParts>(product, out, first_row, first_column, part);
}
