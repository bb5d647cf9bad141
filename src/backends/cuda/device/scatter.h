// What a scatter does with a value that meets an old one, by torch's rules: NaN wins a maximum and
// a minimum, integer means round down.
#pragma once

#include "device/element.h"
#include "device/fault.h"

// The smallest and the largest number of a type, infinities where there are some.
template <class T>
struct Limits;
template <>
struct Limits<float> {
  static KILN_DEVICE float low() { return -infinity_of(0.0f); }
  static KILN_DEVICE float high() { return infinity_of(0.0f); }
};
template <>
struct Limits<double> {
  static KILN_DEVICE double low() { return -infinity_of(0.0); }
  static KILN_DEVICE double high() { return infinity_of(0.0); }
};
template <>
struct Limits<f16> {
  static KILN_DEVICE f16 low() { return f16{0xfc00}; }
  static KILN_DEVICE f16 high() { return f16{0x7c00}; }
};
template <>
struct Limits<bf16> {
  static KILN_DEVICE bf16 low() { return bf16{0xff80}; }
  static KILN_DEVICE bf16 high() { return bf16{0x7f80}; }
};
template <>
struct Limits<bool> {
  static KILN_DEVICE bool low() { return false; }
  static KILN_DEVICE bool high() { return true; }
};
#define KILN_INTEGER_LIMITS(T, least, most)        \
  template <>                                      \
  struct Limits<T> {                               \
    static KILN_DEVICE T low() { return (least); } \
    static KILN_DEVICE T high() { return (most); } \
  };
KILN_INTEGER_LIMITS(int8, -128, 127)
KILN_INTEGER_LIMITS(uint8, 0, 255)
KILN_INTEGER_LIMITS(int16, -32768, 32767)
KILN_INTEGER_LIMITS(int32, -2147483647 - 1, 2147483647)
KILN_INTEGER_LIMITS(int64, -9223372036854775807ll - 1, 9223372036854775807ll)
#undef KILN_INTEGER_LIMITS

template <class T>
struct ScatterAdd {
  static KILN_DEVICE T start() { return narrow<T>(0.0f); }
  static KILN_DEVICE T combine(T old, T value) { return Arithmetic<T>::add(old, value); }
};
template <class T>
struct ScatterMultiply {
  static KILN_DEVICE T start() { return narrow<T>(1.0f); }
  static KILN_DEVICE T combine(T old, T value) { return Arithmetic<T>::multiply(old, value); }
};
template <class T>
struct ScatterMax {
  static KILN_DEVICE T start() { return Limits<T>::low(); }
  static KILN_DEVICE T combine(T old, T value) {
    return is_nan(widen(value)) || widen(value) > widen(old) ? value : old;
  }
};
template <class T>
struct ScatterMin {
  static KILN_DEVICE T start() { return Limits<T>::high(); }
  static KILN_DEVICE T combine(T old, T value) {
    return is_nan(widen(value)) || widen(value) < widen(old) ? value : old;
  }
};

template <class T>
KILN_DEVICE T scatter_divide(T sum, int32 count) {
  const int64 value = static_cast<int64>(sum);
  return static_cast<T>(value / count - (value % count < 0 ? 1 : 0));
}
KILN_DEVICE bool scatter_divide(bool sum, int32) { return sum; }
KILN_DEVICE double scatter_divide(double sum, int32 count) {
  return sum / static_cast<double>(count);
}
KILN_DEVICE float scatter_divide(float sum, int32 count) { return sum / static_cast<float>(count); }
KILN_DEVICE f16 scatter_divide(f16 sum, int32 count) {
  return to_f16(to_float(sum) / static_cast<float>(count));
}
KILN_DEVICE bf16 scatter_divide(bf16 sum, int32 count) {
  return to_bf16(to_float(sum) / static_cast<float>(count));
}
