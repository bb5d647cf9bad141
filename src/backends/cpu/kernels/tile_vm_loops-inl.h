// Loops over the points of a tile step, for one SIMD target. Included once per target by the
// foreach_target files of the tile virtual machine, after hwy/highway.h.
#if defined(KILN_TILE_VM_LOOPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KILN_TILE_VM_LOOPS_INL_H_
#undef KILN_TILE_VM_LOOPS_INL_H_
#else
#define KILN_TILE_VM_LOOPS_INL_H_
#endif

#include <cstring>

#include "backends/cpu/kernels/tile_vm_step.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::tile {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// First n < Lanes(d) lanes; reads nothing beyond them. The other lanes are 0.
template <class D>
HWY_INLINE hn::Vec<D> load_some(D d, const hn::TFromD<D>* from, size_t n) {
#if HWY_TARGET <= HWY_AVX2
  if constexpr (sizeof(hn::TFromD<D>) >= 4) return hn::MaskedLoad(hn::FirstN(d, n), d, from);
#endif
  HWY_ALIGN hn::TFromD<D> lanes[HWY_MAX_BYTES / sizeof(hn::TFromD<D>)] = {};
  std::memcpy(lanes, from, n * sizeof(hn::TFromD<D>));
  return hn::Load(d, lanes);
}

// Writes the first n < Lanes(d) lanes and nothing beyond them.
template <class D>
HWY_INLINE void store_some(hn::Vec<D> v, D d, hn::TFromD<D>* to, size_t n) {
#if HWY_TARGET <= HWY_AVX2
  if constexpr (sizeof(hn::TFromD<D>) >= 4) {
    hn::BlendedStore(v, hn::FirstN(d, n), d, to);
    return;
  }
#endif
  HWY_ALIGN hn::TFromD<D> lanes[HWY_MAX_BYTES / sizeof(hn::TFromD<D>)];
  hn::Store(v, d, lanes);
  std::memcpy(to, lanes, n * sizeof(hn::TFromD<D>));
}

// Bools are bytes 0 and 1 in memory and masks of another lane type in registers.
template <class D>
HWY_INLINE void store_mask(hn::Mask<D> mask, D, uint8_t* to) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> du8;
  static_assert(sizeof(hn::TFromD<D>) == 4);
  const auto ones = hn::IfThenElseZero(hn::RebindMask(di, mask), hn::Set(di, 1));
  hn::StoreU(hn::DemoteTo(du8, ones), du8, to);
}

template <class D>
HWY_INLINE hn::Mask<D> load_mask(D d, const uint8_t* from) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> du8;
  const auto wide = hn::PromoteTo(di, hn::LoadU(du8, from));
  return hn::RebindMask(d, hn::Ne(wide, hn::Zero(di)));
}

// out = f(a), lane for lane. F has a template operator()(d, a).
template <typename T, class F>
HWY_INLINE void map_one(const Step& step, TileState& state, F f) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const T* a = row_of<T>(state.views[step.src[0]], r);
    T* out = row_of<T>(state.views[step.dst], r);
    size_t i = 0;
    for (; i + lanes <= cols; i += lanes) hn::StoreU(f(d, hn::LoadU(d, a + i)), d, out + i);
    if (i < cols) store_some(f(d, load_some(d, a + i, cols - i)), d, out + i, cols - i);
  }
}

// out = f(a), f gives a mask.
template <class F>
HWY_INLINE void test_one(const Step& step, TileState& state, F f) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const float* a = row_of<float>(state.views[step.src[0]], r);
    uint8_t* out = row_of<uint8_t>(state.views[step.dst], r);
    size_t i = 0;
    for (; i + lanes <= cols; i += lanes) store_mask(f(d, hn::LoadU(d, a + i)), d, out + i);
    if (i < cols) {
      HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES];
      store_mask(f(d, load_some(d, a + i, cols - i)), d, bytes);
      std::memcpy(out + i, bytes, cols - i);
    }
  }
}

// An operand of a row: a vector, or one value for the row (kScalar).
template <typename T, bool kScalar>
struct RowOperand {
  using D = hn::ScalableTag<T>;
  HWY_INLINE RowOperand(const View& view, int64_t row)
      : from(row_of<T>(view, row)), value(hn::Set(D(), kScalar ? *from : T(0))) {}
  HWY_INLINE hn::Vec<D> full(size_t i) const {
    if constexpr (kScalar)
      return value;
    else
      return hn::LoadU(D(), from + i);
  }
  HWY_INLINE hn::Vec<D> some(size_t i, size_t n) const {
    if constexpr (kScalar)
      return value;
    else
      return load_some(D(), from + i, n);
  }
  const T* from;
  hn::Vec<D> value;
};

template <typename T, bool kScalarA, bool kScalarB, class F>
HWY_INLINE void map_two(const Step& step, TileState& state, F f) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const RowOperand<T, kScalarA> a(state.views[step.src[0]], r);
    const RowOperand<T, kScalarB> b(state.views[step.src[1]], r);
    T* out = row_of<T>(state.views[step.dst], r);
    size_t i = 0;
    for (; i + lanes <= cols; i += lanes) hn::StoreU(f(d, a.full(i), b.full(i)), d, out + i);
    if (i < cols) store_some(f(d, a.some(i, cols - i), b.some(i, cols - i)), d, out + i, cols - i);
  }
}

template <bool kScalarA, bool kScalarB, class F>
HWY_INLINE void test_two(const Step& step, TileState& state, F f) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const RowOperand<float, kScalarA> a(state.views[step.src[0]], r);
    const RowOperand<float, kScalarB> b(state.views[step.src[1]], r);
    uint8_t* out = row_of<uint8_t>(state.views[step.dst], r);
    size_t i = 0;
    for (; i + lanes <= cols; i += lanes) store_mask(f(d, a.full(i), b.full(i)), d, out + i);
    if (i < cols) {
      HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES];
      store_mask(f(d, a.some(i, cols - i), b.some(i, cols - i)), d, bytes);
      std::memcpy(out + i, bytes, cols - i);
    }
  }
}

template <typename T, bool kScalarA, bool kScalarB, bool kScalarC, class F>
HWY_INLINE void map_three(const Step& step, TileState& state, F f) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const RowOperand<T, kScalarA> a(state.views[step.src[0]], r);
    const RowOperand<T, kScalarB> b(state.views[step.src[1]], r);
    const RowOperand<T, kScalarC> c(state.views[step.src[2]], r);
    T* out = row_of<T>(state.views[step.dst], r);
    size_t i = 0;
    for (; i + lanes <= cols; i += lanes)
      hn::StoreU(f(d, a.full(i), b.full(i), c.full(i)), d, out + i);
    if (i < cols) {
      const size_t n = cols - i;
      store_some(f(d, a.some(i, n), b.some(i, n), c.some(i, n)), d, out + i, n);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kiln::cpu::tile
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
