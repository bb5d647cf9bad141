// Memory kernels of the tile virtual machine: load, store, gather, cast, rounding to a stored type.
#include <cmath>
#include <limits>
#include <type_traits>

#include "backends/cpu/kernels/tile_vm_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/tile_vm_memory.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "backends/cpu/kernels/half-inl.h"
#include "backends/cpu/kernels/tile_vm_loops-inl.h"

// Types and conversions that do not depend on the target.
#ifndef KILN_TILE_VM_MEMORY_ONCE_
#define KILN_TILE_VM_MEMORY_ONCE_
namespace kiln::cpu::tile {
namespace {

struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};
struct Bool {
  uint8_t byte;
};

inline float bfloat_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

// What an element is as a number.
template <typename S>
inline auto number(S stored) {
  if constexpr (std::is_same_v<S, Half>)
    return f16_to_f32(stored.bits);
  else if constexpr (std::is_same_v<S, Bfloat>)
    return bfloat_value(stored.bits);
  else if constexpr (std::is_same_v<S, Bool>)
    return static_cast<int64_t>(stored.byte != 0);
  else if constexpr (std::is_integral_v<S>)
    return static_cast<int64_t>(stored);
  else
    return stored;
}

template <typename F>
inline int64_t truncated(F value) {
  constexpr F kLimit = static_cast<F>(9223372036854775808.0);
  return value >= -kLimit && value < kLimit ? static_cast<int64_t>(value)
                                            : std::numeric_limits<int64_t>::min();
}

// A number as an element: the inverse of number(), with the conversions of TileOp::kCast.
template <typename S, typename N>
inline S stored(N n) {
  if constexpr (std::is_same_v<S, Half>)
    return {f32_to_f16(static_cast<float>(n))};
  else if constexpr (std::is_same_v<S, Bfloat>)
    return {f32_to_bf16(static_cast<float>(n))};
  else if constexpr (std::is_same_v<S, Bool>)
    return {static_cast<uint8_t>(n != 0)};
  else if constexpr (std::is_floating_point_v<S>)
    return static_cast<S>(n);
  else if constexpr (std::is_floating_point_v<N>)
    return static_cast<S>(truncated(n));
  else
    return static_cast<S>(n);
}

template <typename From, typename To>
inline To converted(From from) {
  if constexpr (std::is_same_v<From, To> && !std::is_same_v<From, Bool>)
    return from;
  else
    return stored<To>(number(from));
}

// Calls fn(element offset, column, count, stride) for each run of the columns [col0, col0 + cols).
template <class Fn>
inline void for_each_run(const MemoryWalk& walk, int64_t col0, int64_t cols, Fn fn) {
  if (cols <= 0) return;  // an operand without elements may have no memory
  if (walk.dims == 1) {
    fn(int64_t{0}, int64_t{0}, cols, walk.col_stride);
    return;
  }
  int64_t index[kMaxTileRank], offset = 0, rest = col0;
  for (int d = walk.dims - 1; d >= 0; --d) {
    index[d] = rest % walk.cols[d].extent;
    rest /= walk.cols[d].extent;
    offset += index[d] * walk.cols[d].stride;
  }
  const WalkDim& inner = walk.cols[walk.dims - 1];
  int64_t position = index[walk.dims - 1];
  for (int64_t done = 0; done < cols;) {
    const int64_t left = inner.extent - position;
    const int64_t count = left < cols - done ? left : cols - done;
    fn(offset, done, count, inner.stride);
    done += count;
    offset -= position * inner.stride;
    position = 0;
    for (int d = walk.dims - 2; d >= 0; --d) {
      offset += walk.cols[d].stride;
      if (++index[d] < walk.cols[d].extent) break;
      offset -= walk.cols[d].extent * walk.cols[d].stride;
      index[d] = 0;
    }
  }
}

}  // namespace
}  // namespace kiln::cpu::tile
#endif  // KILN_TILE_VM_MEMORY_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::tile {
namespace HWY_NAMESPACE {
namespace {

using cpu::HWY_NAMESPACE::bf16_bits;
using cpu::HWY_NAMESPACE::kVectorHalf;

// 16-bit floats to f32 and back, n elements.
template <class D>
HWY_INLINE hn::Vec<D> widen(D d, const Bfloat* from) {
  return cpu::HWY_NAMESPACE::widen_bf16(d, &from->bits);
}
template <class D>
HWY_INLINE hn::Vec<D> widen(D d, const Half* from) {
  return cpu::HWY_NAMESPACE::widen_f16(d, &from->bits);
}
template <class D>
HWY_INLINE void narrow(D d, hn::Vec<D> v, Bfloat* to) {
  cpu::HWY_NAMESPACE::narrow_bf16(d, v, &to->bits);
}
template <class D>
HWY_INLINE void narrow(D d, hn::Vec<D> v, Half* to) {
  cpu::HWY_NAMESPACE::narrow_f16(d, v, &to->bits);
}

template <typename From, typename To>
HWY_INLINE void convert_run(const From* from, To* to, int64_t n) {
  int64_t i = 0;
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  (void)lanes;
  constexpr bool kFrom16 =
      std::is_same_v<From, Bfloat> || (std::is_same_v<From, Half> && kVectorHalf);
  constexpr bool kTo16 = std::is_same_v<To, Bfloat> || (std::is_same_v<To, Half> && kVectorHalf);
  if constexpr (std::is_same_v<From, To>) {
    // Tensors without elements may have no address.
    if (n > 0 && to != from) std::memcpy(to, from, static_cast<size_t>(n) * sizeof(From));
    return;
  } else if constexpr (kFrom16 && std::is_same_v<To, float>) {
    for (; i + lanes <= n; i += lanes) hn::StoreU(widen(d, from + i), d, to + i);
  } else if constexpr (kTo16 && std::is_same_v<From, float>) {
    for (; i + lanes <= n; i += lanes) narrow(d, hn::LoadU(d, from + i), to + i);
  }
  for (; i < n; ++i) to[i] = converted<From, To>(from[i]);
}

template <typename From, typename To>
HWY_INLINE void load_run(const From* from, int64_t stride, To* to, int64_t n) {
  if (stride == 1) {
    convert_run(from, to, n);
  } else if (stride == 0) {
    const To value = converted<From, To>(*from);
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = converted<From, To>(from[i * stride]);
  }
}

template <typename From, typename To>
void load(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const From* from = row_of<From>(state.views[step.src[0]], r);
    To* to = row_of<To>(state.views[step.dst], r);
    for_each_run(step.memory, state.col0, bounds.cols,
                 [&](int64_t offset, int64_t col, int64_t n, int64_t stride)
                     HWY_ATTR { load_run(from + offset, stride, to + col, n); });
  }
}

// 4-byte elements whose neighbours in memory belong to neighbouring rows: 4 x 4 blocks.
void load_transposed(const Step& step, TileState& state) {
  const hn::FixedTag<float, 4> d;
  const Bounds bounds = bounds_of(step, state);
  const View& from = state.views[step.src[0]];
  const View& to = state.views[step.dst];
  const int64_t stride = step.memory.col_stride;
  int64_t r = 0;
  while (r < bounds.rows) {
    const bool block = r + 4 <= bounds.rows && from.rows[r + 1] == from.rows[r] + 4 &&
                       from.rows[r + 2] == from.rows[r] + 8 &&
                       from.rows[r + 3] == from.rows[r] + 12;
    const float* a = row_of<float>(from, r);
    if (!block) {
      load_run(a, stride, row_of<float>(to, r), bounds.cols);
      ++r;
      continue;
    }
    float* out0 = row_of<float>(to, r);
    float* out1 = row_of<float>(to, r + 1);
    float* out2 = row_of<float>(to, r + 2);
    float* out3 = row_of<float>(to, r + 3);
    int64_t c = 0;
    for (; c + 4 <= bounds.cols; c += 4) {
      const auto v0 = hn::LoadU(d, a + c * stride);
      const auto v1 = hn::LoadU(d, a + (c + 1) * stride);
      const auto v2 = hn::LoadU(d, a + (c + 2) * stride);
      const auto v3 = hn::LoadU(d, a + (c + 3) * stride);
      const auto low02 = hn::InterleaveLower(d, v0, v2);
      const auto low13 = hn::InterleaveLower(d, v1, v3);
      const auto high02 = hn::InterleaveUpper(d, v0, v2);
      const auto high13 = hn::InterleaveUpper(d, v1, v3);
      hn::StoreU(hn::InterleaveLower(d, low02, low13), d, out0 + c);
      hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, out1 + c);
      hn::StoreU(hn::InterleaveLower(d, high02, high13), d, out2 + c);
      hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, out3 + c);
    }
    for (; c < bounds.cols; ++c) {
      out0[c] = a[c * stride];
      out1[c] = a[c * stride + 1];
      out2[c] = a[c * stride + 2];
      out3[c] = a[c * stride + 3];
    }
    r += 4;
  }
}

template <typename From, typename To>
void store(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const From* from = row_of<From>(state.views[step.src[0]], r);
    To* to = row_of<To>(state.views[step.dst], r);
    for_each_run(step.memory, state.col0, bounds.cols,
                 [&](int64_t offset, int64_t col, int64_t n, int64_t stride) HWY_ATTR {
                   if (stride == 1) {
                     convert_run(from + col, to + offset, n);
                   } else {
                     for (int64_t i = 0; i < n; ++i)
                       to[offset + i * stride] = converted<From, To>(from[col + i]);
                   }
                 });
  }
}

template <typename From, typename To>
void cast(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r)
    convert_run(row_of<From>(state.views[step.src[0]], r), row_of<To>(state.views[step.dst], r),
                bounds.cols);
}

template <typename From, typename To, bool kScalar>
void gather(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const char* from = row_of<char>(state.views[step.src[0]], r);
    const int64_t* offsets = row_of<int64_t>(state.views[step.src[1]], r);
    To* to = row_of<To>(state.views[step.dst], r);
    for_each_run(
        step.memory, state.col0, bounds.cols,
        [&](int64_t offset, int64_t col, int64_t n, int64_t stride) HWY_ATTR {
          const From* run = reinterpret_cast<const From*>(from) + offset;
          if constexpr (kScalar) {
            load_run(reinterpret_cast<const From*>(reinterpret_cast<const char*>(run) + *offsets),
                     stride, to + col, n);
          } else {
            for (int64_t i = 0; i < n; ++i)
              to[col + i] = converted<From, To>(*reinterpret_cast<const From*>(
                  reinterpret_cast<const char*>(run + i * stride) + offsets[col + i]));
          }
        });
  }
}

// Rounds lanes T through the stored type S.
template <typename T, typename S>
void round_to(const Step& step, TileState& state) {
  const Bounds bounds = bounds_of(step, state);
  for (int64_t r = 0; r < bounds.rows; ++r) {
    const T* from = row_of<T>(state.views[step.src[0]], r);
    T* to = row_of<T>(state.views[step.dst], r);
    int64_t i = 0;
    if constexpr (std::is_same_v<T, float>) {
      const hn::ScalableTag<float> d;
      const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
      if constexpr (std::is_same_v<S, Bfloat>) {
        for (; i + lanes <= bounds.cols; i += lanes)
          hn::StoreU(hn::BitCast(d, bf16_bits(d, hn::LoadU(d, from + i))), d, to + i);
      } else if constexpr (std::is_same_v<S, Half> && kVectorHalf) {
        const hn::Rebind<hwy::float16_t, decltype(d)> df16;
        for (; i + lanes <= bounds.cols; i += lanes)
          hn::StoreU(hn::PromoteTo(d, hn::DemoteTo(df16, hn::LoadU(d, from + i))), d, to + i);
      }
    }
    for (; i < bounds.cols; ++i) to[i] = static_cast<T>(number(stored<S>(from[i])));
  }
}

// Calls fn.operator()<S>() with the C++ type of a stored type.
template <class Fn>
StepFn with_storage(DType dtype, Fn fn) {
  switch (dtype) {
    case DType::kF32: return fn.template operator()<float>();
    case DType::kF64: return fn.template operator()<double>();
    case DType::kF16: return fn.template operator()<Half>();
    case DType::kBF16: return fn.template operator()<Bfloat>();
    case DType::kI8: return fn.template operator()<int8_t>();
    case DType::kU8: return fn.template operator()<uint8_t>();
    case DType::kI16: return fn.template operator()<int16_t>();
    case DType::kI32: return fn.template operator()<int32_t>();
    case DType::kI64: return fn.template operator()<int64_t>();
    case DType::kBool: return fn.template operator()<Bool>();
  }
  return nullptr;
}

template <class Fn>
StepFn with_lanes(LaneType type, Fn fn) {
  switch (type) {
    case LaneType::kF32: return fn.template operator()<float>();
    case LaneType::kF64: return fn.template operator()<double>();
    case LaneType::kI64: return fn.template operator()<int64_t>();
    case LaneType::kBool: return fn.template operator()<Bool>();
  }
  return nullptr;
}

}  // namespace

StepFn find_memory(const StepKey& key) {
  switch (key.op) {
    case TileOp::kLoad:
      if (key.transposed && key.storage == DType::kF32 && key.type == LaneType::kF32)
        return load_transposed;
      return with_storage(key.storage, [&]<typename S>() {
        return with_lanes(key.type, []<typename T>() -> StepFn { return load<S, T>; });
      });
    case TileOp::kStore:
      return with_storage(key.storage, [&]<typename S>() {
        return with_lanes(key.type, []<typename T>() -> StepFn { return store<T, S>; });
      });
    case TileOp::kCast:
      return with_lanes(key.type, [&]<typename From>() {
        return with_lanes(key.result, []<typename To>() -> StepFn { return cast<From, To>; });
      });
    case TileOp::kRoundTo:
      if (key.type == LaneType::kI64)
        return with_storage(key.storage,
                            []<typename S>() -> StepFn { return round_to<int64_t, S>; });
      if (key.type == LaneType::kF64)
        return with_storage(key.storage,
                            []<typename S>() -> StepFn { return round_to<double, S>; });
      return with_storage(key.storage, []<typename S>() -> StepFn { return round_to<float, S>; });
    default: return nullptr;
  }
}

StepFn find_gather(DType storage, LaneType type, bool scalar) {
  return with_storage(storage, [&]<typename S>() {
    return with_lanes(type, [&]<typename T>() -> StepFn {
      return scalar ? gather<S, T, true> : gather<S, T, false>;
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace kiln::cpu::tile
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu::tile {

HWY_EXPORT(find_memory);
HWY_EXPORT(find_gather);

StepFn find_memory_kernel(const StepKey& key) { return HWY_DYNAMIC_DISPATCH(find_memory)(key); }

StepFn gather_kernel(DType storage, LaneType type, bool scalar) {
  return HWY_DYNAMIC_DISPATCH(find_gather)(storage, type, scalar);
}

}  // namespace kiln::cpu::tile
#endif  // HWY_ONCE
