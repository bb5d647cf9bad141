// f32 transcendental functions on vectors, for one SIMD target. Errors are below 2 ulp unless said
// otherwise (tests/unit/cpu_kernels/tile_vm_math_test.cpp measures them); special values are as in
// C's <cmath>. Polynomials are weighted least-squares fits, close to minimax, on the ranges given.
//
// They rely on x86's Min and Max giving the second operand when one operand is NaN.
#if defined(KILN_TILE_VM_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KILN_TILE_VM_MATH_INL_H_
#undef KILN_TILE_VM_MATH_INL_H_
#else
#define KILN_TILE_VM_MATH_INL_H_
#endif

#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::tile {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// c[0] + c[1] x + c[2] x^2 + ...
template <class D, class V>
HWY_INLINE V polynomial(D d, V, float c) {
  return hn::Set(d, c);
}
template <class D, class V, class... More>
HWY_INLINE V polynomial(D d, V x, float c, More... more) {
  return hn::MulAdd(polynomial(d, x, more...), x, hn::Set(d, c));
}

inline constexpr float kRoundMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to integer
inline constexpr float kLn2High = 0.693359375f;    // few bits: n * kLn2High is exact
inline constexpr float kLn2Low = -2.12194440e-4f;

// In two factors, each a normal number.
template <class D, class V>
HWY_INLINE V scale_by_two_powers(D d, V p, V n_plus_magic) {
  const hn::RebindToSigned<D> di;
  const auto n = hn::Sub(hn::BitCast(di, n_plus_magic), hn::Set(di, 0x4B400000));
  const auto half = hn::ShiftRight<1>(n);
  const auto bias = hn::Set(di, 127);
  const auto first = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const auto second = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(n, half), bias)));
  return hn::Mul(hn::Mul(p, first), second);
}

// p * 2^n, where n was rounded by adding kRoundMagic and |n| < 160; results may be subnormal or
// infinite.
template <class D, class V>
HWY_INLINE V scale_by_power(D d, V p, V n, V n_plus_magic) {
#if HWY_TARGET <= HWY_AVX3 && HWY_MAX_BYTES == 64
  (void)d;
  (void)n_plus_magic;
  return V{_mm512_scalef_ps(p.raw, n.raw)};
#else
  (void)n;
  return scale_by_two_powers(d, p, n_plus_magic);
#endif
}

// exp(r) for |r| <= ln(2)/2.
template <class D, class V>
HWY_INLINE V exp_reduced(D d, V r) {
  const V tail = polynomial(d, r, 0.5f, 0.166665181517601f, 0.04166620597243309f,
                            0.008368889801204205f, 0.0013950489228591323f);
  return hn::Add(hn::MulAdd(hn::Mul(r, r), tail, r), hn::Set(d, 1.0f));
}

// kBounded: the caller knows that |x| < 104, so that nothing must be clamped.
template <bool kBounded = false, class D, class V>
HWY_INLINE V exp_f32(D d, V x) {
  V c = x;
  if constexpr (!kBounded) c = hn::Min(hn::Set(d, 89.0f), hn::Max(hn::Set(d, -104.5f), x));
  const V magic = hn::Set(d, kRoundMagic);
  const V t = hn::MulAdd(c, hn::Set(d, 1.44269504088896341f), magic);
  const V n = hn::Sub(t, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, kLn2High), c);
  r = hn::NegMulAdd(n, hn::Set(d, kLn2Low), r);
  return scale_by_power(d, exp_reduced(d, r), n, t);
}

// 2^x. kBounded: the caller knows that |x| < 150.
template <bool kBounded = false, class D, class V>
HWY_INLINE V exp2_f32(D d, V x) {
  V c = x;
  if constexpr (!kBounded) c = hn::Min(hn::Set(d, 129.0f), hn::Max(hn::Set(d, -151.0f), x));
  const V magic = hn::Set(d, kRoundMagic);
  const V t = hn::Add(c, magic);
  const V n = hn::Sub(t, magic);
  const V p = polynomial(d, hn::Sub(c, n), 1.0f, 0.6931471824645996f, 0.24022646248340607f,
                         0.05550328642129898f, 0.009618489071726799f, 0.0013399930903688073f,
                         0.0001534580806037411f);
  return scale_by_power(d, p, n, t);
}

template <class D, class V>
HWY_INLINE V expm1_f32(D d, V x) {
  const V small =
      hn::MulAdd(hn::Mul(x, x),
                 polynomial(d, x, 0.5000000596046448f, 0.1666666865348816f, 0.04166531562805176f,
                            0.008333072997629642f, 0.0013997500063851476f, 0.00019992956367786974f),
                 x);
  const V large = hn::Sub(exp_f32(d, x), hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.5f)), small, large);
}

// x = m * 2^e with m in [sqrt(1/2), sqrt(2)): returns log(m), sets e. Finite x > 0 only.
template <class D, class V>
HWY_INLINE V log_reduced(D d, V x, V* e) {
  const hn::RebindToSigned<D> di;
  const auto tiny = hn::Lt(x, hn::Set(d, std::numeric_limits<float>::min()));
  const V scaled = hn::IfThenElse(tiny, hn::Mul(x, hn::Set(d, 8388608.0f)), x);
  const auto bits = hn::BitCast(di, scaled);
  const auto exponent = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3F3504F3)));
  const V m = hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(exponent)));
  *e = hn::Sub(hn::ConvertTo(d, exponent), hn::IfThenElseZero(tiny, hn::Set(d, 23.0f)));
  return hn::Sub(m, hn::Set(d, 1.0f));  // f; see log_tail
}

// log(1 + f) - f for f in [sqrt(1/2) - 1, sqrt(2) - 1).
template <class D, class V>
HWY_INLINE V log_tail(D d, V f) {
  const V p = polynomial(d, f, 0.3333333134651184f, -0.250008225440979f, 0.20001226663589478f,
                         -0.16623356938362122f, 0.14201761782169342f, -0.131601944565773f,
                         0.12761549651622772f, -0.07634429633617401f);
  const V f2 = hn::Mul(f, f);
  return hn::NegMulAdd(hn::Set(d, 0.5f), f2, hn::Mul(hn::Mul(f2, f), p));
}

// What a logarithm gives for x outside (0, inf).
template <class D, class V>
HWY_INLINE V log_special(D d, V x, V result) {
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  result = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), result);
  result = hn::IfThenElse(hn::Lt(x, hn::Zero(d)),
                          hn::Set(d, std::numeric_limits<float>::quiet_NaN()), result);
  // inf and NaN give themselves.
  return hn::IfThenElse(hn::Lt(x, infinity), result, x);
}

template <class D, class V>
HWY_INLINE V log_f32(D d, V x) {
  V e;
  const V f = log_reduced(d, x, &e);
  const V low = hn::MulAdd(e, hn::Set(d, kLn2Low), log_tail(d, f));
  const V result = hn::MulAdd(e, hn::Set(d, kLn2High), hn::Add(f, low));
  return log_special(d, x, result);
}

template <class D, class V>
HWY_INLINE V log2_f32(D d, V x) {
  V e;
  const V f = log_reduced(d, x, &e);
  const V tail = log_tail(d, f);
  // (f + tail) * log2(e), with log2(e) = 1 + 0.4426950408...
  const V sum = hn::Add(f, tail);
  const V result = hn::Add(e, hn::MulAdd(sum, hn::Set(d, 0.44269504088896341f), sum));
  return log_special(d, x, result);
}

template <class D, class V>
HWY_INLINE V log10_f32(D d, V x) {
  V e;
  const V f = log_reduced(d, x, &e);
  const V log = hn::Mul(hn::Add(f, log_tail(d, f)), hn::Set(d, 0.434294481903251828f));
  // log10(2) in two parts, the first with few bits.
  const V low = hn::MulAdd(e, hn::Set(d, 4.6050389811952137e-6f), log);
  return log_special(d, x, hn::MulAdd(e, hn::Set(d, 0.301025390625f), low));
}

template <class D, class V>
HWY_INLINE V log1p_f32(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V u = hn::Add(one, x);
  // What u lost to rounding, to first order: log(1 + x) = log(u) + lost / u.
  const V lost =
      hn::IfThenElse(hn::Lt(x, one), hn::Sub(x, hn::Sub(u, one)), hn::Sub(one, hn::Sub(u, x)));
  const auto usable = hn::And(hn::Lt(hn::Abs(x), hn::Set(d, 1e9f)), hn::Gt(u, hn::Zero(d)));
  const V result = hn::Add(log_f32(d, u), hn::IfThenElseZero(usable, hn::Div(lost, u)));
  return hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, result);  // keeps -0
}

template <class D, class V>
HWY_INLINE V tanh_f32(D d, V x) {
  const V t = hn::Abs(x);
  const V s = hn::Mul(x, x);
  const V small =
      hn::MulAdd(hn::Mul(x, s),
                 polynomial(d, s, -0.3333328366279602f, 0.13331490755081177f, -0.05374349653720856f,
                            0.020650578662753105f, -0.005717036779969931f),
                 x);
  const V one = hn::Set(d, 1.0f);
  const V e = exp_f32(d, hn::Add(t, t));
  const V large = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(e, one)));
  return hn::IfThenElse(hn::Lt(t, hn::Set(d, 0.625f)), small, hn::CopySign(large, x));
}

template <class D, class V>
HWY_INLINE V sigmoid_f32(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp_f32(d, hn::Neg(x))));
}

template <class D, class V>
HWY_INLINE V silu_f32(D d, V x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp_f32(d, hn::Neg(x))));
}

// erf: x P(x^2) below 0.93, else 1 - 2^(-Q(|x|)) with Q fitted to -log2(erfc).
template <class D, class V>
HWY_INLINE V erf_f32(D d, V x) {
  const V t = hn::Abs(x);
  const V s = hn::Mul(x, x);
  // 1.128... = 1 + 0.128...: the product with 1 is exact.
  const V small =
      hn::MulAdd(x,
                 polynomial(d, s, 0.1283791065216064f, -0.37612485885620117f, 0.11281716078519821f,
                            -0.02676236256957054f, 0.004986226093024015f, -0.0005952533683739603f),
                 x);
  const V u = hn::Min(hn::Set(d, 4.0f), t);
  const V minus_q =
      polynomial(d, u, 0.0002558403357397765f, -1.6295639276504517f, -0.9136894345283508f,
                 -0.1562558114528656f, 0.03626592457294464f, -0.006027526687830687f,
                 0.0006288490258157253f, -3.061101961066015e-05f);
  const V large = hn::Sub(hn::Set(d, 1.0f), exp2_f32<true>(d, minus_q));
  return hn::IfThenElse(hn::Lt(t, hn::Set(d, 0.93f)), small, hn::CopySign(large, x));
}

// x Phi(x). With h = erfc(|x| / sqrt 2) / 2 = 2^(-G(|x|)), G fitted to -log2(h) on [0, 6], there is
// no cancellation for negative x: the relative error stays below 1.2e-6 there, where 1 + erf loses
// all digits. h is below 1e-9 beyond 6 and taken as 0.
template <class D, class V>
HWY_INLINE V gelu_erf_f32(D d, V x) {
  const V t = hn::Abs(x);
  const V six = hn::Set(d, 6.0f);
  const V minus_g =
      polynomial(d, hn::Min(six, t), -0.9999998807907104f, -1.151109218597412f,
                 -0.45918118953704834f, -0.05255868285894394f, 0.007117020897567272f,
                 -0.00013667427992913872f, -0.000214884290471673f, 5.7950965128839016e-05f,
                 -7.841841579647735e-06f, 5.718619036088057e-07f, -1.7804175911351194e-08f);
  const V h = hn::IfThenZeroElse(hn::Gt(t, six), exp2_f32<true>(d, minus_g));
  const V phi = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), h, hn::Sub(hn::Set(d, 1.0f), h));
  return hn::Mul(x, phi);
}

// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
template <class D, class V>
HWY_INLINE V gelu_tanh_f32(D d, V x) {
  const V inner = hn::MulAdd(hn::Mul(hn::Mul(x, x), hn::Set(d, 0.044715f)), x, x);
  const V e = exp_f32(d, hn::Mul(inner, hn::Set(d, -1.5957691216057308f)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), e));
}

// x tanh(softplus(x)) = x n / (n + 2) with n = e (e + 2), e = exp(x).
template <class D, class V>
HWY_INLINE V mish_f32(D d, V x) {
  const V two = hn::Set(d, 2.0f);
  const V twenty = hn::Set(d, 20.0f);
  const V e = exp_f32(d, hn::Min(twenty, x));
  const V n = hn::Mul(e, hn::Add(e, two));
  return hn::IfThenElse(hn::Gt(x, twenty), x, hn::Div(hn::Mul(x, n), hn::Add(n, two)));
}

// log(1 + exp(y)) = max(y, 0) + log1p(exp(-|y|)), y = beta x; x itself where y > threshold.
template <class D, class V>
HWY_INLINE V softplus_f32(D d, V x, float beta, float threshold) {
  const V y = hn::Mul(x, hn::Set(d, beta));
  const V log = hn::Add(hn::Max(hn::Zero(d), y), log1p_f32(d, exp_f32(d, hn::Neg(hn::Abs(y)))));
  return hn::IfThenElse(hn::Gt(y, hn::Set(d, threshold)), x, hn::Div(log, hn::Set(d, beta)));
}

template <class D, class V>
HWY_INLINE V elu_f32(D d, V x, float alpha, float scale, float input_scale) {
  const V below =
      hn::Mul(expm1_f32(d, hn::Mul(x, hn::Set(d, input_scale))), hn::Set(d, alpha * scale));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), below, hn::Mul(x, hn::Set(d, scale)));
}

// sin(x + quadrant * pi/2) for |x| <= 8192: reduction by three parts of pi/2.
template <class D, class V>
HWY_INLINE V sin_reduced(D d, V x, int quadrant) {
  const hn::RebindToSigned<D> di;
  const V magic = hn::Set(d, kRoundMagic);
  const V t = hn::MulAdd(x, hn::Set(d, 0.636619772367581343f), magic);
  const V n = hn::Sub(t, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 1.5703125f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 4.837512969970703125e-4f), r);
  r = hn::NegMulAdd(n, hn::Set(d, 7.54978995489188216e-8f), r);
  const V s = hn::Mul(r, r);
  const V sine = hn::MulAdd(hn::Mul(s, r),
                            polynomial(d, s, -0.1666666716337204f, 0.008333329111337662f,
                                       -0.0001983933470910415f, 2.7183114070794545e-06f),
                            r);
  const V cosine = hn::MulAdd(hn::Mul(s, s),
                              polynomial(d, s, 0.0416666679084301f, -0.0013888883404433727f,
                                         2.4799519451335073e-05f, -2.7210234065933037e-07f),
                              hn::NegMulAdd(hn::Set(d, 0.5f), s, hn::Set(d, 1.0f)));
  const auto q = hn::Add(hn::BitCast(di, t), hn::Set(di, quadrant));
  const auto one = hn::Set(di, 1);
  const auto odd = hn::RebindMask(d, hn::Eq(hn::And(q, one), one));
  const auto sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::And(q, hn::Set(di, 2))));
  return hn::Xor(hn::IfThenElse(odd, cosine, sine), sign);
}

// Vectors with a lane beyond 8192, infinite or NaN take the C library.
template <class D, class V, class Slow>
HWY_INLINE V sin_f32(D d, V x, int quadrant, Slow slow) {
  if (HWY_LIKELY(hn::AllTrue(d, hn::Le(hn::Abs(x), hn::Set(d, 8192.0f)))))
    return sin_reduced(d, x, quadrant);
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(x, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = slow(lanes[i]);
  return hn::Load(d, lanes);
}

}  // namespace HWY_NAMESPACE
}  // namespace kiln::cpu::tile
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
