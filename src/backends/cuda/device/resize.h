// What one output position of an interpolation reads along one dim, as torch computes it. T is the
// type of the arithmetic, float or double.
#pragma once

#include "device/element.h"

// The input position of output position `o` in the nearest modes. Rounding decides here, so this
// has the single precision of torch's kernels, whatever the dtype. `plane`: of two spatial dims.
KILN_DEVICE int64 nearest_position(int64 o, int64 in, int64 out, float step, bool exact,
                                   bool plane) {
  if (!exact && plane) {  // the sizes go before the scale
    if (out == in) return o;
    if (out == 2 * in) return o / 2;
  }
  float at;
  if (!exact) {
    at = static_cast<float>(o) * step;
  } else if (plane) {
    at = static_cast<float>((static_cast<double>(o) + 0.5) * static_cast<double>(step));
  } else {
    const float centre = fmaf(step, static_cast<float>(o) + 0.5f, -0.5f);
    at = centre + 0.5f;
  }
  const int64 position = static_cast<int64>(floorf(at));
  return position < in - 1 ? position : in - 1;
}

template <class T>
struct Tap {
  int64 position;
  T weight;
};

KILN_DEVICE float floor_of(float x) { return floorf(x); }
KILN_DEVICE double floor_of(double x) { return floor(x); }

template <class T>
KILN_DEVICE T resize_source(int64 o, T step, bool align_corners) {
  return align_corners ? step * static_cast<T>(o) : step * (static_cast<T>(o) + T(0.5)) - T(0.5);
}

template <class T>
KILN_DEVICE void linear_taps(int64 o, int64 in, int64 out, T step, bool align_corners,
                             Tap<T> (&taps)[2]) {
  if (in == out) {  // an axis that keeps its size is copied, whatever the scale
    taps[0] = {o, T(1)};
    taps[1] = {o, T(0)};
    return;
  }
  T at = resize_source(o, step, align_corners);
  if (at < T(0)) at = T(0);
  int64 first = static_cast<int64>(floor_of(at));
  if (first > in - 1) first = in - 1;
  T t = at - static_cast<T>(first);
  t = t < T(0) ? T(0) : t > T(1) ? T(1) : t;
  taps[0] = {first, T(1) - t};
  taps[1] = {first + 1 < in - 1 ? first + 1 : in - 1, t};
}

// Keys' cubic convolution (1981) with a = -0.75, borders repeated.
template <class T>
KILN_DEVICE T cubic_near(T x) {
  return ((T(-0.75) + 2) * x - (T(-0.75) + 3)) * x * x + 1;
}
template <class T>
KILN_DEVICE T cubic_far(T x) {
  return ((T(-0.75) * x - 5 * T(-0.75)) * x + 8 * T(-0.75)) * x - 4 * T(-0.75);
}
template <class T>
KILN_DEVICE void cubic_taps(int64 o, int64 in, T step, bool align_corners, Tap<T> (&taps)[4]) {
  const T at = resize_source(o, step, align_corners);
  int64 first = static_cast<int64>(floor_of(at));
  if (first > in - 1) first = in - 1;
  T t = at - static_cast<T>(first);
  t = t < T(0) ? T(0) : t > T(1) ? T(1) : t;
  const T weights[4] = {cubic_far(t + 1), cubic_near(t), cubic_near(1 - t), cubic_far(2 - t)};
  for (int32 k = 0; k < 4; ++k) {
    const int64 position = first - 1 + k;
    taps[k] = {position < 0 ? 0 : position > in - 1 ? in - 1 : position, weights[k]};
  }
}
