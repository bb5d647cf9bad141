// 16-bit floats to vectors of f32 and back, compiled once for each SIMD target. Pointers are to the
// bits; a vector's worth of elements is read or written. Per-target header: included by a file that
// uses hwy/foreach_target.h.
#if defined(KILN_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KILN_HALF_INL_H_
#undef KILN_HALF_INL_H_
#else
#define KILN_HALF_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "backends/cpu/kernels/element.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX2
inline constexpr bool kVectorHalf = true;
#else
inline constexpr bool kVectorHalf = false;  // f16 had better be converted one by one
#endif

template <class D>
HWY_INLINE hn::Vec<D> widen_bf16(D d, const uint16_t* from) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::RebindToUnsigned<D> du32;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, from))));
}

template <class D>
HWY_INLINE hn::Vec<D> widen_f16(D d, const uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> df16;
  return hn::PromoteTo(d, hn::LoadU(df16, reinterpret_cast<const hwy::float16_t*>(from)));
}

// The bits of v rounded to bf16, half to even, in the upper halves; NaN becomes a quiet NaN.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> bf16_bits(D, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> du32;
  const auto bits = hn::BitCast(du32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du32, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du32, 0x7FFF)));
  const auto nan = hn::RebindMask(du32, hn::IsNaN(v));
  return hn::And(hn::IfThenElse(nan, hn::Or(bits, hn::Set(du32, 0x00400000)), rounded),
                 hn::Set(du32, 0xFFFF0000u));
}

template <class D>
HWY_INLINE void narrow_bf16(D d, hn::Vec<D> v, uint16_t* to) {
  const hn::Rebind<uint16_t, D> du16;
  const hn::RebindToSigned<D> di32;
  // The upper half as a non-negative i32, which the saturating conversion keeps.
  const auto upper = hn::BitCast(di32, hn::ShiftRight<16>(bf16_bits(d, v)));
  hn::StoreU(hn::DemoteTo(du16, upper), du16, to);
}

template <class D>
HWY_INLINE void narrow_f16(D, hn::Vec<D> v, uint16_t* to) {
  const hn::Rebind<hwy::float16_t, D> df16;
  hn::StoreU(hn::DemoteTo(df16, v), df16, reinterpret_cast<hwy::float16_t*>(to));
}

// A vector of f32 or f64 from elements of the same type, or of f32 from 16-bit ones; and back.
template <class D, class S>
HWY_INLINE hn::Vec<D> load_as(D d, const S* from) {
  if constexpr (std::is_same_v<S, BF16>) {
    return widen_bf16(d, &from->bits);
  } else if constexpr (std::is_same_v<S, F16>) {
    if constexpr (kVectorHalf) return widen_f16(d, &from->bits);
    HWY_ALIGN float values[hn::MaxLanes(d)];
    for (size_t i = 0; i < hn::Lanes(d); ++i) values[i] = from[i];
    return hn::Load(d, values);
  } else {
    return hn::LoadU(d, from);
  }
}
template <class D, class S>
HWY_INLINE void store_as(D d, hn::Vec<D> v, S* to) {
  if constexpr (std::is_same_v<S, BF16>) {
    narrow_bf16(d, v, &to->bits);
  } else if constexpr (std::is_same_v<S, F16>) {
    if constexpr (kVectorHalf) {
      narrow_f16(d, v, &to->bits);
    } else {
      HWY_ALIGN float values[hn::MaxLanes(d)];
      hn::Store(v, d, values);
      for (size_t i = 0; i < hn::Lanes(d); ++i) to[i] = F16(values[i]);
    }
  } else {
    hn::StoreU(v, d, to);
  }
}
// load_as() makes vectors of T from elements of S.
template <class T, class S>
inline constexpr bool kLoadsAs = std::is_same_v<T, S> || (std::is_same_v<T, float> &&
    (std::is_same_v<S, BF16> || std::is_same_v<S, F16>));

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KILN_HALF_INL_H_
