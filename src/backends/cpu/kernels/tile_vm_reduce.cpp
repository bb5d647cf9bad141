// Reduction kernels of the tile virtual machine: SIMD for f32 and f64 sums and extrema, plain loops
// for the rest.
//
// A chunk of the row is reduced at a time. f32 sums run in many lanes, in blocks whose results are
// added in double, so that their error stays below that of a pairwise sum; the running sum between
// chunks is a double (Step::acc).
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "backends/cpu/kernels/tile_vm_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/tile_vm_reduce.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "backends/cpu/kernels/tile_vm_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::tile {
namespace HWY_NAMESPACE {
namespace {

// Steps of one accumulator before its lanes are added up in double.
constexpr size_t kBlockSteps = 64;

template <typename T>
struct SumOp {
  using Running = double;  // between blocks and chunks
  static constexpr T kIdentity = 0;
  template <class V>
  static HWY_INLINE V lanes(V a, V b) {
    return hn::Add(a, b);
  }
  static Running running(Running a, Running b) { return a + b; }
  template <class D, class V>
  static HWY_INLINE T across(D d, V v) {
    return hn::GetLane(hn::SumOfLanes(d, v));
  }
};

template <typename T>
struct MaxOp {
  using Running = T;
  static constexpr T kIdentity = -std::numeric_limits<T>::infinity();
  template <class V>
  static HWY_INLINE V lanes(V a, V b) {
    return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
  }
  static Running running(Running a, Running b) { return a > b || a != a ? a : b; }
  template <class D, class V>
  static HWY_INLINE T across(D d, V v) {
    if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Eq(v, v)))) return std::numeric_limits<T>::quiet_NaN();
    return hn::GetLane(hn::MaxOfLanes(d, v));
  }
};

template <typename T>
struct MinOp {
  using Running = T;
  static constexpr T kIdentity = std::numeric_limits<T>::infinity();
  template <class V>
  static HWY_INLINE V lanes(V a, V b) {
    return hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b);
  }
  static Running running(Running a, Running b) { return a < b || a != a ? a : b; }
  template <class D, class V>
  static HWY_INLINE T across(D d, V v) {
    if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Eq(v, v)))) return std::numeric_limits<T>::quiet_NaN();
    return hn::GetLane(hn::MinOfLanes(d, v));
  }
};

// Joins a chunk's result with what the chunks before gave. `running` is a row of Step::acc for sums
// (null with one chunk) and the result itself otherwise.
template <class Op, typename T>
HWY_INLINE void finish(const TileState& state, typename Op::Running part,
                       typename Op::Running* running, T* result) {
  if (state.first_chunk && state.last_chunk) {
    *result = static_cast<T>(part);
    return;
  }
  const auto joined = state.first_chunk ? part : Op::running(*running, part);
  *running = joined;
  if (state.last_chunk || std::is_same_v<typename Op::Running, T>) *result = static_cast<T>(joined);
}

template <class Op, typename T>
HWY_INLINE typename Op::Running* running_of(const Step& step, TileState& state, int64_t row,
                                            T* result) {
  if constexpr (std::is_same_v<typename Op::Running, T>)
    return result;
  else
    return step.acc < 0 ? nullptr : row_of<typename Op::Running>(state.views[step.acc], row);
}

// What is reduced: one operand, or the product of two (a sum of products needs no buffer for them).
template <typename T, bool kProduct>
struct Source {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  HWY_INLINE Source(const Step& step, const TileState& state, int64_t row)
      : a(row_of<T>(state.views[step.src[0]], row)),
        b(kProduct ? row_of<T>(state.views[step.src[1]], row) : nullptr) {}
  template <class Op>
  HWY_INLINE V joined(V sum, size_t i) const {
    const D d;
    if constexpr (kProduct)
      return hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
    else
      return Op::lanes(sum, hn::LoadU(d, a + i));
  }
  template <class Op>
  HWY_INLINE V joined_some(V sum, size_t i, size_t n) const {
    const D d;
    if constexpr (kProduct)
      return hn::MulAdd(load_some(d, a + i, n), load_some(d, b + i, n), sum);
    else
      return Op::lanes(
          sum, hn::IfThenElse(hn::FirstN(d, n), load_some(d, a + i, n), hn::Set(d, Op::kIdentity)));
  }
  const T* a;
  const T* b;
};

// One result per tile row.
template <class Op, typename T, bool kProduct>
void reduce_along_cols(const Step& step, TileState& state) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  const V identity = hn::Set(d, Op::kIdentity);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const Source<T, kProduct> from(step, state, r);
    typename Op::Running part = Op::kIdentity;
    size_t i = 0;
    while (i + 4 * lanes <= cols) {
      const size_t end = std::min(cols, i + 4 * lanes * kBlockSteps);
      V a0 = identity, a1 = identity, a2 = identity, a3 = identity;
      for (; i + 4 * lanes <= end; i += 4 * lanes) {
        a0 = from.template joined<Op>(a0, i);
        a1 = from.template joined<Op>(a1, i + lanes);
        a2 = from.template joined<Op>(a2, i + 2 * lanes);
        a3 = from.template joined<Op>(a3, i + 3 * lanes);
      }
      part = Op::running(part, Op::across(d, Op::lanes(Op::lanes(a0, a1), Op::lanes(a2, a3))));
    }
    if (i < cols) {
      V rest = identity;
      for (; i + lanes <= cols; i += lanes) rest = from.template joined<Op>(rest, i);
      if (i < cols) rest = from.template joined_some<Op>(rest, i, cols - i);
      part = Op::running(part, Op::across(d, rest));
    }
    T* result = row_of<T>(state.views[step.dst], r);
    finish<Op, T>(state, part, running_of<Op, T>(step, state, r, result), result);
  }
}

// One result per tile column, kVectors vectors of columns from column i on (or its first `some`
// columns): rows are added up in blocks.
template <class Op, typename T, bool kProduct, size_t kVectors>
HWY_INLINE void reduce_columns(const Step& step, TileState& state, int64_t rows, size_t i,
                               size_t some) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const V identity = hn::Set(d, Op::kIdentity);
  HWY_ALIGN T parts[kVectors * HWY_MAX_BYTES / sizeof(T)];
  for (size_t k = 0; k < kVectors; ++k) hn::Store(identity, d, parts + k * lanes);
  for (int64_t r = 0; r < rows;) {
    const int64_t end = std::min<int64_t>(rows, r + static_cast<int64_t>(kBlockSteps));
    V sums[kVectors];
    for (size_t k = 0; k < kVectors; ++k) sums[k] = identity;
    for (; r < end; ++r) {
      const Source<T, kProduct> from(step, state, r);
      if (kVectors == 1 && some < lanes) {
        sums[0] = from.template joined_some<Op>(sums[0], i, some);
      } else {
        for (size_t k = 0; k < kVectors; ++k)
          sums[k] = from.template joined<Op>(sums[k], i + k * lanes);
      }
    }
    for (size_t k = 0; k < kVectors; ++k)
      hn::Store(Op::lanes(hn::Load(d, parts + k * lanes), sums[k]), d, parts + k * lanes);
  }
  T* result = row_of<T>(state.views[step.dst], 0) + i;
  typename Op::Running* running =
      running_of<Op, T>(step, state, 0, row_of<T>(state.views[step.dst], 0));
  const size_t width = kVectors == 1 ? some : kVectors * lanes;
  if (state.first_chunk && state.last_chunk) {
    std::memcpy(result, parts, width * sizeof(T));
    return;
  }
  for (size_t k = 0; k < width; ++k) finish<Op, T>(state, parts[k], running + i + k, result + k);
}

template <class Op, typename T, bool kProduct>
void reduce_along_rows(const Step& step, TileState& state) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  size_t i = 0;
  for (; i + 8 * lanes <= cols; i += 8 * lanes)
    reduce_columns<Op, T, kProduct, 8>(step, state, bounds.rows, i, lanes);
  for (; i < cols; i += lanes)
    reduce_columns<Op, T, kProduct, 1>(step, state, bounds.rows, i, std::min(lanes, cols - i));
}

template <class Op, typename T>
StepFn pick(bool vertical) {
  return vertical ? reduce_along_rows<Op, T, false> : reduce_along_cols<Op, T, false>;
}

template <typename T>
StepFn find_typed(const StepKey& key) {
  switch (key.op) {
    case TileOp::kReduceSum:
      if (key.product)
        return key.vertical ? reduce_along_rows<SumOp<T>, T, true>
                            : reduce_along_cols<SumOp<T>, T, true>;
      return pick<SumOp<T>, T>(key.vertical);
    case TileOp::kReduceMax: return pick<MaxOp<T>, T>(key.vertical);
    case TileOp::kReduceMin: return pick<MinOp<T>, T>(key.vertical);
    default: return nullptr;
  }
}

}  // namespace

StepFn find_reduce(const StepKey& key) {
  if (key.type == LaneType::kF32) return find_typed<float>(key);
  if (key.type == LaneType::kF64) return find_typed<double>(key);
  return nullptr;
}

}  // namespace HWY_NAMESPACE
}  // namespace kiln::cpu::tile
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu::tile {
namespace {

HWY_EXPORT(find_reduce);

// Visits the points of a reduction: fn(row position, element, index of the result).
template <typename T, bool kVertical, class Fn>
void visit(const Step& step, TileState& state, Fn fn) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const T* a = row_of<T>(state.views[step.src[0]], r);
    for (int64_t c = 0; c < bounds.cols; ++c) fn(kVertical ? r : c, a[c], kVertical ? c : r);
  }
}

// The address of result k: results lie along a row when reducing along rows, else one per row.
template <typename T, bool kVertical>
T* result_at(const View& view, int64_t k) {
  return kVertical ? row_of<T>(view, 0) + k : row_of<T>(view, k);
}

template <bool kVertical>
int64_t result_count(const Step& step, const TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  return kVertical ? bounds.cols : bounds.rows;
}

template <typename T>
bool is_nan(T value) {
  if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
  return false;
}

template <typename T, TileOp kOp>
T joined(T a, T b) {
  switch (kOp) {
    case TileOp::kReduceSum:  // i64: wraps
      return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    case TileOp::kReduceProd:
      if constexpr (std::is_integral_v<T>)
        return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
      else
        return a * b;
    case TileOp::kReduceMax: return std::max(a, b);
    case TileOp::kReduceMin: return std::min(a, b);
    case TileOp::kReduceAny: return a || b;
    default: return a && b;
  }
}

template <typename T, TileOp kOp>
constexpr T identity() {
  switch (kOp) {
    case TileOp::kReduceProd:
    case TileOp::kReduceAll: return 1;
    case TileOp::kReduceMax: return std::numeric_limits<T>::lowest();
    case TileOp::kReduceMin: return std::numeric_limits<T>::max();
    default: return 0;
  }
}

// Accumulates in the result itself, over all chunks; f32 products in a double (Step::acc, or a
// local with one chunk: the running value is always there).
template <typename T, TileOp kOp, bool kVertical>
void reduce_plain(const Step& step, TileState& state) {
  using Running = std::conditional_t<std::is_same_v<T, float>, double, T>;
  const View& to = state.views[step.acc >= 0 ? step.acc : step.dst];
  const int64_t count = result_count<kVertical>(step, state);
  if (state.first_chunk)
    for (int64_t k = 0; k < count; ++k)
      *result_at<Running, kVertical>(to, k) = identity<Running, kOp>();
  visit<T, kVertical>(step, state, [&](int64_t, T value, int64_t k) {
    Running& running = *result_at<Running, kVertical>(to, k);
    running = joined<Running, kOp>(running, value);
  });
  if (state.last_chunk && step.acc >= 0)
    for (int64_t k = 0; k < count; ++k)
      *result_at<T, kVertical>(state.views[step.dst], k) =
          static_cast<T>(*result_at<Running, kVertical>(to, k));
}

// Index of the first extremum in the whole row; the extremum itself is kept in Step::acc.
template <typename T, bool kMax, bool kVertical>
void reduce_arg(const Step& step, TileState& state) {
  const View& best = state.views[step.acc];
  const View& index = state.views[step.dst];
  visit<T, kVertical>(step, state, [&](int64_t position, T value, int64_t k) {
    T& kept = *result_at<T, kVertical>(best, k);
    const bool better = (state.first_chunk && position == 0) ||
                        (!is_nan(kept) && ((kMax ? value > kept : value < kept) || is_nan(value)));
    if (better) {
      kept = value;
      *result_at<int64_t, kVertical>(index, k) = state.reduced0 + position;
    }
  });
}

template <typename T, TileOp kOp>
StepFn plain(const StepKey& key) {
  return key.vertical ? reduce_plain<T, kOp, true> : reduce_plain<T, kOp, false>;
}

template <typename T, bool kMax>
StepFn arg(const StepKey& key) {
  return key.vertical ? reduce_arg<T, kMax, true> : reduce_arg<T, kMax, false>;
}

template <typename T>
StepFn find_plain(const StepKey& key) {
  if (key.op == TileOp::kReduceProd) return plain<T, TileOp::kReduceProd>(key);
  if (key.op == TileOp::kReduceArgMax) return arg<T, true>(key);
  if (key.op == TileOp::kReduceArgMin) return arg<T, false>(key);
  if constexpr (std::is_same_v<T, int64_t>) {
    if (key.op == TileOp::kReduceSum) return plain<T, TileOp::kReduceSum>(key);
    if (key.op == TileOp::kReduceMax) return plain<T, TileOp::kReduceMax>(key);
    if (key.op == TileOp::kReduceMin) return plain<T, TileOp::kReduceMin>(key);
  }
  return nullptr;
}

}  // namespace

StepFn find_reduce_kernel(const StepKey& key) {
  if (const StepFn fn = HWY_DYNAMIC_DISPATCH(find_reduce)(key)) return fn;
  switch (key.type) {
    case LaneType::kF32: return find_plain<float>(key);
    case LaneType::kF64: return find_plain<double>(key);
    case LaneType::kI64: return find_plain<int64_t>(key);
    case LaneType::kBool:
      if (key.op == TileOp::kReduceAny) return plain<uint8_t, TileOp::kReduceAny>(key);
      if (key.op == TileOp::kReduceAll) return plain<uint8_t, TileOp::kReduceAll>(key);
  }
  return nullptr;
}

}  // namespace kiln::cpu::tile
#endif  // HWY_ONCE
