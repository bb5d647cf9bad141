// Results in a row along the last axis of an image, as one thread computes them: which columns of
// the image each of them reads through which tap of the window.
#pragma once

#include "device/platform.h"

template <int kResults, int kTaps, int kStride, int kDilation>
struct StripColumns {
  // From the first that the first result reads to the last of the last.
  static constexpr int32 kCount = (kResults - 1) * kStride + (kTaps - 1) * kDilation + 1;

  // The result that tap `tap` of which is column `column`, or one that there is not.
  static KILN_DEVICE constexpr int32 result_of(int32 column, int32 tap) {
    const int32 from_first = column - tap * kDilation;
    return from_first < 0 || from_first % kStride != 0 ? kResults : from_first / kStride;
  }
  static KILN_DEVICE constexpr bool is_read(int32 column) {
    for (int32 tap = 0; tap < kTaps; ++tap) {
      if (result_of(column, tap) < kResults) return true;
    }
    return false;
  }
};

// kWidth elements that lie `step` apart.
template <class T, int kWidth, class Index>
KILN_DEVICE Pack<T, kWidth> load_apart(In<T> from, Index step) {
  Pack<T, kWidth> result;
#pragma unroll
  for (int32 e = 0; e < kWidth; ++e) result.at[e] = from[e * step];
  return result;
}
