// Index arithmetic.
#pragma once

#include "device/platform.h"

// n / d for 0 <= n < 2^31 by a divisor that the host has prepared (FastDivisor of
// runtime/tile_kernel.h).
KILN_DEVICE int32 divide(int32 n, uint32 multiply, int32 shift) {
  const uint32 high =
      static_cast<uint32>((static_cast<uint64>(static_cast<uint32>(n)) * multiply) >> 32);
  return static_cast<int32>((high + static_cast<uint32>(n)) >> shift);
}

KILN_DEVICE int64 divide(int64 n, int64 divisor) {
  return static_cast<int64>(static_cast<uint64>(n) / static_cast<uint64>(divisor));
}
// n / kDivisor for n >= 0.
template <int64 kDivisor>
KILN_DEVICE int32 divide_by(int32 n) {
  return static_cast<int32>(static_cast<uint32>(n) / static_cast<uint32>(kDivisor));
}
template <int64 kDivisor>
KILN_DEVICE int64 divide_by(int64 n) {
  return static_cast<int64>(static_cast<uint64>(n) / static_cast<uint64>(kDivisor));
}

// The place that `index` names on an axis of `size` elements; negative ones count from the end.
// What is out of range is reported, and `valid` becomes false: nothing may be read then.
KILN_DEVICE int64 gather_index(int64 index, int64 size, InOut<uint32> fault, uint32 code,
                               bool& valid) {
  const int64 place = index < 0 ? index + size : index;
  if (place >= 0 && place < size) return place;
  report_fault(fault, code);
  valid = false;
  return 0;
}
