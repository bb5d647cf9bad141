// The C mathematics that NVRTC knows without a header, declared for the host compiler without
// <math.h>, whose C++ face takes longer to compile than a kernel.
#pragma once

#define KILN_MATH_1(name)                \
  double name(double x) noexcept(true);  \
  float name##f(float x) noexcept(true);
#define KILN_MATH_2(name)                         \
  double name(double x, double y) noexcept(true); \
  float name##f(float x, float y) noexcept(true);

extern "C" {
KILN_MATH_1(acos)
KILN_MATH_1(acosh)
KILN_MATH_1(asin)
KILN_MATH_1(asinh)
KILN_MATH_1(atan)
KILN_MATH_1(atanh)
KILN_MATH_1(cbrt)
KILN_MATH_1(ceil)
KILN_MATH_1(cos)
KILN_MATH_1(cosh)
KILN_MATH_1(erf)
KILN_MATH_1(erfc)
KILN_MATH_1(exp)
KILN_MATH_1(exp2)
KILN_MATH_1(expm1)
KILN_MATH_1(fabs)
KILN_MATH_1(floor)
KILN_MATH_1(lgamma)
KILN_MATH_1(log)
KILN_MATH_1(log10)
KILN_MATH_1(log1p)
KILN_MATH_1(log2)
KILN_MATH_1(logb)
KILN_MATH_1(nearbyint)
KILN_MATH_1(rint)
KILN_MATH_1(round)
KILN_MATH_1(sin)
KILN_MATH_1(sinh)
KILN_MATH_1(sqrt)
KILN_MATH_1(tan)
KILN_MATH_1(tanh)
KILN_MATH_1(tgamma)
KILN_MATH_1(trunc)
KILN_MATH_2(atan2)
KILN_MATH_2(copysign)
KILN_MATH_2(fdim)
KILN_MATH_2(fmax)
KILN_MATH_2(fmin)
KILN_MATH_2(fmod)
KILN_MATH_2(hypot)
KILN_MATH_2(nextafter)
KILN_MATH_2(pow)
KILN_MATH_2(remainder)
double fma(double x, double y, double z) noexcept(true);
float fmaf(float x, float y, float z) noexcept(true);
double ldexp(double x, int exponent) noexcept(true);
float ldexpf(float x, int exponent) noexcept(true);
double frexp(double x, int* exponent) noexcept(true);
float frexpf(float x, int* exponent) noexcept(true);
}  // extern "C"
#undef KILN_MATH_1
#undef KILN_MATH_2

inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool signbit(float x) { return __builtin_signbit(x); }
inline bool signbit(double x) { return __builtin_signbit(x); }
