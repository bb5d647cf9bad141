// C = A B^T of 16-bit matrices whose rows lie in memory without gaps between neighbours along the
// depth, on sm_90a: bulk copies bring tiles to shared memory, warpgroups multiply them there.
//
// Warp specialized and persistent, as CUTLASS's kernels for Hopper (Thakkar et al.): one warpgroup,
// of which a single thread works, keeps kStages pieces of 64 along the depth on their way, through
// all tiles of its block without a pause between them. The others, the consumers, multiply what has
// come, each its rows of the tile. Where a thread has registers for the sums of two tiles
// (kOverlap), it starts the products of the next one before it finishes those of the last, piece by
// part, so that the matrix instructions do not wait for what is computed behind the sums. Parts are
// small: while one warpgroup is at one, the other's products must fill the time.
//
// The result has
//   static constexpr bool kBias                 whether there are such, of columns
//   In<T> bias_at(column), add_at(row, column)  eight of them, columns are multiples of 8
//   Out<T> at(row, column)                      where eight results go
//   float value(float sum, float bias, float add)
#pragma once

#include "device/async_copy.h"
#include "device/mma.h"
#include "device/tensor_copy.h"
#include "device/wgmma.h"

// kAdd: whether something is added to each result.
template <int32 kRowBlocks_, int32 kColumns_, int32 kConsumers_, bool kOverlap_, int32 kStages_,
          bool kAdd_>
struct WarpgroupTile {
  static constexpr int32 kRowBlocks = kRowBlocks_;  // of 64 rows, of a consumer
  static constexpr int32 kColumns = kColumns_;      // 64, 128, 192 or 256
  static constexpr int32 kConsumers = kConsumers_;  // warpgroups
  static constexpr bool kOverlap = kOverlap_;
  static constexpr int32 kStages = kStages_;
  static constexpr bool kAdd = kAdd_;

  static constexpr int32 kOwnRows = 64 * kRowBlocks, kRows = kOwnRows * kConsumers;
  static constexpr int32 kDepth = 64;  // 128 bytes
  static constexpr int32 kThreads = 128 * (kConsumers + 1);
  static constexpr int32 kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int32 kConsumerRegisters = kConsumers == 2 ? 232 : 160;
  // A warp's results are finished in parts of 16 rows x 16 columns, four of which are a group that
  // is stored together.
  static constexpr int32 kGroupsAcross = kColumns / 64, kGroups = kRowBlocks * kGroupsAcross;
  // Rows of a group by which a thread moves at a time, of four: as far as registers go.
  static constexpr int32 kSums = kRowBlocks * kColumns / 2 * (kOverlap ? 2 : 1);
  static constexpr int32 kRowsAtOnce = kAdd && (kSums > 128 || kConsumers > 2) ? 1 : 4;
  // So many groups of addends are on their way or there.
  static constexpr int32 kAhead = !kAdd ? 0 : kGroups > 1 ? 2 : 1;

  // Shared memory, in bytes from a multiple of 1024.
  static constexpr int32 kRowsBytes = kRows * 128, kColumnsBytes = kColumns * 128;
  static constexpr int32 kStageBytes = kRowsBytes + kColumnsBytes;
  static constexpr int32 kGroupSize = 16 * 64, kGroupBytes = kGroupSize * 2;
  static constexpr int32 kBufferBytes = (1 + kAhead) * kGroupBytes;  // of a warp; results first
  static constexpr int32 kBiasBytes = kColumns * 2, kBiases = kOverlap ? 2 : 1;  // of a warp
  static constexpr int32 kWarps = kConsumers * 4;
  static constexpr int32 kBuffersAt = kStages * kStageBytes;
  static constexpr int32 kBiasAt = kBuffersAt + kWarps * kBufferBytes;
  static constexpr int32 kBarriersAt = kBiasAt + kWarps * kBiases * kBiasBytes;
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

// Where the next piece along the depth lies, of all of a block's tiles.
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
};

// The operands, and the stages in shared memory.
template <class T, class Tile, class Index>
struct WarpgroupProblem {
  const TensorMap& a;
  const TensorMap& b;
  Index m, n, k;
  Index row_tiles, column_tiles, pieces;
  int32 base;  // of the shared memory

  KILN_DEVICE WarpgroupProblem(const TensorMap& a_, const TensorMap& b_, Index m_, Index n_,
                               Index k_)
      : a(a_), b(b_), m(m_), n(n_), k(k_),
        row_tiles((m + (Tile::kRows - 1)) / Tile::kRows),
        column_tiles((n + (Tile::kColumns - 1)) / Tile::kColumns),
        pieces((k + (Tile::kDepth - 1)) / Tile::kDepth),
        base(static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024)) {}

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
  static KILN_DEVICE Index block() { return static_cast<Index>(block_x()); }
  static KILN_DEVICE Index blocks() { return static_cast<Index>(blocks_x()); }
  // First row and column of a tile.
  KILN_DEVICE void place(Index tile, Index& row, Index& column) const {
    TileOrder<Index>{row_tiles, column_tiles}.at(tile, row, column);
    row *= Tile::kRows;
    column *= Tile::kColumns;
  }

  // What can be done while the kernel before this one still runs: it reads and writes no memory of
  // the device. B's columns come to the L2 cache, each block brings its share of those that blocks
  // beside it multiply, too.
  KILN_DEVICE void prepare() const {
#ifdef KILN_WARPGROUPS
    if (thread_x() == 0) {
      prefetch(a);
      prefetch(b);
      for (int32 stage = 0; stage < Tile::kStages; ++stage) {
        full(stage).init(1);
        empty(stage).init(Tile::kWarps);
      }
      fence_barriers();
    }
    if (thread_x() == 32 && block() < tiles()) {
      constexpr Index kBand = TileOrder<Index>::kBand;
      Index row, column;
      place(block(), row, column);
      const Index share = row_tiles < kBand ? row_tiles : kBand;
      for (Index piece = row / Tile::kRows % kBand; piece < pieces; piece += share) {
        prefetch_box(b, static_cast<int32>(column), static_cast<int32>(piece * Tile::kDepth));
      }
    }
#endif
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
};

template <class T, class Tile, class Index, class Result>
struct WarpgroupProduct : WarpgroupProblem<T, Tile, Index> {
  using Problem = WarpgroupProblem<T, Tile, Index>;
  using Problem::base, Problem::block, Problem::blocks, Problem::columns_at, Problem::empty,
      Problem::full, Problem::m, Problem::n, Problem::pieces, Problem::place, Problem::rows_at,
      Problem::tiles;
  using Sums = float[Tile::kRowBlocks][Tile::kColumns / 2];

  const Result& result;

  KILN_DEVICE WarpgroupProduct(const Problem& problem, const Result& result_)
      : Problem(problem), result(result_) {}

  // What a warp of a consumer holds besides its sums.
  struct Consumer {
    WarpgroupProducts products;
    StageCounter<Tile::kStages> at;
    int32 last = -1;  // the stage of the last products; none yet
    int32 first_row, warp_row;  // the warpgroup's in the tile, the warp's in 64 of these
    Shared<T> buffer, biases;
    AsyncCopies copies;  // of biases and addends
    int32 turn = 0;      // groups of tiles before this one
  };
  // Where a tile's results of a warp go, and its columns' bias.
  struct Target {
    Index row, column;
    Shared<T> bias;
  };

  // The products of the next piece; those before are done then, and their stage is free.
  KILN_DEVICE void start_piece(Consumer& own, Sums& sums, bool first) const {
    full(own.at.stage).wait(own.at.parity);
    const MatrixDescriptor rows =
        describe_matrix(rows_at(own.at.stage)).moved(own.first_row * Tile::kDepth * 2);
    const MatrixDescriptor columns = describe_matrix(columns_at(own.at.stage));
    own.products.begin();
    KILN_UNROLL
    for (int32 d = 0; d < Tile::kDepth; d += 16) {
      KILN_UNROLL
      for (int32 i = 0; i < Tile::kRowBlocks; ++i) {
        own.products.start(T{}, sums[i], rows.moved(i * 64 * 128 + d * 2), columns.moved(d * 2),
                           d != 0 || !first);
      }
    }
    own.products.commit();
    own.products.template wait<1>();
    release(own.last);
    own.last = own.at.stage;
    own.at.next();
  }
  KILN_DEVICE void release(int32 stage) const {
    if (stage >= 0 && lane() == 0) empty(stage).arrive();
  }

  // Where eight elements of a buffer's 16 x 64 lie, so that those of eight rows lie in different
  // banks.
  static KILN_DEVICE int32 eight_at(int32 row, int32 eight) {
    return row * 64 + (eight ^ (row & 7)) * 8;
  }

  // The bias of a tile's columns, for the warp alone. It comes with the next group of copies.
  KILN_DEVICE void bring_bias(Consumer& own, const Shared<T>& bias, Index column) const {
    if constexpr (Result::kBias) {
      for (int32 i = lane() * 8; i < Tile::kColumns; i += 256) {
        const bool inside = column + i < n;
        own.copies.start(bias + i, result.bias_at(inside ? column + i : Index(0)), inside);
      }
    }
  }
  // Where the addends of a tile's group lie, and where the group's first result does.
  KILN_DEVICE Shared<T> adds_of(const Consumer& own, int32 group) const {
    return own.buffer + (1 + (own.turn + group) % Tile::kAhead) * Tile::kGroupSize;
  }
  static KILN_DEVICE void first_of(const Target& tile, int32 group, Index& row, Index& column) {
    row = tile.row + group / Tile::kGroupsAcross * 64;
    column = tile.column + group % Tile::kGroupsAcross * 64;
  }
  // What is added to a group's results, to `to`.
  KILN_DEVICE void bring_adds(Consumer& own, const Target& tile, int32 group,
                              const Shared<T>& to) const {
    Index row, column;
    first_of(tile, group, row, column);
        KILN_UNROLL_BY(Tile::kRowsAtOnce)
    for (int32 q = 0; q < 16; q += 4) {
      const int32 r = q + lane() / 8, u = lane() % 8;
      const bool inside = row + r < m && column + u * 8 < n;
      own.copies.start(to + eight_at(r, u),
                       result.add_at(inside ? row + r : Index(0),
                                     inside ? column + u * 8 : Index(0)),
                       inside);
    }
  }
  // Of a tile that is about to be multiplied: what nobody brings while another one is finished.
  KILN_DEVICE void bring_first(Consumer& own, const Target& tile) const {
    if constexpr (Tile::kAdd) {
      for (int32 group = 0; group < Tile::kAhead; ++group) {
        bring_adds(own, tile, group, adds_of(own, group));
        own.copies.commit();
      }
    }
  }
  // Two neighbouring results as they are stored; `add`: what is added to them.
  KILN_DEVICE uint32 pair(float x, float y, const Shared<T>& bias, const Shared<T>& add) const {
    Pack<T, 2> of_column{}, of_result{};
    if constexpr (Result::kBias) of_column = load<2>(bias);
    if constexpr (Tile::kAdd) of_result = load<2>(add);
    return pack_pair(T{},
                     result.value(x, to_float(of_column.at[0]), to_float(of_result.at[0])),
                     result.value(y, to_float(of_column.at[1]), to_float(of_result.at[1])));
  }
  // A quarter of a group of a warp's results: 16 rows of a block of 64, by 16 columns. The last one
  // writes the group by rows of 128 bytes. The group's sums are those of group `place`. `next`: the
  // tile that is finished after this one, if there is one. `kLater`: groups of copies since this
  // tile's first that are for that one.
  template <int32 kLater>
  KILN_DEVICE void finish_quarter(Consumer& own, const Sums& sums, int32 place, const Target& to,
                                  const Target* next, int32 group, int32 quarter) const {
    const int32 across = group % Tile::kGroupsAcross * 64;
    const Shared<T>& buffer = own.buffer;
    Shared<T> adds = buffer;
    if constexpr (Tile::kAdd) adds = adds_of(own, group);
    if (quarter == 0) {
      if constexpr (Tile::kAdd) {
        own.copies.template wait<Tile::kAhead - 1>();
      } else if constexpr (Result::kBias) {
        if (group == 0) own.copies.template wait<kLater>();
      }
      warp_barrier();  // all of the warp's copies are there, and the last group's results are read
    }
    uint32 words[4];
    KILN_UNROLL
    for (int32 w = 0; w < 4; ++w) {
      const int32 in_group = quarter * 16 + w / 2 * 8, at = across + in_group;
      const int32 sum = place % Tile::kGroupsAcross * 32 + in_group / 2 + w % 2 * 2;
      const int32 block = place / Tile::kGroupsAcross, two = lane() % 4 * 2;
      words[w] = pair(sums[block][sum], sums[block][sum + 1], to.bias + (at + two),
                      adds + (eight_at(lane() / 4 + w % 2 * 8, in_group / 8) + two));
    }
    store_matrices(buffer + eight_at(lane() % 16, quarter * 2 + lane() / 16), words);
    if (quarter < 3) return;
    warp_barrier();
    if constexpr (Tile::kAdd) {
      // Into the place of those that were just added.
      const int32 later = group + Tile::kAhead - Tile::kGroups;
      if (later < 0) {
        bring_adds(own, to, group + Tile::kAhead, adds);
      } else if (next != nullptr) {
        bring_adds(own, *next, later, adds);
      }
      own.copies.commit();
    }
    Index row, column;
    first_of(to, group, row, column);
        KILN_UNROLL_BY(Tile::kRowsAtOnce)
    for (int32 q = 0; q < 16; q += 4) {
      const int32 r = q + lane() / 8, u = lane() % 8;
      const Pack<T, 8> eight = load<8>(buffer + eight_at(r, u));
      if (row + r < m && column + u * 8 < n) store<8>(result.at(row + r, column + u * 8), eight);
    }
  }

  // The next group's sums to the place of the last one's, so that groups are a loop. Straight code
  // for all of them is fetched anew by every launch, which takes longer than the moves.
  static KILN_DEVICE void to_next_group(Sums& sums) {
    constexpr int32 kOfBlock = Tile::kColumns / 2, kOfGroup = 32;
    KILN_UNROLL
    for (int32 i = kOfGroup; i < Tile::kRowBlocks * kOfBlock; ++i) {
      const int32 to = i - kOfGroup;
      sums[to / kOfBlock][to % kOfBlock] = sums[i / kOfBlock][i % kOfBlock];
    }
  }

  // Starts all products of the tile, from piece `from` on.
  KILN_DEVICE void multiply(Consumer& own, Sums& sums, Index from) const {
    for (Index piece = from; piece < pieces; ++piece) start_piece(own, sums, piece == 0);
  }
  KILN_DEVICE void products_done(Consumer& own, Sums& sums) const {
    KILN_UNROLL
    for (int32 i = 0; i < Tile::kRowBlocks; ++i) own.products.done(sums[i]);
  }
  // The same while what `before` holds is finished.
  KILN_DEVICE void overlap(Consumer& own, Sums& sums, const Target& to, Sums& before,
                           const Target& before_to) const {
    start_piece(own, sums, true);
    products_done(own, before);
    KILN_UNROLL
    for (int32 part = 0; part < Tile::kGroups * 4; ++part) {
      finish_quarter<1>(own, before, part / 4, before_to, &to, part / 4, part % 4);
      if (part + 1 < pieces) start_piece(own, sums, false);
    }
    own.turn += Tile::kGroups;
    multiply(own, sums, Tile::kGroups * 4 + 1);
  }
  KILN_DEVICE void finish(Consumer& own, Sums& sums, const Target& to) const {
    own.products.template wait<0>();
    release(own.last);
    own.last = -1;
    products_done(own, sums);
    KILN_UNROLL_BY(1)
    for (int32 group = 0; group < Tile::kGroups; ++group) {
      KILN_UNROLL
      for (int32 quarter = 0; quarter < 4; ++quarter) {
        finish_quarter<0>(own, sums, 0, to, nullptr, group, quarter);
      }
      to_next_group(sums);
    }
    own.turn += Tile::kGroups;
  }

  KILN_DEVICE Target target(Consumer& own, Index tile, const Shared<T>& bias) const {
    Target to{0, 0, bias};
    place(tile, to.row, to.column);
    bring_bias(own, bias, to.column);
    if constexpr (!Tile::kAdd) own.copies.commit();
    to.row += own.first_row + own.warp_row;
    return to;
  }

  KILN_DEVICE void consume() const {
    Consumer own;
    // Through a shuffle, so that the compiler knows that it is the same for all of a warp.
    const int32 of_all = shuffle(thread_x() / 32, 0) - 4;  // of all consumers' warps
    own.first_row = of_all / 4 * Tile::kOwnRows;
    own.warp_row = of_all % 4 * 16;
    own.buffer = dynamic_shared<T>(base + Tile::kBuffersAt + of_all * Tile::kBufferBytes);
    own.biases =
        dynamic_shared<T>(base + Tile::kBiasAt + of_all * (Tile::kBiases * Tile::kBiasBytes));
    Index tile = block();
    if (tile >= tiles()) return;
    if constexpr (Tile::kOverlap) {
      const Shared<T> other = own.biases + Tile::kColumns;
      Sums even, odd;
      Target even_to = target(own, tile, own.biases), odd_to = even_to;
      bring_first(own, even_to);
      multiply(own, even, 0);
      while (true) {
        tile += blocks();
        if (tile >= tiles()) {
          finish(own, even, even_to);
          break;
        }
        odd_to = target(own, tile, other);
        overlap(own, odd, odd_to, even, even_to);
        tile += blocks();
        if (tile >= tiles()) {
          finish(own, odd, odd_to);
          break;
        }
        even_to = target(own, tile, own.biases);
        overlap(own, even, even_to, odd, odd_to);
      }
    } else {
      for (; tile < tiles(); tile += blocks()) {
        Sums sums;
        const Target to = target(own, tile, own.biases);
        bring_first(own, to);
        multiply(own, sums, 0);
        finish(own, sums, to);
      }
    }
  }

  // Behind the wait for the kernel before this one, and prepare().
  KILN_DEVICE void run() const {
#ifdef KILN_WARPGROUPS
    barrier();
    if (thread_x() < 128) {
      give_registers<Tile::kProducerRegisters>();
      if (thread_x() == 0) this->produce();
    } else {
      take_registers<Tile::kConsumerRegisters>();
      consume();
    }
#endif
  }
};
