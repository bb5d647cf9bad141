// Reductions among the threads of a warp and of a block.
#pragma once

#include "device/math.h"
#include "device/platform.h"

// A value with the place where it was found.
template <class T>
struct Found {
  T value;
  int64 place;
};

// ---- what is reduced: identity, and two into one. All are commutative.

template <class T>
struct Sum {
  KILN_DEVICE static T identity() { return static_cast<T>(0); }
  KILN_DEVICE static T join(T a, T b) { return fn::add(a, b); }
};
template <class T>
struct Product {
  KILN_DEVICE static T identity() { return static_cast<T>(1); }
  KILN_DEVICE static T join(T a, T b) { return fn::mul(a, b); }
};
template <class T>
struct Extremes;
template <>
struct Extremes<float> {
  KILN_DEVICE static float nan() { return 0.0f / 0.0f; }
  KILN_DEVICE static float highest() { return 1.0f / 0.0f; }
  KILN_DEVICE static float lowest() { return -1.0f / 0.0f; }
};
template <>
struct Extremes<double> {
  KILN_DEVICE static double nan() { return 0.0 / 0.0; }
  KILN_DEVICE static double highest() { return 1.0 / 0.0; }
  KILN_DEVICE static double lowest() { return -1.0 / 0.0; }
};
template <>
struct Extremes<int64> {
  KILN_DEVICE static int64 highest() { return 9223372036854775807ll; }
  KILN_DEVICE static int64 lowest() { return kInt64Min; }
};
// NaN wins.
template <class T>
struct Max {
  KILN_DEVICE static T identity() { return Extremes<T>::lowest(); }
  KILN_DEVICE static T join(T a, T b) { return fn::max(a, b); }
};
template <class T>
struct Min {
  KILN_DEVICE static T identity() { return Extremes<T>::highest(); }
  KILN_DEVICE static T join(T a, T b) { return fn::min(a, b); }
};
struct Any {
  KILN_DEVICE static bool identity() { return false; }
  KILN_DEVICE static bool join(bool a, bool b) { return a || b; }
};
struct All {
  KILN_DEVICE static bool identity() { return true; }
  KILN_DEVICE static bool join(bool a, bool b) { return a && b; }
};
// The first of the largest; NaN wins.
template <class T>
struct ArgMax {
  KILN_DEVICE static Found<T> identity() {
    return {Extremes<T>::lowest(), Extremes<int64>::highest()};
  }
  KILN_DEVICE static Found<T> join(Found<T> a, Found<T> b) {
    const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
    const bool equal = a.value == b.value || (nan_a && nan_b);
    if (equal) return a.place < b.place ? a : b;
    return nan_a || (!nan_b && a.value > b.value) ? a : b;
  }
};
template <class T>
struct ArgMin {
  KILN_DEVICE static Found<T> identity() {
    return {Extremes<T>::highest(), Extremes<int64>::highest()};
  }
  KILN_DEVICE static Found<T> join(Found<T> a, Found<T> b) {
    const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
    const bool equal = a.value == b.value || (nan_a && nan_b);
    if (equal) return a.place < b.place ? a : b;
    return nan_a || (!nan_b && a.value < b.value) ? a : b;
  }
};

// ---- exchange between lanes

template <class T>
KILN_DEVICE T exchange(T value, int32 mask) {
  return shuffle_xor(value, mask);
}
KILN_DEVICE bool exchange(bool value, int32 mask) {
  return shuffle_xor(static_cast<int32>(value), mask) != 0;
}
template <class T>
KILN_DEVICE Found<T> exchange(Found<T> value, int32 mask) {
  return {shuffle_xor(value.value, mask), shuffle_xor(value.place, mask)};
}

// ---- the same result in every thread that took part

// `kThreads` neighbouring lanes (a power of two, 32 at most); all 32 lanes of the warp take part.
template <class Op, int kThreads, class T>
KILN_DEVICE T lanes_reduce(T value) {
#pragma unroll
  for (int32 mask = kThreads / 2; mask > 0; mask /= 2) {
    value = Op::join(value, exchange(value, mask));
  }
  return value;
}

// All `kThreads` threads of the block, a multiple of 32. `shared` has room for one value a warp and
// is used for nothing else before the next barrier after the next use.
template <class Op, int kThreads, class T>
KILN_DEVICE T block_reduce(T value, Shared<T> shared) {
  constexpr int32 kWarps = kThreads / 32;
  value = lanes_reduce<Op, 32>(value);
  if (lane() == 0) shared[warp()] = value;
  barrier();
  T result = shared[0];
#pragma unroll
  for (int32 w = 1; w < kWarps; ++w) result = Op::join(result, shared[w]);
  return result;
}

// ---- columns: threads thread_x() = y * kColumns + x with equal x, each with kVector values

// Those of a warp, all 32 lanes of which take part; kColumns is a power of two.
template <class Op, int kColumns, int kVector, class T>
KILN_DEVICE void column_lanes_reduce(T (&values)[kVector]) {
#pragma unroll
  for (int32 mask = kColumns; mask < 32; mask *= 2) {
#pragma unroll
    for (int32 v = 0; v < kVector; ++v) values[v] = Op::join(values[v], exchange(values[v], mask));
  }
}

// All kRows of them, powers of two, in whole warps. `shared` has room for kVector values of each
// column and warp, or of each thread where a warp has no column twice.
template <class Op, int kColumns, int kRows, int kVector, class T>
KILN_DEVICE void columns_reduce(T (&values)[kVector], Shared<T> shared) {
  constexpr int32 kTogether = kColumns < 32 ? 32 / kColumns : 1;  // rows of a warp
  constexpr int32 kParts = kRows / kTogether, kAcross = kColumns * kVector;
  const int32 x = thread_x() % kColumns, y = thread_x() / kColumns;
  column_lanes_reduce<Op, kColumns>(values);
  if (y % kTogether == 0) {
#pragma unroll
    for (int32 v = 0; v < kVector; ++v) {
      shared[y / kTogether * kAcross + v * kColumns + x] = values[v];
    }
  }
  barrier();
  if (kParts * kVector > 16) {  // too much to read for each thread
    for (int32 i = thread_x(); i < kAcross; i += kColumns * kRows) {
      T result = shared[i];
      for (int32 part = 1; part < kParts; ++part) {
        result = Op::join(result, shared[part * kAcross + i]);
      }
      shared[i] = result;
    }
    barrier();
  }
#pragma unroll
  for (int32 v = 0; v < kVector; ++v) {
    values[v] = shared[v * kColumns + x];
    if (kParts * kVector > 16) continue;
    for (int32 part = 1; part < kParts; ++part) {
      values[v] = Op::join(values[v], shared[part * kAcross + v * kColumns + x]);
    }
  }
}
