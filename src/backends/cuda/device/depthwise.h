// Convolution of each channel by itself: a thread has kWidth neighbouring channels of kStrip
// results in a row along the last axis. What it reads of an image's row serves all results whose
// windows hold it, and the row's factors serve all results.
#pragma once

#include "device/element.h"
#include "device/strip.h"

template <class T, int kWidth, int kStrip, int kTaps, int kStride, int kDilation>
struct DepthwiseStrip {
  using Number = decltype(widen(T{}));
  using Channels = Pack<T, kWidth>;
  using Columns = StripColumns<kStrip, kTaps, kStride, kDilation>;
  static constexpr int32 kColumns = Columns::kCount;

  Number sums[kStrip][kWidth];

  KILN_DEVICE void start(const Channels& values) {
#pragma unroll
    for (int32 j = 0; j < kStrip; ++j) {
#pragma unroll
      for (int32 e = 0; e < kWidth; ++e) sums[j][e] = widen(values.at[e]);
    }
  }

  // Adds what `kTaps` taps see of an image's row of `size` columns, `step` elements apart; the
  // first result's first tap is on column `first`. Columns outside are zeros.
  template <class Index>
  KILN_DEVICE void add_row(In<T> row, const Channels (&factors)[kTaps], Index first, Index size,
                           Index step) {
    Channels pixels[kColumns];
#pragma unroll
    for (int32 c = 0; c < kColumns; ++c) {
      if (!Columns::is_read(c)) continue;
      const Index column = first + c;
      pixels[c] = load_if<kWidth>(column >= 0 && column < size, row + column * step);
    }
    Number widened[kTaps][kWidth];
#pragma unroll
    for (int32 tap = 0; tap < kTaps; ++tap) {
#pragma unroll
      for (int32 e = 0; e < kWidth; ++e) widened[tap][e] = widen(factors[tap].at[e]);
    }
#pragma unroll
    for (int32 c = 0; c < kColumns; ++c) {
      if (!Columns::is_read(c)) continue;
#pragma unroll
      for (int32 e = 0; e < kWidth; ++e) {
        const Number value = widen(pixels[c].at[e]);
#pragma unroll
        for (int32 tap = 0; tap < kTaps; ++tap) {
          const int32 j = Columns::result_of(c, tap);
          if (j < kStrip) sums[j][e] = multiply_add(value, widened[tap][e], sums[j][e]);
        }
      }
    }
  }
};
