// Stored numbers to lanes and back: float for f32, f16 and bf16, double for f64, int64 for
// integers, bool. In memory a bool is a uint8 of 0 or 1: read it as Lane<bool>, write a bool as
// Stored<uint8>. What is out of an integer's range when a float becomes one, and NaN, gives
// INT64_MIN; integers wrap when they are stored in fewer bits; anything but zero is true.
#pragma once

#include "device/platform.h"

constexpr int64 kInt64Min = -9223372036854775807ll - 1;

KILN_DEVICE int64 truncate_to_int(float x) {
  return x >= -9223372036854775808.0f && x < 9223372036854775808.0f ? static_cast<int64>(x)
                                                                    : kInt64Min;
}
KILN_DEVICE int64 truncate_to_int(double x) {
  return x >= -9223372036854775808.0 && x < 9223372036854775808.0 ? static_cast<int64>(x)
                                                                  : kInt64Min;
}

// A lane of type To from a lane or a stored number.
template <class To>
struct Lane;

template <>
struct Lane<float> {
  KILN_DEVICE static float of(float x) { return x; }
  KILN_DEVICE static float of(double x) { return static_cast<float>(x); }
  KILN_DEVICE static float of(f16 x) { return to_float(x); }
  KILN_DEVICE static float of(bf16 x) { return to_float(x); }
  KILN_DEVICE static float of(bool x) { return x ? 1.0f : 0.0f; }
  template <class T>
  KILN_DEVICE static float of(T x) {
    return static_cast<float>(x);
  }
};
template <>
struct Lane<double> {
  KILN_DEVICE static double of(float x) { return static_cast<double>(x); }
  KILN_DEVICE static double of(double x) { return x; }
  KILN_DEVICE static double of(f16 x) { return static_cast<double>(to_float(x)); }
  KILN_DEVICE static double of(bf16 x) { return static_cast<double>(to_float(x)); }
  KILN_DEVICE static double of(bool x) { return x ? 1.0 : 0.0; }
  template <class T>
  KILN_DEVICE static double of(T x) {
    return static_cast<double>(x);
  }
};
template <>
struct Lane<int64> {
  KILN_DEVICE static int64 of(float x) { return truncate_to_int(x); }
  KILN_DEVICE static int64 of(double x) { return truncate_to_int(x); }
  KILN_DEVICE static int64 of(f16 x) { return truncate_to_int(to_float(x)); }
  KILN_DEVICE static int64 of(bf16 x) { return truncate_to_int(to_float(x)); }
  KILN_DEVICE static int64 of(bool x) { return x ? 1 : 0; }
  template <class T>
  KILN_DEVICE static int64 of(T x) {
    return static_cast<int64>(x);
  }
};
template <>
struct Lane<bool> {
  KILN_DEVICE static bool of(f16 x) { return to_float(x) != 0.0f; }
  KILN_DEVICE static bool of(bf16 x) { return to_float(x) != 0.0f; }
  template <class T>
  KILN_DEVICE static bool of(T x) {
    return x != static_cast<T>(0);
  }
};

// A stored number of type To from a lane.
template <class To>
struct Stored {
  KILN_DEVICE static To of(float x) { return static_cast<To>(truncate_to_int(x)); }
  KILN_DEVICE static To of(double x) { return static_cast<To>(truncate_to_int(x)); }
  KILN_DEVICE static To of(int64 x) { return static_cast<To>(x); }
  KILN_DEVICE static To of(bool x) { return static_cast<To>(x ? 1 : 0); }
};
template <>
struct Stored<float> : Lane<float> {};
template <>
struct Stored<double> : Lane<double> {};
template <>
struct Stored<f16> {
  template <class T>
  KILN_DEVICE static f16 of(T x) {
    return to_f16(Lane<float>::of(x));
  }
};
template <>
struct Stored<bf16> {
  template <class T>
  KILN_DEVICE static bf16 of(T x) {
    return to_bf16(Lane<float>::of(x));
  }
};

// A lane rounded to fewer bits: floats to f32, f16 or bf16, integers wrapped.
template <class To>
KILN_DEVICE float round_to(float x) {
  return Lane<float>::of(Stored<To>::of(x));
}
template <class To>
KILN_DEVICE double round_to(double x) {
  return Lane<double>::of(Stored<To>::of(x));
}
template <class To>
KILN_DEVICE int64 round_to(int64 x) {
  return static_cast<int64>(static_cast<To>(x));
}
