// Numbers of kernels on the host: integers by their size, the C mathematics, and the 16-bit floats,
// which the host may not have.
#pragma once

#include "device/math_functions.h"

using int8 = signed char;
using uint8 = unsigned char;
using int16 = short;
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned int;
using int64 = long long;
using uint64 = unsigned long long;

struct f16 {
  uint16 bits;
};
struct bf16 {
  uint16 bits;
};

namespace kiln_emulated {
inline uint32 float_bits(float x) {
  uint32 bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits;
}
inline float bits_float(uint32 bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}
}  // namespace kiln_emulated

inline float to_float(f16 x) {
  const uint32 sign = static_cast<uint32>(x.bits & 0x8000) << 16;
  const uint32 exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  if (exponent == 31) return kiln_emulated::bits_float(sign | 0x7f800000 | fraction << 13);
  if (exponent != 0) {
    return kiln_emulated::bits_float(sign | (exponent + 112) << 23 | fraction << 13);
  }
  const float small = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
  return sign ? -small : small;
}
inline float to_float(bf16 x) {
  return kiln_emulated::bits_float(static_cast<uint32>(x.bits) << 16);
}
// To nearest, ties to even; any NaN becomes the one that the GPU makes.
inline f16 to_f16(float x) {
  const uint32 bits = kiln_emulated::float_bits(x), magnitude = bits & 0x7fffffff;
  const uint32 sign = bits >> 16 & 0x8000;
  if (magnitude > 0x7f800000) return {0x7fff};
  if (magnitude >= 0x477ff000) return {static_cast<uint16>(sign | 0x7c00)};  // rounds to 65536
  if (magnitude < 0x38800000) {  // below 2^-14: counts of 2^-24, rounded by an addition
    const float steps = kiln_emulated::bits_float(magnitude) + 0.5f;
    return {static_cast<uint16>(sign | (kiln_emulated::float_bits(steps) - 0x3f000000))};
  }
  const uint32 odd = magnitude >> 13 & 1;
  return {static_cast<uint16>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13))};
}
inline bf16 to_bf16(float x) {
  const uint32 bits = kiln_emulated::float_bits(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return {0x7fff};
  return {static_cast<uint16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// Two 16-bit numbers in a word (device/mma.h).
inline uint32 pack_pair(f16, float low, float high) {
  return static_cast<uint32>(to_f16(low).bits) | static_cast<uint32>(to_f16(high).bits) << 16;
}
inline uint32 pack_pair(bf16, float low, float high) {
  return static_cast<uint32>(to_bf16(low).bits) | static_cast<uint32>(to_bf16(high).bits) << 16;
}
