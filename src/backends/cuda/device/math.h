// Functions of tile programs on float, double, int64 and bool lanes, as runtime/tile_code.h says.
// NaN stays NaN unless said otherwise. Nothing is contracted: fused multiply-adds are written.
// The C library's functions are CUDA's own here, at most 4 ulp off in f32 and 2 in f64.
#pragma once

#include "device/convert.h"
#include "device/fault.h"
#include "device/platform.h"

namespace fn {

// ---- one operand

template <class T>
KILN_DEVICE T sign(T x) {
  return static_cast<T>((x > static_cast<T>(0) ? 1 : 0) - (x < static_cast<T>(0) ? 1 : 0));
}
template <class T>
KILN_DEVICE T relu(T x) {
  return x < static_cast<T>(0) ? static_cast<T>(0) : x;
}
KILN_DEVICE int64 neg(int64 x) { return static_cast<int64>(0 - static_cast<uint64>(x)); }
KILN_DEVICE float neg(float x) { return -x; }
KILN_DEVICE double neg(double x) { return -x; }
KILN_DEVICE int64 abs(int64 x) { return x < 0 ? neg(x) : x; }
KILN_DEVICE float abs(float x) { return fabsf(x); }
KILN_DEVICE double abs(double x) { return ::fabs(x); }

#define KILN_FN(name, of_float, of_double)                \
  KILN_DEVICE float name(float x) { return of_float(x); } \
  KILN_DEVICE double name(double x) { return of_double(x); }
KILN_FN(exp, expf, ::exp)
KILN_FN(exp2, exp2f, ::exp2)
KILN_FN(expm1, expm1f, ::expm1)
KILN_FN(log, logf, ::log)
KILN_FN(log2, log2f, ::log2)
KILN_FN(log10, log10f, ::log10)
KILN_FN(log1p, log1pf, ::log1p)
KILN_FN(sqrt, sqrtf, ::sqrt)
KILN_FN(sin, sinf, ::sin)
KILN_FN(cos, cosf, ::cos)
KILN_FN(tan, tanf, ::tan)
KILN_FN(asin, asinf, ::asin)
KILN_FN(acos, acosf, ::acos)
KILN_FN(atan, atanf, ::atan)
KILN_FN(sinh, sinhf, ::sinh)
KILN_FN(cosh, coshf, ::cosh)
KILN_FN(tanh, tanhf, ::tanh)
KILN_FN(asinh, asinhf, ::asinh)
KILN_FN(acosh, acoshf, ::acosh)
KILN_FN(atanh, atanhf, ::atanh)
KILN_FN(erf, erff, ::erf)
KILN_FN(erfc, erfcf, ::erfc)
KILN_FN(floor, floorf, ::floor)
KILN_FN(ceil, ceilf, ::ceil)
KILN_FN(round, rintf, ::rint)  // half to even
KILN_FN(trunc, truncf, ::trunc)
#undef KILN_FN

template <class T>
KILN_DEVICE T frac(T x) {
  return x - trunc(x);
}
template <class T>
KILN_DEVICE T rsqrt(T x) {
  return static_cast<T>(1) / sqrt(x);
}
template <class T>
KILN_DEVICE T reciprocal(T x) {
  return static_cast<T>(1) / x;
}
template <class T>
KILN_DEVICE T sigmoid(T x) {
  return static_cast<T>(1) / (static_cast<T>(1) + exp(-x));
}
template <class T>
KILN_DEVICE T silu(T x) {
  return x / (static_cast<T>(1) + exp(-x));
}
template <class T>
KILN_DEVICE T clamp(T x, T low, T high) {
  const T above = x < low ? low : x;
  return above > high ? high : above;
}
// Times 1 / 6, as torch has it on GPUs: a division costs as much as everything else here.
template <class T>
KILN_DEVICE T hardsigmoid(T x) {
  return clamp(x + static_cast<T>(3), static_cast<T>(0), static_cast<T>(6)) *
         static_cast<T>(1.0 / 6.0);
}
template <class T>
KILN_DEVICE T hardswish(T x) {
  return x * clamp(x + static_cast<T>(3), static_cast<T>(0), static_cast<T>(6)) *
         static_cast<T>(1.0 / 6.0);
}
template <class T>
KILN_DEVICE T leaky_relu(T x, T slope) {
  return x > static_cast<T>(0) ? x : x * slope;
}
template <class T>
KILN_DEVICE T elu(T x, T alpha_scale, T scale, T input_scale) {
  return x < static_cast<T>(0) ? expm1(x * input_scale) * alpha_scale : x * scale;
}
// log(1 + exp(y)) = max(y, 0) + log1p(exp(-|y|)).
template <class T>
KILN_DEVICE T log_one_plus_exp(T y) {
  return (y > static_cast<T>(0) ? y : static_cast<T>(0)) + log1p(exp(-abs(y)));
}
template <class T>
KILN_DEVICE T softplus(T x, T beta, T threshold) {
  const T y = x * beta;
  return y > threshold ? x : log_one_plus_exp(y) / beta;
}
KILN_DEVICE double mish(double x) { return x * tanh(log_one_plus_exp(x)); }
// x tanh(softplus(x)) = x n / (n + 2) with n = e (e + 2), e = exp(x).
KILN_DEVICE float mish(float x) {
  if (x > 20.0f) return x;
  const float e = exp(x);
  const float n = e * (e + 2.0f);
  return x * n / (n + 2.0f);
}
KILN_DEVICE double gelu_erf(double x) { return x * (0.5 * ::erfc(-x * 0.70710678118654752440)); }
// x Phi(x), h = erfc(|x| / sqrt 2) / 2 = 2^(-G(|x|)) with G a polynomial on [0, 6], so that there
// is no cancellation for negative x: the same one as backends/cpu/kernels/tile_vm_math-inl.h.
KILN_DEVICE float gelu_erf(float x) {
  const float t = fabsf(x);
  const float u = t < 6.0f ? t : 6.0f;
  float g = -1.7804175911351194e-08f;
  g = fmaf(g, u, 5.718619036088057e-07f);
  g = fmaf(g, u, -7.841841579647735e-06f);
  g = fmaf(g, u, 5.7950965128839016e-05f);
  g = fmaf(g, u, -0.000214884290471673f);
  g = fmaf(g, u, -0.00013667427992913872f);
  g = fmaf(g, u, 0.007117020897567272f);
  g = fmaf(g, u, -0.05255868285894394f);
  g = fmaf(g, u, -0.45918118953704834f);
  g = fmaf(g, u, -1.151109218597412f);
  g = fmaf(g, u, -0.9999998807907104f);
  const float h = t > 6.0f ? 0.0f : exp2f(g);
  return x * (x < 0.0f ? h : 1.0f - h);
}
// The same for results that are rounded to 16 bits: no further off than 7e-5 of the result, which
// is 0.15 units of f16 in the last place.
KILN_DEVICE float gelu_erf_of_16_bits(float x) {
  const float u = fabsf(x);
  float g = -0.0003331994521431625f;
  g = fmaf(g, u, 0.005950212012976408f);
  g = fmaf(g, u, -0.04864823445677757f);
  g = fmaf(g, u, -0.4635702073574066f);
  g = fmaf(g, u, -1.1494275331497192f);
  g = fmaf(g, u, -1.00010347366333f);
  const float h = exp2_of(g);
  return x * (x < 0.0f ? h : 1.0f - h);
}
// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
KILN_DEVICE float gelu_tanh(float x) {
  const float inner = fmaf(x * x * 0.044715f, x, x);
  return x / (1.0f + exp(inner * -1.5957691216057308f));
}
KILN_DEVICE double gelu_tanh(double x) {
  const double u = 0.797884560802865355879892 * (x + 0.044715 * x * x * x);
  return x / (1.0 + exp(-2.0 * u));
}

template <class T>
KILN_DEVICE bool is_nan(T x) {
  return x != x;
}
KILN_DEVICE bool is_finite(float x) { return fabsf(x) <= 3.402823466e+38f; }
KILN_DEVICE bool is_finite(double x) { return ::fabs(x) <= 1.7976931348623157e+308; }
template <class T>
KILN_DEVICE bool is_inf(T x) {
  return !is_nan(x) && !is_finite(x);
}

// ---- two operands; integers wrap

KILN_DEVICE float add(float a, float b) { return a + b; }
KILN_DEVICE double add(double a, double b) { return a + b; }
KILN_DEVICE int64 add(int64 a, int64 b) {
  return static_cast<int64>(static_cast<uint64>(a) + static_cast<uint64>(b));
}
KILN_DEVICE float sub(float a, float b) { return a - b; }
KILN_DEVICE double sub(double a, double b) { return a - b; }
KILN_DEVICE int64 sub(int64 a, int64 b) {
  return static_cast<int64>(static_cast<uint64>(a) - static_cast<uint64>(b));
}
KILN_DEVICE float mul(float a, float b) { return a * b; }
KILN_DEVICE double mul(double a, double b) { return a * b; }
KILN_DEVICE int64 mul(int64 a, int64 b) {
  return static_cast<int64>(static_cast<uint64>(a) * static_cast<uint64>(b));
}
KILN_DEVICE float fma(float a, float b, float c) { return fmaf(a, b, c); }
KILN_DEVICE double fma(double a, double b, double c) { return ::fma(a, b, c); }
KILN_DEVICE float pow(float a, float b) { return powf(a, b); }
KILN_DEVICE double pow(double a, double b) { return ::pow(a, b); }
KILN_DEVICE int64 pow(int64 base, int64 exponent) {
  if (exponent < 0) {
    if (base == 1) return 1;
    return base == -1 ? (exponent % 2 != 0 ? -1 : 1) : 0;
  }
  uint64 result = 1, factor = static_cast<uint64>(base);
  for (; exponent != 0; exponent >>= 1, factor *= factor) {
    if ((exponent & 1) != 0) result *= factor;
  }
  return static_cast<int64>(result);
}
KILN_DEVICE float atan2(float a, float b) { return atan2f(a, b); }
KILN_DEVICE double atan2(double a, double b) { return ::atan2(a, b); }
KILN_DEVICE float fmod(float a, float b) { return fmodf(a, b); }
KILN_DEVICE double fmod(double a, double b) { return ::fmod(a, b); }

// NaN if an operand is NaN.
template <class T>
KILN_DEVICE T max(T a, T b) {
  return a > b || a != a ? a : b;
}
template <class T>
KILN_DEVICE T min(T a, T b) {
  return a < b || a != a ? a : b;
}

KILN_DEVICE float copy_sign(float x, float sign) { return copysignf(x, sign); }
KILN_DEVICE double copy_sign(double x, double sign) { return ::copysign(x, sign); }
template <class T>
KILN_DEVICE T trunc_div(T a, T b) {
  return trunc(a / b);
}
// With the sign of the divisor.
template <class T>
KILN_DEVICE T remainder(T a, T b) {
  const T rest = fmod(a, b);
  return rest != static_cast<T>(0) && (b < static_cast<T>(0)) != (rest < static_cast<T>(0))
             ? rest + b
             : rest;
}
// Exact where the quotient is near an integer; as torch.div(rounding_mode="floor").
template <class T>
KILN_DEVICE T floor_div(T a, T b) {
  const T zero = static_cast<T>(0);
  if (b == zero) return a / b;
  const T rest = fmod(a, b);
  T quotient = (a - rest) / b;
  if (rest != zero && (b < zero) != (rest < zero)) quotient -= static_cast<T>(1);
  if (quotient == zero) return copy_sign(zero, a / b);
  const T floored = floor(quotient);
  return quotient - floored > static_cast<T>(0.5) ? floored + static_cast<T>(1) : floored;
}

// Divisions of integers: by zero they give 0 and report. INT64_MIN / -1 wraps.
template <class Divide>
KILN_DEVICE int64 checked_division(int64 a, int64 b, InOut<uint32> fault, Divide divide) {
  if (b == 0) {
    report_fault(fault, kFaultDivisor);
    return 0;
  }
  return divide(a, b);
}
KILN_DEVICE int64 trunc_div(int64 a, int64 b, InOut<uint32> fault) {
  return checked_division(a, b, fault, [](int64 x, int64 y) { return y == -1 ? neg(x) : x / y; });
}
KILN_DEVICE int64 fmod(int64 a, int64 b, InOut<uint32> fault) {
  return checked_division(a, b, fault, [](int64 x, int64 y) { return y == -1 ? 0ll : x % y; });
}
KILN_DEVICE int64 floor_div(int64 a, int64 b, InOut<uint32> fault) {
  return checked_division(a, b, fault, [](int64 x, int64 y) {
    if (y == -1) return neg(x);
    const int64 rest = x % y;
    return x / y - (rest != 0 && (rest < 0) != (y < 0) ? 1 : 0);
  });
}
KILN_DEVICE int64 remainder(int64 a, int64 b, InOut<uint32> fault) {
  return checked_division(a, b, fault, [](int64 x, int64 y) {
    if (y == -1) return 0ll;
    const int64 rest = x % y;
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
  });
}

// Counts outside 0..63 give 0, or the sign to the right.
KILN_DEVICE int64 shift_left(int64 a, int64 n) {
  return n < 0 || n > 63 ? 0 : static_cast<int64>(static_cast<uint64>(a) << n);
}
KILN_DEVICE int64 shift_right(int64 a, int64 n) { return a >> (n < 0 || n > 63 ? 63 : n); }

}  // namespace fn
