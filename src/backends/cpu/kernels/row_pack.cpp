#include "backends/cpu/kernels/row_pack.h"

// Kernels for each SIMD target: this file is compiled again for each by foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/row_pack.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include <algorithm>
#include <bit>

#include "base/parallel_for.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kBlock = 16;  // rows and columns at a time: a cache line each

template <bool kStream, class D>
HWY_INLINE void store(hn::Vec<D> value, D d, uint32_t* to) {
  if constexpr (kStream) {
    hn::Stream(value, d, to);
  } else {
    hn::Store(value, d, to);
  }
}

template <bool kScale, class D>
HWY_INLINE hn::Vec<D> load(D d, const uint32_t* from, const float* scale) {
  const auto value = hn::LoadU(d, from);
  if constexpr (!kScale) return value;
  const hn::RebindToFloat<D> df;
  return hn::BitCast(d, hn::Mul(hn::BitCast(df, value), hn::Set(df, *scale)));
}

template <bool kScale>
HWY_INLINE uint32_t load_one(const uint32_t* from, const float* scale) {
  if constexpr (!kScale) return *from;
  return std::bit_cast<uint32_t>(std::bit_cast<float>(*from) * *scale);
}

// Columns [0, lanes) of as many rows; `scale` is that of the first one.
template <bool kStream, bool kScale, class D>
HWY_INLINE void transpose(D d, const uint32_t* src, int64_t row_stride, const float* scale,
                          uint32_t* dst, const int64_t* offsets) {
#if HWY_TARGET == HWY_SCALAR
  dst[offsets[0]] = load_one<kScale>(src, scale);
#else
  constexpr size_t kLanes = hn::MaxLanes(D());
  constexpr size_t kGroups = kLanes / 4;
  // v[g][j]: of columns j, 4 + j, 8 + j, ... the rows 4 g to 4 g + 3, one after the other.
  hn::Vec<D> v[kGroups][4];
  for (size_t g = 0; g < kGroups; ++g) {
    const uint32_t* s = src + static_cast<int64_t>(4 * g) * row_stride;
    const float* f = kScale ? scale + 4 * g : nullptr;
    const auto r0 = load<kScale>(d, s, f), r1 = load<kScale>(d, s + row_stride, f + 1);
    const auto r2 = load<kScale>(d, s + 2 * row_stride, f + 2);
    const auto r3 = load<kScale>(d, s + 3 * row_stride, f + 3);
    const auto low02 = hn::InterleaveLower(d, r0, r2), low13 = hn::InterleaveLower(d, r1, r3);
    const auto high02 = hn::InterleaveUpper(d, r0, r2), high13 = hn::InterleaveUpper(d, r1, r3);
    v[g][0] = hn::InterleaveLower(d, low02, low13);
    v[g][1] = hn::InterleaveUpper(d, low02, low13);
    v[g][2] = hn::InterleaveLower(d, high02, high13);
    v[g][3] = hn::InterleaveUpper(d, high02, high13);
  }
  for (size_t j = 0; j < 4; ++j) {
    if constexpr (kGroups == 1) {
      store<kStream>(v[0][j], d, dst + offsets[j]);
    } else {
      // Blocks of 128 bits: the even and the odd ones of two vectors in turns.
      const auto even = [](auto a, auto b) {
        return hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a);
      };
      const auto odd = [](auto a, auto b) {
        return hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a));
      };
      if constexpr (kGroups == 2) {
        store<kStream>(even(v[0][j], v[1][j]), d, dst + offsets[j]);
        store<kStream>(odd(v[0][j], v[1][j]), d, dst + offsets[4 + j]);
      } else {
        const auto even01 = even(v[0][j], v[1][j]), even23 = even(v[2][j], v[3][j]);
        const auto odd01 = odd(v[0][j], v[1][j]), odd23 = odd(v[2][j], v[3][j]);
        store<kStream>(hn::ConcatLowerLower(d, even23, even01), d, dst + offsets[j]);
        store<kStream>(hn::ConcatLowerLower(d, odd23, odd01), d, dst + offsets[4 + j]);
        store<kStream>(hn::ConcatUpperUpper(d, even23, even01), d, dst + offsets[8 + j]);
        store<kStream>(hn::ConcatUpperUpper(d, odd23, odd01), d, dst + offsets[12 + j]);
      }
    }
  }
#endif
}

// One group, `rows` of which are there; `scale` is that of its first row.
template <bool kStream, bool kScale>
void pack_group(const RowPackParams& p, const uint32_t* src, const float* scale, uint32_t* dst,
                int64_t rows) {
  const hn::CappedTag<uint32_t, kBlock> d;
  const auto lanes = static_cast<int64_t>(hn::MaxLanes(d));
  const auto columns = static_cast<int64_t>(p.column_offsets.size());
  const int64_t* offsets = p.column_offsets.data();
  for (int64_t c = 0; c < columns; c += kBlock) {
    const int64_t count = std::min(kBlock, columns - c);
    for (int64_t r = 0; r < p.group; r += kBlock) {
      const uint32_t* from = src + r * p.row_stride + c;
      const int64_t there = std::clamp<int64_t>(rows - r, 0, kBlock);
      if (there < kBlock || count < kBlock) {
        for (int64_t k = 0; k < count; ++k) {
          uint32_t* to = dst + offsets[c + k] + r;
          for (int64_t i = 0; i < there; ++i) {
            to[i] = load_one<kScale>(from + i * p.row_stride + k, kScale ? scale + r + i : nullptr);
          }
          std::fill_n(to + there, kBlock - there, 0u);
        }
        continue;
      }
      // The next columns of these rows: they are too many streams for the processor to foresee.
      for (int64_t i = 0; i < kBlock; ++i) hwy::Prefetch(from + i * p.row_stride + kBlock);
      for (int64_t k = 0; k < kBlock; k += lanes) {
        for (int64_t i = 0; i < kBlock; i += lanes) {
          transpose<kStream, kScale>(d, from + i * p.row_stride + k, p.row_stride,
                                     kScale ? scale + r + i : nullptr, dst + r + i,
                                     offsets + c + k);
        }
      }
    }
  }
  if (kStream) hwy::FlushStream();
}

template <bool kStream, bool kScale>
void pack_groups(const RowPackParams& p, const uint32_t* src, const float* scale, uint32_t* dst,
                 int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g) {
    pack_group<kStream, kScale>(p, src + g * p.group * p.row_stride,
                                kScale ? scale + g * p.group : nullptr, dst + g * p.group_stride,
                                std::min(p.group, p.rows - g * p.group));
  }
}

void pack_any_groups(const RowPackParams& p, const uint32_t* src, const float* scale,
                     uint32_t* dst, int64_t begin, int64_t end) {
  // Smaller results stay in the caches.
  constexpr int64_t kStreamBytes = int64_t{256} << 10;
  const auto columns = static_cast<int64_t>(p.column_offsets.size());
  const bool stream = p.rows * columns * 4 >= kStreamBytes;
  const auto pack = stream ? (scale ? pack_groups<true, true> : pack_groups<true, false>)
                           : (scale ? pack_groups<false, true> : pack_groups<false, false>);
  pack(p, src, scale, dst, begin, end);
}

void scale_row(const float* src, float scale, int64_t columns, float* dst) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, scale);
  int64_t c = 0;
  for (; c + lanes <= columns; c += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, src + c), factor), d, dst + c);
  }
  for (; c < columns; ++c) dst[c] = src[c] * scale;
}

}  // namespace
}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {
namespace {
HWY_EXPORT(pack_any_groups);
HWY_EXPORT(scale_row);
}

void pack_rows(const RowPackParams& params, const void* src, void* dst, const float* scale) {
  const int64_t groups = (params.rows + params.group - 1) / params.group;
  parallel_for(groups, 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(pack_any_groups)(params, static_cast<const uint32_t*>(src), scale,
                                          static_cast<uint32_t*>(dst), begin, end);
  });
}

void scale_rows(const float* src, const float* scale, int64_t rows, int64_t columns, float* dst) {
  constexpr int64_t kGrain = int64_t{1} << 16;  // elements: less is not worth a thread
  const auto run = HWY_DYNAMIC_DISPATCH(scale_row);
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   run(src + r * columns, scale[r], columns, dst + r * columns);
                 }
               });
}

}  // namespace kiln::cpu
#endif
