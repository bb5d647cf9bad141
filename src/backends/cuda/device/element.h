// Element types as numbers: how they are computed and stored, and the arithmetic of torch on them.
#pragma once

#include "device/platform.h"

// The type in which T is computed: float for the 16-bit ones, T itself otherwise.
template <class T>
struct Compute {
  using type = T;
};
template <>
struct Compute<f16> {
  using type = float;
};
template <>
struct Compute<bf16> {
  using type = float;
};
template <class T>
using ComputeOf = typename Compute<T>::type;

template <class T>
KILN_DEVICE ComputeOf<T> widen(T value) {
  return value;
}
KILN_DEVICE float widen(f16 value) { return to_float(value); }
KILN_DEVICE float widen(bf16 value) { return to_float(value); }

// narrow<T>(x): the number of type T next to x.
template <class T>
struct Narrow {
  template <class X>
  static KILN_DEVICE T from(X value) {
    return static_cast<T>(value);
  }
};
template <>
struct Narrow<f16> {
  template <class X>
  static KILN_DEVICE f16 from(X value) {
    return to_f16(static_cast<float>(value));
  }
};
template <>
struct Narrow<bf16> {
  template <class X>
  static KILN_DEVICE bf16 from(X value) {
    return to_bf16(static_cast<float>(value));
  }
};
template <>
struct Narrow<bool> {
  template <class X>
  static KILN_DEVICE bool from(X value) {
    return value != X(0);
  }
};
template <class T, class X>
KILN_DEVICE T narrow(X value) {
  return Narrow<T>::from(value);
}

// Sums and products as torch has them: integers wrap, bool is a truth value, 16-bit floats are
// rounded after each operation. a * b + c has one rounding.
template <class T>
struct Arithmetic {
  static KILN_DEVICE T add(T a, T b) { return narrow<T>(widen(a) + widen(b)); }
  static KILN_DEVICE T multiply(T a, T b) { return narrow<T>(widen(a) * widen(b)); }
};
#define KILN_WRAPPING_ARITHMETIC(T, U)                                              \
  template <>                                                                       \
  struct Arithmetic<T> {                                                            \
    static KILN_DEVICE T add(T a, T b) {                                            \
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));                 \
    }                                                                               \
    static KILN_DEVICE T multiply(T a, T b) {                                       \
      return static_cast<T>(static_cast<U>(static_cast<U>(a) * static_cast<U>(b))); \
    }                                                                               \
  };
// In 32 bits at least: products of 16-bit numbers would overflow as int.
KILN_WRAPPING_ARITHMETIC(int8, uint32)
KILN_WRAPPING_ARITHMETIC(uint8, uint32)
KILN_WRAPPING_ARITHMETIC(int16, uint32)
KILN_WRAPPING_ARITHMETIC(int32, uint32)
KILN_WRAPPING_ARITHMETIC(int64, uint64)
#undef KILN_WRAPPING_ARITHMETIC
template <>
struct Arithmetic<bool> {
  static KILN_DEVICE bool add(bool a, bool b) { return a || b; }
  static KILN_DEVICE bool multiply(bool a, bool b) { return a && b; }
};

KILN_DEVICE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
KILN_DEVICE double multiply_add(double a, double b, double c) { return fma(a, b, c); }
KILN_DEVICE int64 multiply_add(int64 a, int64 b, int64 c) {
  return static_cast<int64>(static_cast<uint64>(a) * static_cast<uint64>(b) +
                            static_cast<uint64>(c));
}

template <class T>
KILN_DEVICE bool is_nan(T value) {
  return value != value;
}

// Bit patterns of numbers.
KILN_DEVICE float infinity_of(float) { return 3.402823466e+38f * 10.0f; }
KILN_DEVICE double infinity_of(double) { return 1.7976931348623157e+308 * 10.0; }
