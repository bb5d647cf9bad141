// C = A B^T of 16-bit matrices whose rows lie in memory without gaps between neighbours along the
// depth, on sm_90a: bulk copies bring tiles to shared memory, warpgroups multiply them there.
//
// Warp specialized and persistent, as CUTLASS's kernels for Hopper (Thakkar et al.): one warpgroup,
// of which a single thread works, keeps kStages pieces of 64 along the depth on their way, through
// all tiles of its block without a pause between them; the others consume what has come.
//   - sharing: the consumers multiply one tile together, each has its rows of it
//   - taking turns: each consumer has tiles of its own; one finishes and writes its results while
//     the other multiplies, which hides all that the epilogue computes
// Results leave by bulk copies, too, so that nobody waits until they are written.
//
// The result has
//   static constexpr bool kBias, kAdd           whether there are numbers of columns, and of results
//   In<T> bias_at(column), add_at(row, column)  eight of them, columns are multiples of 8
//   float value(float sum, float bias, float add)
#pragma once

#include "device/mma.h"
#include "device/tensor_copy.h"
#include "device/wgmma.h"

template <int32 kRowBlocks_, int32 kColumns_, int32 kConsumers_, bool kTurns_, int32 kStages_,
          int32 kBuffers_>
struct WarpgroupTile {
  static constexpr int32 kRowBlocks = kRowBlocks_;  // of 64 rows, of a consumer
  static constexpr int32 kColumns = kColumns_;      // 64, 128, 192 or 256
  static constexpr int32 kConsumers = kConsumers_;  // warpgroups
  static constexpr bool kTurns = kTurns_;
  static constexpr int32 kStages = kStages_;
  static constexpr int32 kBuffers = kBuffers_;  // of a warp, for results on their way

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
  static constexpr int32 kBufferBytes = 16 * 128;  // 16 rows x 64 columns
  static constexpr int32 kWarps = kConsumers * 4;
  static constexpr int32 kBuffersAt = kStages * kStageBytes;
  static constexpr int32 kBiasAt = kBuffersAt + kWarps * kBuffers * kBufferBytes;
  static constexpr int32 kBarriersAt = kBiasAt + kWarps * kColumns * 2;
  static constexpr int32 kSharedBytes = 1024 + kBarriersAt + kStages * 16 + kConsumers * 8;
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

template <class T, class Tile, class Index, class Result>
struct WarpgroupProduct {
  const TensorMap& a;
  const TensorMap& b;
  const TensorMap& c;
  const Result& result;
  Index m, n, k;

  int32 base;  // of the shared memory
  Index row_tiles, column_tiles, pieces;

  KILN_DEVICE AsyncBarrier full(int32 stage) const {
    return {dynamic_shared<uint64>(base + Tile::kBarriersAt) + stage};
  }
  KILN_DEVICE AsyncBarrier empty(int32 stage) const {
    return {dynamic_shared<uint64>(base + Tile::kBarriersAt) + (Tile::kStages + stage)};
  }
  // A consumer's turn: it may multiply.
  KILN_DEVICE AsyncBarrier turn(int32 consumer) const {
    return {dynamic_shared<uint64>(base + Tile::kBarriersAt) + (2 * Tile::kStages + consumer)};
  }
  KILN_DEVICE Shared<T> rows_at(int32 stage) const {
    return dynamic_shared<T>(base + stage * Tile::kStageBytes);
  }
  KILN_DEVICE Shared<T> columns_at(int32 stage) const {
    return dynamic_shared<T>(base + stage * Tile::kStageBytes + Tile::kRowsBytes);
  }
  KILN_DEVICE Index tiles() const { return row_tiles * column_tiles; }
  static KILN_DEVICE Index block() { return static_cast<Index>(block_x()); }
  static KILN_DEVICE Index blocks() { return static_cast<Index>(blocks_x()); }
  // First row and column of a tile.
  KILN_DEVICE void place(Index tile, Index& row, Index& column) const {
    TileOrder<Index>{row_tiles, column_tiles}.at(tile, row, column);
    row *= Tile::kRows;
    column *= Tile::kColumns;
  }

  KILN_DEVICE void produce() const {
    StageCounter<Tile::kStages> at;
    for (Index tile = block(); tile < tiles(); tile += blocks()) {
      Index row, column;
      place(tile, row, column);
      for (Index piece = 0; piece < pieces; ++piece) {
        empty(at.stage).wait(at.parity ^ 1);
        const AsyncBarrier there = full(at.stage);
        there.arrive_expecting(Tile::kStageBytes);
        const int32 depth = static_cast<int32>(piece * Tile::kDepth);
        copy_box(rows_at(at.stage), a, static_cast<int32>(row), depth, there);
        copy_box(columns_at(at.stage), b, static_cast<int32>(column), depth, there);
        at.next();
      }
    }
  }

  // A warp is done with a stage.
  KILN_DEVICE void release(int32 stage) const {
    if (lane() == 0) empty(stage).arrive();
  }

  // The consumer `next` has its turn when all pieces are there and their products started: it must
  // not wait for a stage that is two phases behind, whose parity is that of the one it wants.
  KILN_DEVICE void multiply(float (&sums)[Tile::kRowBlocks][Tile::kColumns / 2],
                            StageCounter<Tile::kStages>& at, int32 first_row, int32 next) const {
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
    if (Tile::kTurns && lane() == 0) turn(next).arrive();
    products.wait<0>();
    KILN_UNROLL
    for (int32 i = 0; i < Tile::kRowBlocks; ++i) products.done(sums[i]);
    release(last);
  }

  // Where eight elements of a buffer's 16 x 64 lie, as bulk copies have it.
  static KILN_DEVICE int32 eight_at(int32 row, int32 eight) {
    return row * 64 + (eight ^ (row & 7)) * 8;
  }

  // The bias of a tile's columns, while its first copies are on their way.
  KILN_DEVICE void bring_bias(const Shared<T>& bias, Index column) const {
    if constexpr (Result::kBias) {
      for (int32 i = lane() * 8; i < Tile::kColumns; i += 256) {
        const bool inside = column + i < n;
        store<8>(bias + i, load_if<8>(inside, result.bias_at(inside ? column + i : Index(0))));
      }
      warp_barrier();
    }
  }
  KILN_DEVICE void bring_add(const Shared<T>& scratch, Index row, Index column) const {
    KILN_UNROLL
    for (int32 q = 0; q < 16; q += 4) {
      const int32 r = q + lane() / 8, u = lane() % 8;
      const bool inside = row + r < m && column + u * 8 < n;
      store<8>(scratch + eight_at(r, u),
               load_if<8>(inside, result.add_at(inside ? row + r : Index(0),
                                                inside ? column + u * 8 : Index(0))));
    }
    warp_barrier();
  }
  // Two neighbouring results as they are stored; `add`: what is added to them.
  KILN_DEVICE uint32 pair(float x, float y, const Shared<T>& bias, const Shared<T>& add) const {
    Pack<T, 2> of_column{}, of_result{};
    if constexpr (Result::kBias) of_column = load<2>(bias);
    if constexpr (Result::kAdd) of_result = load<2>(add);
    return pack_pair(T{},
                     result.value(x, to_float(of_column.at[0]), to_float(of_result.at[0])),
                     result.value(y, to_float(of_column.at[1]), to_float(of_result.at[1])));
  }

  // Results of one warp: 16 rows of each block of 64, by 64 columns through its buffers.
  KILN_DEVICE void finish(const float (&sums)[Tile::kRowBlocks][Tile::kColumns / 2],
                          BoxStores& stores, int32& buffer, const Shared<T>& buffers,
                          const Shared<T>& bias, Index row, Index column) const {
    KILN_UNROLL
    for (int32 i = 0; i < Tile::kRowBlocks; ++i) {
      KILN_UNROLL
      for (int32 from = 0; from < Tile::kColumns; from += 64) {
        const Index first_row = row + i * 64;
        if (first_row < m && column + from < n) {
          const Shared<T> place = buffers + buffer * (Tile::kBufferBytes / 2);
          buffer = buffer + 1 == Tile::kBuffers ? 0 : buffer + 1;
          if (lane() == 0) stores.template wait<Tile::kBuffers - 1>();
          warp_barrier();
          if constexpr (Result::kAdd) bring_add(place, first_row, column + from);
          KILN_UNROLL
          for (int32 p = 0; p < 64; p += 16) {
            uint32 words[4];
            KILN_UNROLL
            for (int32 w = 0; w < 4; ++w) {
              const int32 at = from + p + w / 2 * 8, own = at / 2 + w % 2 * 2;
              const int32 two = lane() % 4 * 2;
              words[w] = pair(sums[i][own], sums[i][own + 1], bias + (at + two),
                              place + (eight_at(lane() / 4 + w % 2 * 8, p / 8 + w / 2) + two));
            }
            if constexpr (Result::kAdd) warp_barrier();
            store_matrices(place + eight_at(lane() % 16, p / 8 + lane() / 16), words);
          }
          fence_for_copies();
          warp_barrier();
          if (lane() == 0) {
            stores.start(c, static_cast<int32>(first_row), static_cast<int32>(column) + from,
                         place);
          }
        }
      }
    }
  }

  KILN_DEVICE void consume() const {
    // Through a shuffle, so that the compiler knows that it is the same for a warp: descriptors then
    // lie in uniform registers.
    const int32 consumer = shuffle(thread_x() / 128, 0) - 1;
    StageCounter<Tile::kStages> at;
    const int32 own = consumer * 4 + warp() % 4;  // of all consumers' warps
    const Shared<T> buffers =
        dynamic_shared<T>(base + Tile::kBuffersAt + own * (Tile::kBuffers * Tile::kBufferBytes));
    const Shared<T> bias = dynamic_shared<T>(base + Tile::kBiasAt + own * (Tile::kColumns * 2));
    BoxStores stores;
    int32 buffer = 0;
    const int32 first_row = Tile::kTurns ? 0 : consumer * Tile::kOwnRows;
    Index tile = block();
    const int32 next = (consumer + 1) % Tile::kConsumers;
    uint32 turn_parity = consumer == 0 ? 1 : 0;  // the first consumer has the first turn
    if (Tile::kTurns) {
      tile += consumer * blocks();
      at.skip(static_cast<int32>(consumer * pieces));
    }
    for (; tile < tiles(); tile += (Tile::kTurns ? Tile::kConsumers : 1) * blocks()) {
      Index row, column;
      place(tile, row, column);
      bring_bias(bias, column);
      float sums[Tile::kRowBlocks][Tile::kColumns / 2];
      if (Tile::kTurns) {
        turn(consumer).wait(turn_parity);
        turn_parity ^= 1;
      }
      multiply(sums, at, first_row, next);
      finish(sums, stores, buffer, buffers, bias, row + first_row + warp() % 4 * 16, column);
      if (Tile::kTurns) at.skip(static_cast<int32>((Tile::kConsumers - 1) * pieces));
    }
    if (lane() == 0) stores.template wait<0>();  // shared memory is gone with the block
  }

  // Nothing where there are no such instructions: who launches kernels knows.
  KILN_DEVICE void run() {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    work();
#endif
  }

  KILN_DEVICE void work() {
    base = static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024);
    row_tiles = (m + (Tile::kRows - 1)) / Tile::kRows;
    column_tiles = (n + (Tile::kColumns - 1)) / Tile::kColumns;
    pieces = (k + (Tile::kDepth - 1)) / Tile::kDepth;
    if (thread_x() == 0) {
      prefetch(a);
      prefetch(b);
      prefetch(c);
      for (int32 stage = 0; stage < Tile::kStages; ++stage) {
        full(stage).init(1);
        empty(stage).init(4 * (Tile::kTurns ? 1 : Tile::kConsumers));
      }
      for (int32 consumer = 0; consumer < Tile::kConsumers; ++consumer) turn(consumer).init(4);
      fence_barriers();
    }
    barrier();
    if (thread_x() < 128) {
      give_registers<Tile::kProducerRegisters>();
      if (thread_x() == 0) produce();
    } else {
      take_registers<Tile::kConsumerRegisters>();
      consume();
    }
  }
};
