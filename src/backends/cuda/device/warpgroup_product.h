// C = A B^T of 16-bit matrices whose rows lie in memory without gaps between neighbours along the
// depth, on sm_90a: bulk copies bring tiles to shared memory, warpgroups multiply them there.
//
// Warp specialized and persistent, as CUTLASS's kernels for Hopper (Thakkar et al.): one warpgroup,
// of which a single thread works, keeps kStages pieces of 64 along the depth on their way, through
// all tiles of its block without a pause between them; the others consume what has come.
//   - sharing: the consumers multiply one tile together, each has its rows of it
//   - taking turns: each consumer has tiles of its own; one finishes and writes its results while
//     the other multiplies, which hides all that the epilogue computes
// With kCluster = 2 two blocks have tiles below each other and each brings half of the columns'
// operand for both.
//
// The epilogue has
//   void start(Index first_column, int32 columns, Shared<T> scratch, int32 lane)  not yet
#pragma once

#include "device/cluster.h"
#include "device/mma.h"
#include "device/tensor_copy.h"
#include "device/wgmma.h"

template <int32 kRowBlocks_, int32 kColumns_, int32 kConsumers_, bool kTurns_, int32 kStages_,
          int32 kCluster_>
struct WarpgroupTile {
  static constexpr int32 kRowBlocks = kRowBlocks_;  // of 64 rows, of a consumer
  static constexpr int32 kColumns = kColumns_;      // 64, 128, 192 or 256
  static constexpr int32 kConsumers = kConsumers_;  // warpgroups
  static constexpr bool kTurns = kTurns_;
  static constexpr int32 kStages = kStages_;
  static constexpr int32 kCluster = kCluster_;  // 1 or 2

  static constexpr int32 kOwnRows = 64 * kRowBlocks;
  static constexpr int32 kRows = kTurns ? kOwnRows : kOwnRows * kConsumers;
  static constexpr int32 kDepth = 64;  // 128 bytes
  static constexpr int32 kThreads = 128 * (kConsumers + 1);
  static constexpr int32 kSums = kRowBlocks * kColumns / 2;  // of a thread
  static constexpr int32 kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int32 kConsumerRegisters = kConsumers == 2 ? 232 : 160;

  // Shared memory, in bytes from a multiple of 1024.
  static constexpr int32 kRowsBytes = kRows * 128, kColumnsBytes = kColumns * 128;
  static constexpr int32 kStageBytes = kRowsBytes + kColumnsBytes;
  // Of a warp: results of 16 rows x 64 columns, then what the epilogue keeps of columns.
  static constexpr int32 kWarpBytes = 16 * 128 + kColumns * 2;
  static constexpr int32 kScratchAt = kStages * kStageBytes;
  static constexpr int32 kBarriersAt = kScratchAt + kConsumers * 4 * kWarpBytes;
  static constexpr int32 kSharedBytes = 1024 + kBarriersAt + kStages * 16;
};

// Tiles in the order in which blocks take them: bands of kBand rows of tiles, by columns, so that
// those that run at one time share rows and columns, which the L2 cache then has.
template <class Index>
struct TileOrder {
  static constexpr int32 kBand = 8;
  Index rows, columns;
  KILN_DEVICE void at(Index tile, Index& row, Index& column) const {
    const Index band = tile / (kBand * columns), first = band * kBand;
    const Index height = rows - first < kBand ? rows - first : Index(kBand);
    const Index rest = tile - first * columns;
    row = first + rest % height;
    column = rest / height;
  }
};

// Which piece along the depth is next, of all of a block's tiles, and where it lies.
template <int32 kStages>
struct StageCounter {
  int32 stage = 0;
  uint32 parity = 0;
  KILN_DEVICE void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
  KILN_DEVICE void skip(int32 pieces) {
    const int32 all = stage + pieces;
    parity ^= static_cast<uint32>(all / kStages) & 1;
    stage = all % kStages;
  }
};

template <class T, class Tile, class Index, class Epilogue>
struct WarpgroupProduct {
  const TensorMap& a;
  const TensorMap& b;
  const Epilogue& epilogue;
  Index m, n, k;

  int32 base;  // of the shared memory
  Index unit, units, row_tiles, column_tiles, pieces;
  int32 rank;  // in the cluster

  KILN_DEVICE AsyncBarrier full(int32 stage) const {
    return {dynamic_shared<uint64>(base + Tile::kBarriersAt) + stage};
  }
  KILN_DEVICE AsyncBarrier empty(int32 stage) const {
    return {dynamic_shared<uint64>(base + Tile::kBarriersAt) + (Tile::kStages + stage)};
  }
  KILN_DEVICE Shared<T> rows_at(int32 stage) const {
    return dynamic_shared<T>(base + stage * Tile::kStageBytes);
  }
  KILN_DEVICE Shared<T> columns_at(int32 stage) const {
    return dynamic_shared<T>(base + stage * Tile::kStageBytes + Tile::kRowsBytes);
  }
  KILN_DEVICE Index tiles() const { return row_tiles * column_tiles; }
  // First row and column of a tile.
  KILN_DEVICE void place(Index tile, Index& row, Index& column) const {
    TileOrder<Index>{row_tiles, column_tiles}.at(tile, row, column);
    row = (row * Tile::kCluster + rank) * Tile::kRows;
    column *= Tile::kColumns;
  }

  KILN_DEVICE void produce() const {
    StageCounter<Tile::kStages> at;
    for (Index tile = unit; tile < tiles(); tile += units) {
      Index row, column;
      place(tile, row, column);
      for (Index piece = 0; piece < pieces; ++piece) {
        empty(at.stage).wait(at.parity ^ 1);
        const AsyncBarrier there = full(at.stage);
        there.arrive_expecting(Tile::kStageBytes);
        const int32 depth = static_cast<int32>(piece * Tile::kDepth);
        copy_box(rows_at(at.stage), a, static_cast<int32>(row), depth, there);
        if constexpr (Tile::kCluster == 1) {
          copy_box(columns_at(at.stage), b, static_cast<int32>(column), depth, there);
        } else {
          const int32 half = rank * (Tile::kColumns / 2);
          copy_box_to_blocks(columns_at(at.stage) + half * Tile::kDepth, b,
                             static_cast<int32>(column) + half, depth, there, 3);
        }
        at.next();
      }
    }
  }

  // A consumer is done with a stage.
  KILN_DEVICE void release(int32 stage) const {
    if constexpr (Tile::kCluster == 1) {
      if (lane() == 0) empty(stage).arrive();
    } else {
      if (lane() < Tile::kCluster) empty(stage).arrive_at(lane());
    }
  }

  KILN_DEVICE void multiply(float (&sums)[Tile::kRowBlocks][Tile::kColumns / 2],
                            StageCounter<Tile::kStages>& at, int32 first_row) const {
    WarpgroupProducts products;
    int32 last = 0;
    for (Index piece = 0; piece < pieces; ++piece) {
      full(at.stage).wait(at.parity);
      const MatrixDescriptor rows =
          describe_matrix(rows_at(at.stage)).moved(first_row * Tile::kDepth * 2);
      const MatrixDescriptor columns = describe_matrix(columns_at(at.stage));
      products.begin();
      KILN_UNROLL
      for (int32 d = 0; d < Tile::kDepth; d += 16) {
        KILN_UNROLL
        for (int32 i = 0; i < Tile::kRowBlocks; ++i) {
          products.start(T{}, sums[i], rows.moved(i * 64 * 128 + d * 2), columns.moved(d * 2),
                        d != 0 || piece != 0);
        }
      }
      products.commit();
      products.wait<1>();
      if (piece != 0) release(last);
      last = at.stage;
      at.next();
    }
    products.wait<0>();
    KILN_UNROLL
    for (int32 i = 0; i < Tile::kRowBlocks; ++i) products.done(sums[i]);
    release(last);
  }

  // Results of one warp: 16 rows of each block of 64, by 64 columns, through shared memory so that
  // rows are written by 128 bytes.
  KILN_DEVICE void finish(float (&sums)[Tile::kRowBlocks][Tile::kColumns / 2], Shared<T> scratch,
                          Index row, Index column) const {
    const Shared<T> kept = scratch + 16 * 64;
    KILN_UNROLL
    for (int32 i = 0; i < Tile::kRowBlocks; ++i) {
      KILN_UNROLL
      for (int32 c = 0; c < Tile::kColumns; c += 64) {
        const Index first_row = row + i * 64;
        if (first_row < m && column + c < n) {
          epilogue.bring(scratch, first_row, column + c);
          KILN_UNROLL
          for (int32 p = 0; p < 64; p += 16) {
            uint32 words[4];
            KILN_UNROLL
            for (int32 w = 0; w < 4; ++w) {
              const int32 own = (c + p + w / 2 * 8) / 2 + w % 2 * 2;
              words[w] = epilogue.pair(sums[i][own], sums[i][own + 1], scratch, kept, w % 2 * 8,
                                       c, p + w / 2 * 8);
            }
            const int32 r = lane() % 16, u = p / 8 + lane() / 16;
            epilogue.before_store();
            store_matrices(scratch + (r * 64 + (u ^ (r & 7)) * 8), words);
          }
          warp_barrier();
          KILN_UNROLL
          for (int32 q = 0; q < 16; q += 4) {
            const int32 r = q + lane() / 8, u = lane() % 8;
            const Pack<T, 8> eight = load<8>(scratch + (r * 64 + (u ^ (r & 7)) * 8));
            epilogue.put(first_row + r, column + c + u * 8, eight);
          }
          warp_barrier();
        }
      }
    }
  }

  KILN_DEVICE void consume() const {
    const int32 consumer = thread_x() / 128 - 1;
    StageCounter<Tile::kStages> at;
    const Shared<T> scratch = dynamic_shared<T>(
        base + Tile::kScratchAt + (consumer * 4 + warp() % 4) * Tile::kWarpBytes);
    const int32 first_row = Tile::kTurns ? 0 : consumer * Tile::kOwnRows;
    Index tile = unit;
    if (Tile::kTurns) {
      tile += consumer * units;
      at.skip(static_cast<int32>(consumer * pieces));
    }
    for (; tile < tiles(); tile += (Tile::kTurns ? Tile::kConsumers : 1) * units) {
      Index row, column;
      place(tile, row, column);
      epilogue.start(scratch + 16 * 64, column, Tile::kColumns);
      float sums[Tile::kRowBlocks][Tile::kColumns / 2];
      multiply(sums, at, first_row);
      finish(sums, scratch, row + first_row + warp() % 4 * 16, column);
      if (Tile::kTurns) at.skip(static_cast<int32>((Tile::kConsumers - 1) * pieces));
    }
  }

  KILN_DEVICE void run() {
    base = static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024);
    rank = static_cast<int32>(block_x() % Tile::kCluster);
    unit = static_cast<Index>(block_x() / Tile::kCluster);
    units = static_cast<Index>(blocks_x() / Tile::kCluster);
    constexpr int32 kUnitRows = Tile::kRows * Tile::kCluster;
    row_tiles = (m + (kUnitRows - 1)) / kUnitRows;
    column_tiles = (n + (Tile::kColumns - 1)) / Tile::kColumns;
    pieces = (k + (Tile::kDepth - 1)) / Tile::kDepth;
    if (thread_x() == 0) {
      prefetch(a);
      prefetch(b);
      for (int32 stage = 0; stage < Tile::kStages; ++stage) {
        full(stage).init(1);
        empty(stage).init(4 * (Tile::kTurns ? 1 : Tile::kConsumers) * Tile::kCluster);
      }
      fence_barriers();
    }
    if constexpr (Tile::kCluster == 1) {
      barrier();
    } else {
      cluster_barrier();
    }
    if (thread_x() < 128) {
      give_registers<Tile::kProducerRegisters>();
      if (thread_x() == 0) produce();
      warp_barrier();
    } else {
      take_registers<Tile::kConsumerRegisters>();
      consume();
    }
    // What a block of the cluster still sends must not come to one that is gone.
    if constexpr (Tile::kCluster != 1) cluster_barrier();
  }
};
