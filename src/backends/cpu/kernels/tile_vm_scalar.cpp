// Plain-loop kernels of the tile virtual machine: i64, bool, f64 and rare f32 functions, and the
// steps that no instruction names (constants, iota, broadcasts, gather offsets).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "backends/cpu/kernels/tile_vm_step.h"

namespace kiln::cpu::tile {
namespace {

// Loops -------------------------------------------------------------------------------------------

template <typename T, typename R, class Fn>
void map_one(const Step& step, TileState& state, Fn fn) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const T* a = row_of<T>(state.views[step.src[0]], r);
    R* out = row_of<R>(state.views[step.dst], r);
    for (int64_t c = 0; c < bounds.cols; ++c) out[c] = fn(a[c]);
  }
}

template <typename T, typename R, class Fn>
void map_two(const Step& step, TileState& state, Fn fn) {
  const Bounds bounds = bounds_of(step, state);
  const bool scalar_a = step.scalar_mask & 1, scalar_b = step.scalar_mask & 2;
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const T* a = row_of<T>(state.views[step.src[0]], r);
    const T* b = row_of<T>(state.views[step.src[1]], r);
    R* out = row_of<R>(state.views[step.dst], r);
    if (!scalar_a && !scalar_b)
      for (int64_t c = 0; c < bounds.cols; ++c) out[c] = fn(a[c], b[c]);
    else if (!scalar_a)
      for (int64_t c = 0; c < bounds.cols; ++c) out[c] = fn(a[c], *b);
    else if (!scalar_b)
      for (int64_t c = 0; c < bounds.cols; ++c) out[c] = fn(*a, b[c]);
    else
      std::fill_n(out, bounds.cols, fn(*a, *b));
  }
}

// Functions ---------------------------------------------------------------------------------------

template <typename T>
T python_remainder(T a, T b) {
  T r = std::fmod(a, b);
  if (r != 0 && (b < 0) != (r < 0)) r += b;
  return r;
}

// Exact where the quotient is near an integer; as torch.div(rounding_mode="floor").
template <typename T>
T floor_divide(T a, T b) {
  if (b == 0) return a / b;
  const T mod = std::fmod(a, b);
  T quotient = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(T(0), a / b);
  T floored = std::floor(quotient);
  if (quotient - floored > T(0.5)) floored += 1;
  return floored;
}

int64_t wrapping_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  uint64_t result = 1, factor = static_cast<uint64_t>(base);
  for (; exponent; exponent >>= 1, factor *= factor)
    if (exponent & 1) result *= factor;
  return static_cast<int64_t>(result);
}

template <typename T>
T log_one_plus_exp(T y) {
  return std::max(y, T(0)) + std::log1p(std::exp(-std::abs(y)));
}

template <typename T>
T float_unary(TileOp op, T x, const double* p) {
  constexpr T kSqrtHalf = static_cast<T>(0.707106781186547524400844362104849039);
  switch (op) {
    case TileOp::kExp: return std::exp(x);
    case TileOp::kExp2: return std::exp2(x);
    case TileOp::kExpm1: return std::expm1(x);
    case TileOp::kLog: return std::log(x);
    case TileOp::kLog2: return std::log2(x);
    case TileOp::kLog10: return std::log10(x);
    case TileOp::kLog1p: return std::log1p(x);
    case TileOp::kSin: return std::sin(x);
    case TileOp::kCos: return std::cos(x);
    case TileOp::kTan: return std::tan(x);
    case TileOp::kAsin: return std::asin(x);
    case TileOp::kAcos: return std::acos(x);
    case TileOp::kAtan: return std::atan(x);
    case TileOp::kSinh: return std::sinh(x);
    case TileOp::kCosh: return std::cosh(x);
    case TileOp::kTanh: return std::tanh(x);
    case TileOp::kAsinh: return std::asinh(x);
    case TileOp::kAcosh: return std::acosh(x);
    case TileOp::kAtanh: return std::atanh(x);
    case TileOp::kErf: return std::erf(x);
    case TileOp::kErfc: return std::erfc(x);
    case TileOp::kSigmoid: return 1 / (1 + std::exp(-x));
    case TileOp::kGeluErf: return x * (T(0.5) * std::erfc(-x * kSqrtHalf));
    case TileOp::kGeluTanh: {
      const T u = static_cast<T>(0.797884560802865355879892) * (x + T(0.044715) * x * x * x);
      return x / (1 + std::exp(-2 * u));
    }
    case TileOp::kSilu: return x / (1 + std::exp(-x));
    case TileOp::kMish: return x * std::tanh(log_one_plus_exp(x));
    case TileOp::kSoftplus: {
      const T y = x * static_cast<T>(p[0]);
      return y > static_cast<T>(p[1]) ? x : log_one_plus_exp(y) / static_cast<T>(p[0]);
    }
    case TileOp::kElu:
      return x < 0 ? std::expm1(x * static_cast<T>(p[2])) * static_cast<T>(p[0] * p[1])
                   : x * static_cast<T>(p[1]);
    default: return x;
  }
}

bool is_float_unary(TileOp op) {
  return (op >= TileOp::kExp && op <= TileOp::kLog1p) ||
         (op >= TileOp::kSin && op <= TileOp::kSilu) || op == TileOp::kMish ||
         op == TileOp::kSoftplus || op == TileOp::kElu;
}

template <typename T, int kOp>
void run_float_unary(const Step& step, TileState& state) {
  map_one<T, T>(step, state,
                [&](T x) { return float_unary<T>(static_cast<TileOp>(kOp), x, step.params); });
}

template <typename T, int kFirst, int kLast>
StepFn float_unary_kernel(TileOp op) {
  if constexpr (kFirst > kLast) {
    return nullptr;
  } else {
    if (static_cast<int>(op) == kFirst) return run_float_unary<T, kFirst>;
    return float_unary_kernel<T, kFirst + 1, kLast>(op);
  }
}

template <typename T>
StepFn find_float_unary(TileOp op) {
  if (!is_float_unary(op)) return nullptr;
  return float_unary_kernel<T, static_cast<int>(TileOp::kExp), static_cast<int>(TileOp::kElu)>(op);
}

#define KILN_TILE_ONE(T, R, expression)                              \
  [](const Step& step, TileState& state) {                           \
    map_one<T, R>(step, state, [](T x) -> R { return expression; }); \
  }
#define KILN_TILE_TWO(T, R, expression)                                   \
  [](const Step& step, TileState& state) {                                \
    map_two<T, R>(step, state, [](T a, T b) -> R { return expression; }); \
  }

template <typename T>
StepFn find_compare(TileOp op) {
  switch (op) {
    case TileOp::kEq: return KILN_TILE_TWO(T, uint8_t, a == b);
    case TileOp::kNe: return KILN_TILE_TWO(T, uint8_t, a != b);
    case TileOp::kLt: return KILN_TILE_TWO(T, uint8_t, a < b);
    case TileOp::kLe: return KILN_TILE_TWO(T, uint8_t, a <= b);
    case TileOp::kGt: return KILN_TILE_TWO(T, uint8_t, a > b);
    case TileOp::kGe: return KILN_TILE_TWO(T, uint8_t, a >= b);
    default: return nullptr;
  }
}

template <typename T>
StepFn find_float(const StepKey& key) {
  switch (key.op) {
    case TileOp::kIsNan: return KILN_TILE_ONE(T, uint8_t, std::isnan(x));
    case TileOp::kIsInf: return KILN_TILE_ONE(T, uint8_t, std::isinf(x));
    case TileOp::kIsFinite: return KILN_TILE_ONE(T, uint8_t, std::isfinite(x));
    case TileOp::kFloorDiv: return KILN_TILE_TWO(T, T, floor_divide(a, b));
    case TileOp::kTruncDiv: return KILN_TILE_TWO(T, T, std::trunc(a / b));
    case TileOp::kRemainder: return KILN_TILE_TWO(T, T, python_remainder(a, b));
    case TileOp::kFmod: return KILN_TILE_TWO(T, T, std::fmod(a, b));
    case TileOp::kPow: return KILN_TILE_TWO(T, T, std::pow(a, b));
    case TileOp::kAtan2: return KILN_TILE_TWO(T, T, std::atan2(a, b));
    default:
      if (const StepFn fn = find_compare<T>(key.op)) return fn;
      return find_float_unary<T>(key.op);
  }
}

// i64 arithmetic wraps.
int64_t add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
int64_t sub(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
int64_t mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
int64_t shift_left(int64_t a, int64_t n) {
  return n < 0 || n > 63 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a) << n);
}
int64_t shift_right(int64_t a, int64_t n) { return a >> (n < 0 || n > 63 ? 63 : n); }

// Division family; b != 0. INT64_MIN / -1 wraps.
template <TileOp kOp>
int64_t divide(int64_t a, int64_t b) {
  if (b == -1) return kOp == TileOp::kFloorDiv || kOp == TileOp::kTruncDiv ? sub(0, a) : 0;
  const int64_t quotient = a / b, rest = a % b;
  const bool adjust = rest != 0 && (rest < 0) != (b < 0);
  switch (kOp) {
    case TileOp::kFloorDiv: return quotient - adjust;
    case TileOp::kTruncDiv: return quotient;
    case TileOp::kRemainder: return adjust ? rest + b : rest;
    default: return rest;
  }
}

template <TileOp kOp>
void run_divide(const Step& step, TileState& state) {
  bool by_zero = false;
  map_two<int64_t, int64_t>(step, state, [&](int64_t a, int64_t b) {
    if (b != 0) return divide<kOp>(a, b);
    by_zero = true;
    return int64_t{0};
  });
  if (by_zero && state.failure.kind == FailureKind::kNone)
    state.failure = {FailureKind::kDivisionByZero, step.instr, 0, 0};
}

StepFn find_i64(const StepKey& key) {
  using I = int64_t;
  switch (key.op) {
    case TileOp::kNeg: return KILN_TILE_ONE(I, I, sub(0, x));
    case TileOp::kAbs: return KILN_TILE_ONE(I, I, x < 0 ? sub(0, x) : x);
    case TileOp::kSign: return KILN_TILE_ONE(I, I, (x > 0) - (x < 0));
    case TileOp::kRelu: return KILN_TILE_ONE(I, I, x < 0 ? 0 : x);
    case TileOp::kBitwiseNot: return KILN_TILE_ONE(I, I, ~x);
    case TileOp::kAdd: return KILN_TILE_TWO(I, I, add(a, b));
    case TileOp::kSub: return KILN_TILE_TWO(I, I, sub(a, b));
    case TileOp::kMul: return KILN_TILE_TWO(I, I, mul(a, b));
    case TileOp::kFloorDiv: return run_divide<TileOp::kFloorDiv>;
    case TileOp::kTruncDiv: return run_divide<TileOp::kTruncDiv>;
    case TileOp::kRemainder: return run_divide<TileOp::kRemainder>;
    case TileOp::kFmod: return run_divide<TileOp::kFmod>;
    case TileOp::kPow: return KILN_TILE_TWO(I, I, wrapping_power(a, b));
    case TileOp::kMax: return KILN_TILE_TWO(I, I, std::max(a, b));
    case TileOp::kMin: return KILN_TILE_TWO(I, I, std::min(a, b));
    case TileOp::kAnd: return KILN_TILE_TWO(I, I, a & b);
    case TileOp::kOr: return KILN_TILE_TWO(I, I, a | b);
    case TileOp::kXor: return KILN_TILE_TWO(I, I, a ^ b);
    case TileOp::kShl: return KILN_TILE_TWO(I, I, shift_left(a, b));
    case TileOp::kShr: return KILN_TILE_TWO(I, I, shift_right(a, b));
    default: return find_compare<I>(key.op);
  }
}

StepFn find_bool(const StepKey& key) {
  using B = uint8_t;
  switch (key.op) {
    case TileOp::kLogicalNot: return KILN_TILE_ONE(B, B, x ^ 1);
    case TileOp::kAnd: return KILN_TILE_TWO(B, B, a & b);
    case TileOp::kOr: return KILN_TILE_TWO(B, B, a | b);
    case TileOp::kXor: return KILN_TILE_TWO(B, B, a ^ b);
    default: return find_compare<B>(key.op);
  }
}

template <typename T>
void run_select(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  const int64_t step0 = step.scalar_mask & 1 ? 0 : 1, step1 = step.scalar_mask & 2 ? 0 : 1,
                step2 = step.scalar_mask & 4 ? 0 : 1;
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const uint8_t* condition = row_of<uint8_t>(state.views[step.src[0]], r);
    const T* a = row_of<T>(state.views[step.src[1]], r);
    const T* b = row_of<T>(state.views[step.src[2]], r);
    T* out = row_of<T>(state.views[step.dst], r);
    for (int64_t c = 0; c < bounds.cols; ++c)
      out[c] = condition[c * step0] ? a[c * step1] : b[c * step2];
  }
}

template <typename T>
void run_const(const Step& step, TileState& state) {
  T* out = row_of<T>(state.views[step.dst], 0);
  if constexpr (std::is_floating_point_v<T>)
    *out = static_cast<T>(step.params[0]);
  else
    *out = static_cast<T>(step.integer);
}

template <typename T, bool kScalar>
void run_broadcast(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const T* a = row_of<T>(state.views[step.src[0]], r);
    T* out = row_of<T>(state.views[step.dst], r);
    if (kScalar)
      std::fill_n(out, bounds.cols, *a);
    else
      std::memcpy(out, a, static_cast<size_t>(bounds.cols) * sizeof(T));
  }
}

void run_iota(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  int64_t* out = row_of<int64_t>(state.views[step.dst], 0);
  const int64_t first = step.integer == kIotaCols   ? state.col0
                        : step.integer == kIotaRows ? state.row0
                                                    : state.outer0;
  for (int64_t i = 0; i < bounds.cols; ++i)
    out[i] = (first + i) / step.walk_inner % step.walk_extent;
}

void run_gather_offsets(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    int64_t* out = row_of<int64_t>(state.views[step.dst], r);
    for (int k = 0; k < step.gather.count; ++k) {
      const int64_t* index = row_of<int64_t>(state.views[step.src[k]], r);
      const int64_t advance = step.scalar_mask >> k & 1 ? 0 : 1;
      const int64_t size = step.gather.size[k], stride = step.gather.stride_bytes[k];
      for (int64_t c = 0; c < bounds.cols; ++c) {
        const int64_t given = index[c * advance];
        int64_t i = given < 0 ? add(given, size) : given;
        if (i < 0 || i >= size) [[unlikely]] {
          if (state.failure.kind == FailureKind::kNone)
            state.failure = {FailureKind::kIndexOutOfRange, step.instr, given, size};
          i = 0;
        }
        out[c] = (k == 0 ? 0 : out[c]) + i * stride;
      }
    }
  }
}

}  // namespace

StepFn find_scalar_kernel(const StepKey& key) {
  if (key.op == TileOp::kSelect) {
    switch (lane_bytes(key.type)) {
      case 4: return run_select<uint32_t>;
      case 8: return run_select<uint64_t>;
      default: return run_select<uint8_t>;
    }
  }
  switch (key.type) {
    case LaneType::kF32: return find_float<float>(key);
    case LaneType::kF64: return find_float<double>(key);
    case LaneType::kI64: return find_i64(key);
    case LaneType::kBool: return find_bool(key);
  }
  return nullptr;
}

StepFn iota_kernel() { return run_iota; }

StepFn const_kernel(LaneType type) {
  switch (type) {
    case LaneType::kF32: return run_const<float>;
    case LaneType::kF64: return run_const<double>;
    case LaneType::kI64: return run_const<int64_t>;
    case LaneType::kBool: return run_const<uint8_t>;
  }
  return nullptr;
}

StepFn broadcast_kernel(LaneType type, bool scalar) {
  switch (lane_bytes(type)) {
    case 4: return scalar ? run_broadcast<uint32_t, true> : run_broadcast<uint32_t, false>;
    case 8: return scalar ? run_broadcast<uint64_t, true> : run_broadcast<uint64_t, false>;
    default: return scalar ? run_broadcast<uint8_t, true> : run_broadcast<uint8_t, false>;
  }
}

StepFn gather_offset_kernel() { return run_gather_offsets; }

}  // namespace kiln::cpu::tile
