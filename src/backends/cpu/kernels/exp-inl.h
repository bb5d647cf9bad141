// exp of vectors for softmax, compiled once for each SIMD target.
// Per-target header: included by a file that uses hwy/foreach_target.h.
#if defined(KILN_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KILN_EXP_INL_H_
#undef KILN_EXP_INL_H_
#else
#define KILN_EXP_INL_H_
#endif

#include <cmath>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {

// exp(x) for x <= 0, -inf and NaN included; results below the smallest normal
// number become 0. Reduction to |r| <= ln(2)/2 and the polynomial of Cephes'
// expf; relative error below 2e-7.
template <class D>
requires(sizeof(hwy::HWY_NAMESPACE::TFromD<D>) ==
         4) HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> exp_nonpositive(D d,
                                                                  hwy::HWY_NAMESPACE::Vec<D> x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  const auto n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
  auto r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  auto p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const auto bits = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  const auto result = hn::Mul(p, hn::BitCast(d, bits));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33f)),
                            result);  // false for NaN
}

// Double precision: correct, one lane at a time.
template <class D>
requires(sizeof(hwy::HWY_NAMESPACE::TFromD<D>) ==
         8) HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> exp_nonpositive(D d,
                                                                  hwy::HWY_NAMESPACE::Vec<D> x) {
  namespace hn = hwy::HWY_NAMESPACE;
  HWY_ALIGN double lanes[hn::MaxLanes(d)];
  hn::Store(x, d, lanes);
  for (double& lane : lanes) lane = std::exp(lane);
  return hn::Load(d, lanes);
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KILN_EXP_INL_H_
