// Prefix sums and products.
#pragma once

#include "device/element.h"

// The type that a scan of T accumulates in.
template <class T>
struct ScanType {
  using type = int64;
};
template <>
struct ScanType<float> {
  using type = double;
};
template <>
struct ScanType<double> {
  using type = double;
};
template <>
struct ScanType<f16> {
  using type = double;
};
template <>
struct ScanType<bf16> {
  using type = double;
};
template <class T>
using ScanOf = typename ScanType<T>::type;

template <class T>
KILN_DEVICE ScanOf<T> scan_value(T value) {
  return static_cast<ScanOf<T>>(widen(value));
}

struct ScanSum {
  template <class S>
  static KILN_DEVICE S start() {
    return S(0);
  }
  static KILN_DEVICE double combine(double a, double b) { return a + b; }
  static KILN_DEVICE int64 combine(int64 a, int64 b) { return Arithmetic<int64>::add(a, b); }
};
struct ScanProduct {
  template <class S>
  static KILN_DEVICE S start() {
    return S(1);
  }
  static KILN_DEVICE double combine(double a, double b) { return a * b; }
  static KILN_DEVICE int64 combine(int64 a, int64 b) { return Arithmetic<int64>::multiply(a, b); }
};

// What the threads before this one of a block of 256 come to, and in `total` what all of them do.
// `totals` has room for the 8 warps. All threads take part.
template <class Op, class S>
KILN_DEVICE S block_scan_before(S value, Shared<S> totals, S& total) {
  S inclusive = value;
  for (int32 distance = 1; distance < 32; distance *= 2) {
    const S other = shuffle_up(inclusive, distance);
    if (lane() >= distance) inclusive = Op::combine(other, inclusive);
  }
  if (lane() == 31) totals[warp()] = inclusive;
  const S up = shuffle_up(inclusive, 1);
  S before = lane() == 0 ? Op::template start<S>() : up;
  barrier();
  S warps_before = Op::template start<S>();
  total = Op::template start<S>();
  for (int32 w = 0; w < 8; ++w) {
    const S part = totals[w];
    if (w < warp()) warps_before = Op::combine(warps_before, part);
    total = Op::combine(total, part);
  }
  barrier();  // before `totals` is written again
  return Op::combine(warps_before, before);
}
