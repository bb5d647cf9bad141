// Convolution over few channels, as in the first layer of a net: a thread has kOut channels of
// kStrip results in a row along the last axis. The window's factors are numbers in shared memory,
// of which all lanes read the same ones; each serves all results of the thread.
#pragma once

#include "device/element.h"
#include "device/strip.h"

template <class T, int kOut, int kStrip, int kTaps, int kStride, int kDilation>
struct DirectStrip {
  using Number = decltype(widen(T{}));
  using Columns = StripColumns<kStrip, kTaps, kStride, kDilation>;
  static constexpr int32 kAtOnce = 16 / sizeof(Number);

  Number sums[kStrip][kOut];

  KILN_DEVICE void start(const Pack<T, kOut>& values) {
#pragma unroll
    for (int32 j = 0; j < kStrip; ++j) {
#pragma unroll
      for (int32 o = 0; o < kOut; ++o) sums[j][o] = widen(values.at[o]);
    }
  }

  // Adds what the taps see of a row of one channel: `size` columns, `step` elements apart; the
  // first result's first tap is on column `first`. Columns outside are zeros. Factors of tap t:
  // kOut numbers at factors + t * `apart`.
  template <class Index>
  KILN_DEVICE void add_row(In<T> row, const Shared<Number>& factors, int32 apart, Index first,
                           Index size, Index step) {
    Number pixels[Columns::kCount];
#pragma unroll
    for (int32 c = 0; c < Columns::kCount; ++c) {
      if (!Columns::is_read(c)) continue;
      const Index column = first + c;
      pixels[c] = column >= 0 && column < size ? Number(widen(T(row[column * step]))) : Number(0);
    }
#pragma unroll
    for (int32 tap = 0; tap < kTaps; ++tap) {
#pragma unroll
      for (int32 o = 0; o < kOut; o += kAtOnce) {
        const Pack<Number, kAtOnce> own = load<kAtOnce>(factors + (tap * apart + o));
#pragma unroll
        for (int32 j = 0; j < kStrip; ++j) {
#pragma unroll
          for (int32 e = 0; e < kAtOnce; ++e) {
            sums[j][o + e] =
                multiply_add(pixels[j * kStride + tap * kDilation], own.at[e], sums[j][o + e]);
          }
        }
      }
    }
  }
};
