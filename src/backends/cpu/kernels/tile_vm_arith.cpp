// SIMD kernels of the tile virtual machine: arithmetic, comparisons, rounding, select (f32, f64).
#include <limits>

#include "backends/cpu/kernels/tile_vm_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/tile_vm_arith.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "backends/cpu/kernels/tile_vm_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::tile {
namespace HWY_NAMESPACE {
namespace {

#define KILN_TILE_UNARY(name, expression)     \
  struct name {                               \
    explicit name(const Step&) {}             \
    template <class D, class V>               \
    HWY_INLINE V operator()(D d, V x) const { \
      (void)d;                                \
      return expression;                      \
    }                                         \
  }

template <class D, class V>
HWY_INLINE V nan_max(D, V a, V b) {  // NaN if either is, as torch.maximum
  return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
}
template <class D, class V>
HWY_INLINE V nan_min(D, V a, V b) {
  return hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b);
}

// hwy's rounding of huge values and NaN goes through integers on old targets.
template <class D, class V>
HWY_INLINE V keep_large(D d, V x, V rounded) {
  using T = hn::TFromD<D>;
  const T limit = sizeof(T) == 4 ? static_cast<T>(8388608.0) : static_cast<T>(4503599627370496.0);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, limit)), hn::CopySign(rounded, x), x);
}

KILN_TILE_UNARY(Neg, hn::Neg(x));
KILN_TILE_UNARY(Abs, hn::Abs(x));
KILN_TILE_UNARY(Sign, hn::Sub(hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1)),
                              hn::IfThenElseZero(hn::Lt(x, hn::Zero(d)), hn::Set(d, 1))));
KILN_TILE_UNARY(Relu, hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x));
KILN_TILE_UNARY(Sqrt, hn::Sqrt(x));
KILN_TILE_UNARY(Rsqrt, hn::Div(hn::Set(d, 1), hn::Sqrt(x)));
KILN_TILE_UNARY(Reciprocal, hn::Div(hn::Set(d, 1), x));
KILN_TILE_UNARY(Floor, keep_large(d, x, hn::Floor(x)));
KILN_TILE_UNARY(Ceil, keep_large(d, x, hn::Ceil(x)));
KILN_TILE_UNARY(Round, keep_large(d, x, hn::Round(x)));
KILN_TILE_UNARY(Trunc, keep_large(d, x, hn::Trunc(x)));
KILN_TILE_UNARY(Frac, hn::Sub(x, keep_large(d, x, hn::Trunc(x))));
// x86's Min and Max give the second operand when one is NaN, so NaN stays.
KILN_TILE_UNARY(Hardswish,
                hn::Div(hn::Mul(x, hn::Min(hn::Set(d, 6),
                                           hn::Max(hn::Zero(d), hn::Add(x, hn::Set(d, 3))))),
                        hn::Set(d, 6)));
KILN_TILE_UNARY(Hardsigmoid,
                hn::Div(hn::Min(hn::Set(d, 6), hn::Max(hn::Zero(d), hn::Add(x, hn::Set(d, 3)))),
                        hn::Set(d, 6)));
#undef KILN_TILE_UNARY

template <typename T>
struct LeakyRelu {
  explicit LeakyRelu(const Step& step) : slope(static_cast<T>(step.params[0])) {}
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, hn::Set(d, slope)));
  }
  T slope;
};

template <typename T>
struct Clamp {
  explicit Clamp(const Step& step)
      : low(static_cast<T>(step.params[0])), high(static_cast<T>(step.params[1])) {}
  template <class D, class V>
  HWY_INLINE V operator()(D d, V x) const {
    return hn::Min(hn::Set(d, high), hn::Max(hn::Set(d, low), x));
  }
  T low, high;
};

#define KILN_TILE_BINARY(name, expression)         \
  struct name {                                    \
    template <class D, class V>                    \
    HWY_INLINE V operator()(D d, V a, V b) const { \
      (void)d;                                     \
      return expression;                           \
    }                                              \
  }
KILN_TILE_BINARY(Add, hn::Add(a, b));
KILN_TILE_BINARY(Sub, hn::Sub(a, b));
KILN_TILE_BINARY(Mul, hn::Mul(a, b));
KILN_TILE_BINARY(Div, hn::Div(a, b));
KILN_TILE_BINARY(Max, nan_max(d, a, b));
KILN_TILE_BINARY(Min, nan_min(d, a, b));
#undef KILN_TILE_BINARY

#define KILN_TILE_TEST(name, expression)                   \
  struct name {                                            \
    template <class D, class V>                            \
    HWY_INLINE hn::Mask<D> operator()(D, V a, V b) const { \
      return expression;                                   \
    }                                                      \
  }
KILN_TILE_TEST(Eq, hn::Eq(a, b));
KILN_TILE_TEST(Ne, hn::Not(hn::Eq(a, b)));  // hn::Ne is false for NaN
KILN_TILE_TEST(Lt, hn::Lt(a, b));
KILN_TILE_TEST(Le, hn::Le(a, b));
#undef KILN_TILE_TEST

struct IsNan {
  template <class D, class V>
  HWY_INLINE hn::Mask<D> operator()(D, V x) const {
    return hn::IsNaN(x);
  }
};
struct IsInf {
  template <class D, class V>
  HWY_INLINE hn::Mask<D> operator()(D d, V x) const {
    return hn::Eq(hn::Abs(x), hn::Set(d, std::numeric_limits<float>::infinity()));
  }
};
struct IsFinite {
  template <class D, class V>
  HWY_INLINE hn::Mask<D> operator()(D d, V x) const {
    return hn::Le(hn::Abs(x), hn::Set(d, std::numeric_limits<float>::max()));
  }
};

struct Fma {
  template <class D, class V>
  HWY_INLINE V operator()(D, V a, V b, V c) const {
    return hn::MulAdd(a, b, c);
  }
};

template <typename T, class F>
void run_unary(const Step& step, TileState& state) {
  map_one<T>(step, state, F(step));
}
template <class F>
void run_test_one(const Step& step, TileState& state) {
  test_one(step, state, F());
}
template <typename T, class F, bool kScalarA, bool kScalarB>
void run_binary(const Step& step, TileState& state) {
  map_two<T, kScalarA, kScalarB>(step, state, F());
}
template <class F, bool kScalarA, bool kScalarB>
void run_test_two(const Step& step, TileState& state) {
  test_two<kScalarA, kScalarB>(step, state, F());
}
template <typename T, bool kScalarA, bool kScalarB, bool kScalarC>
void run_fma(const Step& step, TileState& state) {
  map_three<T, kScalarA, kScalarB, kScalarC>(step, state, Fma());
}

// Both sides are computed; the condition has one byte per point.
template <bool kScalarA, bool kScalarB>
void run_select(const Step& step, TileState& state) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = bounds_of(step, state);
  const size_t cols = static_cast<size_t>(bounds.cols);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const uint8_t* condition = row_of<uint8_t>(state.views[step.src[0]], r);
    const RowOperand<float, kScalarA> a(state.views[step.src[1]], r);
    const RowOperand<float, kScalarB> b(state.views[step.src[2]], r);
    float* out = row_of<float>(state.views[step.dst], r);
    size_t i = 0;
    for (; i + lanes <= cols; i += lanes)
      hn::StoreU(hn::IfThenElse(load_mask(d, condition + i), a.full(i), b.full(i)), d, out + i);
    if (i < cols) {
      const size_t n = cols - i;
      HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES] = {};
      std::memcpy(bytes, condition + i, n);
      store_some(hn::IfThenElse(load_mask(d, bytes), a.some(i, n), b.some(i, n)), d, out + i, n);
    }
  }
}

template <typename T, class F>
StepFn pick_binary(uint8_t scalar_mask) {
  switch (scalar_mask) {
    case 0: return run_binary<T, F, false, false>;
    case 1: return run_binary<T, F, true, false>;
    case 2: return run_binary<T, F, false, true>;
    default: return nullptr;
  }
}

template <class F>
StepFn pick_test(uint8_t scalar_mask) {
  switch (scalar_mask) {
    case 0: return run_test_two<F, false, false>;
    case 1: return run_test_two<F, true, false>;
    case 2: return run_test_two<F, false, true>;
    default: return nullptr;
  }
}

template <typename T>
StepFn pick_fma(uint8_t scalar_mask) {
  switch (scalar_mask) {
    case 0: return run_fma<T, false, false, false>;
    case 1: return run_fma<T, true, false, false>;
    case 2: return run_fma<T, false, true, false>;
    case 3: return run_fma<T, true, true, false>;
    case 4: return run_fma<T, false, false, true>;
    case 5: return run_fma<T, true, false, true>;
    case 6: return run_fma<T, false, true, true>;
    default: return nullptr;
  }
}

template <typename T>
StepFn find_typed(const StepKey& key) {
  const uint8_t s = key.scalar_mask;
  switch (key.op) {
    case TileOp::kNeg: return run_unary<T, Neg>;
    case TileOp::kAbs: return run_unary<T, Abs>;
    case TileOp::kSign: return run_unary<T, Sign>;
    case TileOp::kRelu: return run_unary<T, Relu>;
    case TileOp::kSqrt: return run_unary<T, Sqrt>;
    case TileOp::kRsqrt: return run_unary<T, Rsqrt>;
    case TileOp::kReciprocal: return run_unary<T, Reciprocal>;
    case TileOp::kFloor: return run_unary<T, Floor>;
    case TileOp::kCeil: return run_unary<T, Ceil>;
    case TileOp::kRound: return run_unary<T, Round>;
    case TileOp::kTrunc: return run_unary<T, Trunc>;
    case TileOp::kFrac: return run_unary<T, Frac>;
    case TileOp::kHardswish: return run_unary<T, Hardswish>;
    case TileOp::kHardsigmoid: return run_unary<T, Hardsigmoid>;
    case TileOp::kLeakyRelu: return run_unary<T, LeakyRelu<T>>;
    case TileOp::kClamp: return run_unary<T, Clamp<T>>;
    case TileOp::kAdd: return pick_binary<T, Add>(s);
    case TileOp::kSub: return pick_binary<T, Sub>(s);
    case TileOp::kMul: return pick_binary<T, Mul>(s);
    case TileOp::kDiv: return pick_binary<T, Div>(s);
    case TileOp::kMax: return pick_binary<T, Max>(s);
    case TileOp::kMin: return pick_binary<T, Min>(s);
    case TileOp::kFma: return pick_fma<T>(s);
    default: return nullptr;
  }
}

StepFn find_f32_only(const StepKey& key) {
  const uint8_t s = key.scalar_mask;
  switch (key.op) {
    case TileOp::kIsNan: return run_test_one<IsNan>;
    case TileOp::kIsInf: return run_test_one<IsInf>;
    case TileOp::kIsFinite: return run_test_one<IsFinite>;
    case TileOp::kEq: return pick_test<Eq>(s);
    case TileOp::kNe: return pick_test<Ne>(s);
    case TileOp::kLt: return pick_test<Lt>(s);
    case TileOp::kLe: return pick_test<Le>(s);
    case TileOp::kSelect:
      switch (s) {
        case 0: return run_select<false, false>;
        case 2: return run_select<true, false>;
        case 4: return run_select<false, true>;
        case 6: return run_select<true, true>;
        default: return nullptr;
      }
    default: return nullptr;
  }
}

}  // namespace

StepFn find_arith(const StepKey& key) {
  if (key.type == LaneType::kF64) return find_typed<double>(key);
  if (key.type != LaneType::kF32) return nullptr;
  if (const StepFn fn = find_typed<float>(key)) return fn;
  return find_f32_only(key);
}

}  // namespace HWY_NAMESPACE
}  // namespace kiln::cpu::tile
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu::tile {

HWY_EXPORT(find_arith);

StepFn find_arith_kernel(const StepKey& key) { return HWY_DYNAMIC_DISPATCH(find_arith)(key); }

}  // namespace kiln::cpu::tile
#endif  // HWY_ONCE
