// Products of matrices by blocks of threads: C[row, column] = sum over depth of A[row, depth] *
// B[column, depth]. What rows, columns and depth are, and where elements lie, is the operands' own
// affair, so that a convolution is a product too.
//
// An operand has
//   static constexpr bool kAlongDepth  whether neighbours along depth are neighbours in memory, or
//                                      else those along rows
//   Row row(Index r)                   what is the same for all elements of a row; any r >= 0
//   T at(const Row&, Index k)          an element, 0 beyond the last row or the end of the depth
//   Pack<T, 8> eight(const Row&, Index k)   the next eight; k is a multiple of 8
// and the result has put(row, column, sum), which ignores what is outside.
//
// Blocked as in Volkov and Demmel, "Benchmarking GPUs to tune dense linear algebra" (2008): a tile
// of each operand goes through shared memory, the next one is fetched meanwhile.
#pragma once

#include "device/element.h"
#include "device/mma.h"

// The type of sums of products of T.
template <class T>
struct SumType {
  using type = int64;
};
template <>
struct SumType<float> {
  using type = float;
};
template <>
struct SumType<double> {
  using type = double;
};
template <>
struct SumType<f16> {
  using type = float;
};
template <>
struct SumType<bf16> {
  using type = float;
};
template <class T>
using SumOf = typename SumType<T>::type;

// The part of an operand's tile, kRows x kDepth, that one of kThreads threads fetches element by
// element and leaves in shared memory as [kDepth][kRows + 4].
template <class T, class Index, class Operand, int32 kRows, int32 kDepth, int32 kThreads>
struct SimtFetch {
  static constexpr int32 kCount = kRows * kDepth / kThreads;
  static constexpr int32 kOwnRows = Operand::kAlongDepth ? kCount : 1;
  static constexpr int32 kPitch = kRows + 4;
  using Number = SumOf<T>;

  typename Operand::Row rows[kOwnRows];
  Number next[kCount];

  static KILN_DEVICE int32 row_of(int32 i) {
    return Operand::kAlongDepth ? thread_x() / kDepth + i * (kThreads / kDepth)
                                : thread_x() % kRows;
  }
  static KILN_DEVICE int32 depth_of(int32 i) {
    return Operand::kAlongDepth ? thread_x() % kDepth : thread_x() / kRows + i * (kThreads / kRows);
  }
  KILN_DEVICE void start(const Operand& operand, Index first_row) {
    for (int32 i = 0; i < kOwnRows; ++i) rows[i] = operand.row(first_row + row_of(i));
  }
  KILN_DEVICE void fetch(const Operand& operand, Index k) {
    for (int32 i = 0; i < kCount; ++i) {
      const T value = operand.at(rows[Operand::kAlongDepth ? i : 0], k + depth_of(i));
      next[i] = static_cast<Number>(widen(value));
    }
  }
  KILN_DEVICE void leave(const Shared<Number>& tile) const {
    for (int32 i = 0; i < kCount; ++i) tile[depth_of(i) * kPitch + row_of(i)] = next[i];
  }
};

// A tile of 64 x 64 results, or 128 x 128, by 256 threads that have 4 x 4, or 8 x 8, each; depth
// [begin, end), begin a multiple of 8.
template <class T, int32 kTile, class Index, class A, class B, class C>
KILN_DEVICE void simt_product(const A& a, const B& b, const C& c, Index first_row,
                              Index first_column, Index begin, Index end) {
  using Number = SumOf<T>;
  constexpr int32 kDepth = 16, kThreads = 256, kOwn = kTile / 16, kPitch = kTile + 4;
  KILN_SHARED(Number, left, kDepth * kPitch);
  KILN_SHARED(Number, right, kDepth * kPitch);
  const int32 own_row = thread_x() / 16 * kOwn, own_column = thread_x() % 16 * kOwn;
  SimtFetch<T, Index, A, kTile, kDepth, kThreads> fetch_a;
  SimtFetch<T, Index, B, kTile, kDepth, kThreads> fetch_b;
  fetch_a.start(a, first_row);
  fetch_b.start(b, first_column);
  Number sums[kOwn][kOwn];
  for (int32 i = 0; i < kOwn; ++i) {
    for (int32 j = 0; j < kOwn; ++j) sums[i][j] = Number(0);
  }
  if (begin < end) {
    fetch_a.fetch(a, begin);
    fetch_b.fetch(b, begin);
  }
  for (Index k = begin; k < end; k += kDepth) {
    fetch_a.leave(left);
    fetch_b.leave(right);
    barrier();
    if (k + kDepth < end) {
      fetch_a.fetch(a, k + kDepth);
      fetch_b.fetch(b, k + kDepth);
    }
    for (int32 d = 0; d < kDepth; ++d) {
      Number x[kOwn], y[kOwn];
      for (int32 i = 0; i < kOwn; i += 4) {
        const Pack<Number, 4> rows = load<4>(left + (d * kPitch + own_row + i));
        const Pack<Number, 4> columns = load<4>(right + (d * kPitch + own_column + i));
        for (int32 j = 0; j < 4; ++j) {
          x[i + j] = rows.at[j];
          y[i + j] = columns.at[j];
        }
      }
      for (int32 i = 0; i < kOwn; ++i) {
        for (int32 j = 0; j < kOwn; ++j) sums[i][j] = multiply_add(x[i], y[j], sums[i][j]);
      }
    }
    barrier();
  }
  for (int32 i = 0; i < kOwn; ++i) {
    for (int32 j = 0; j < kOwn; ++j) {
      c.put(first_row + own_row + i, first_column + own_column + j, sums[i][j]);
    }
  }
}

// As SimtFetch, eight elements along depth at a time, to [kRows][kDepth + 8]: rows of 80 bytes,
// of which eight in a row lie in different banks.
template <class T, class Index, class Operand, int32 kRows, int32 kThreads>
struct MatrixFetch {
  static constexpr int32 kDepth = 32, kPitch = kDepth + 8;
  static constexpr int32 kCount = kRows * (kDepth / 8) / kThreads;

  typename Operand::Row rows[kCount];
  Pack<T, 8> next[kCount];

  static KILN_DEVICE int32 row_of(int32 i) {
    const int32 piece = thread_x() + i * kThreads;
    return Operand::kAlongDepth ? piece / 4 : piece % kRows;
  }
  static KILN_DEVICE int32 depth_of(int32 i) {
    const int32 piece = thread_x() + i * kThreads;
    return (Operand::kAlongDepth ? piece % 4 : piece / kRows) * 8;
  }
  KILN_DEVICE void start(const Operand& operand, Index first_row) {
    for (int32 i = 0; i < kCount; ++i) rows[i] = operand.row(first_row + row_of(i));
  }
  KILN_DEVICE void fetch(const Operand& operand, Index k) {
    for (int32 i = 0; i < kCount; ++i) next[i] = operand.eight(rows[i], k + depth_of(i));
  }
  KILN_DEVICE void leave(const Shared<T>& tile) const {
    for (int32 i = 0; i < kCount; ++i) store<8>(tile + (row_of(i) * kPitch + depth_of(i)), next[i]);
  }
};

// The same for 16-bit elements by matrix instructions: a tile of kTile x kTile (64 by 128 threads,
// 128 by 256), of which each warp has 32 x 32 (64 x 32).
template <class T, int32 kTile, class Index, class A, class B, class C>
KILN_DEVICE void matrix_product(const A& a, const B& b, const C& c, Index first_row,
                                Index first_column, Index begin, Index end) {
  constexpr int32 kThreads = kTile * 2, kDepth = 32, kPitch = kDepth + 8;
  constexpr int32 kWarpRows = kTile / 2, kStripes = kWarpRows / 16;
  KILN_SHARED(T, left, 2 * kTile * kPitch);
  KILN_SHARED(T, right, 2 * kTile * kPitch);
  const int32 warp_row = warp() % 2 * kWarpRows, warp_column = warp() / 2 * 32;
  MatrixFetch<T, Index, A, kTile, kThreads> fetch_a;
  MatrixFetch<T, Index, B, kTile, kThreads> fetch_b;
  fetch_a.start(a, first_row);
  fetch_b.start(b, first_column);
  float sums[kStripes][4][4];
  for (int32 i = 0; i < kStripes; ++i) {
    for (int32 j = 0; j < 4; ++j) {
      for (int32 e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
    }
  }
  if (begin < end) {
    fetch_a.fetch(a, begin);
    fetch_b.fetch(b, begin);
    fetch_a.leave(left);
    fetch_b.leave(right);
  }
  barrier();
  int32 buffer = 0;
  // Of the matrices that a lane names a row of: a's are (rows, depth), b's two of 8 columns.
  const int32 a_row = warp_row + lane() % 16, a_depth = lane() / 16 * 8;
  const int32 b_row = warp_column + lane() / 16 * 8 + lane() % 8, b_depth = lane() / 8 % 2 * 8;
  for (Index k = begin; k < end; k += kDepth) {
    const bool more = k + kDepth < end;
    if (more) {
      fetch_a.fetch(a, k + kDepth);
      fetch_b.fetch(b, k + kDepth);
    }
    const Shared<T> tile_a = left + buffer * (kTile * kPitch);
    const Shared<T> tile_b = right + buffer * (kTile * kPitch);
    for (int32 d = 0; d < kDepth; d += 16) {
      uint32 x[kStripes][4], y[2][4];
      for (int32 i = 0; i < kStripes; ++i) {
        load_matrices<T>(x[i], tile_a + ((a_row + i * 16) * kPitch + d + a_depth));
      }
      for (int32 j = 0; j < 2; ++j) {
        load_matrices<T>(y[j], tile_b + ((b_row + j * 16) * kPitch + d + b_depth));
      }
      for (int32 i = 0; i < kStripes; ++i) {
        for (int32 j = 0; j < 4; ++j) {
          const uint32 columns[2] = {y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]};
          mma_16x8x16(T{}, sums[i][j], x[i], columns);
        }
      }
    }
    if (more) {
      buffer = 1 - buffer;
      fetch_a.leave(left + buffer * (kTile * kPitch));
      fetch_b.leave(right + buffer * (kTile * kPitch));
      barrier();
    }
  }
  for (int32 i = 0; i < kStripes; ++i) {
    for (int32 j = 0; j < 4; ++j) {
      const Index row = first_row + warp_row + i * 16 + lane() / 4;
      const Index column = first_column + warp_column + j * 8 + lane() % 4 * 2;
      c.put(row, column, sums[i][j][0]);
      c.put(row, column + 1, sums[i][j][1]);
      c.put(row + 8, column, sums[i][j][2]);
      c.put(row + 8, column + 1, sums[i][j][3]);
    }
  }
}
