#include "backends/cpu/kernels/pool.h"

// Kernels for each SIMD target: this file is compiled again for each by foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/pool.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include <algorithm>
#include <limits>
#include <string>

#include "backends/cpu/kernels/block_sizes.h"
#include "backends/cpu/kernels/element.h"
#include "base/parallel_for.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Input positions of one output position along one dim.
struct Window {
  int64_t begin, end, step;  // within the input
  int64_t padded;            // positions that count in the divisor with count_include_pad
};

Window window_of(const PoolParams& p, int d, int64_t o) {
  const int64_t in = p.in_sizes[d], out = p.out_sizes[d];
  if (p.kind == PoolKind::kAdaptiveMax || p.kind == PoolKind::kAdaptiveAverage) {
    const int64_t begin = o * in / out, end = ((o + 1) * in + out - 1) / out;
    return {begin, end, 1, end - begin};
  }
  const int64_t step = p.dilation[d];
  int64_t begin = o * p.stride[d] - p.padding[d];
  int64_t end = begin + (p.kernel[d] - 1) * step + 1;
  // A window may reach beyond the padding (ceil_mode); what is there never counts.
  const int64_t padded = std::min(end, in + p.padding[d]) - begin;
  if (begin < 0) begin += ceil_div(-begin, step) * step;
  return {begin, std::min(end, in), step, padded};
}

struct Region {
  Window w[3];
  int64_t inside = 1, divisor = 1;

  Region(const PoolParams& p, int64_t o0, int64_t o1, int64_t o2)
      : w{window_of(p, 0, o0), window_of(p, 1, o1), window_of(p, 2, o2)} {
    int64_t padded = 1;
    for (const Window& x : w) {
      inside *= x.end > x.begin ? ceil_div(x.end - x.begin, x.step) : 0;
      padded *= x.padded;
    }
    divisor = p.divisor != 0 ? p.divisor : p.count_include_pad ? padded : inside;
  }

  template <class Body>
  HWY_INLINE void each(const PoolParams& p, Body&& body) const {
    for (int64_t i = w[0].begin; i < w[0].end; i += w[0].step) {
      for (int64_t j = w[1].begin; j < w[1].end; j += w[1].step) {
        int64_t at = i * p.in_strides[2] + j * p.in_strides[3] + w[2].begin * p.in_strides[4];
        for (int64_t k = w[2].begin; k < w[2].end; k += w[2].step) {
          body(at, (i * p.in_sizes[1] + j) * p.in_sizes[2] + k);
          at += w[2].step * p.in_strides[4];
        }
      }
    }
  }
};

template <class T>
T pool_max(const PoolParams& p, const Region& region, const T* in, int64_t* index) {
  T best = -std::numeric_limits<T>::infinity();
  int64_t place = -1;
  region.each(p, [&](int64_t at, int64_t position) {
    const T value = in[at];
    if (place < 0 || value > best || is_nan(value)) {
      best = value;
      place = position;
    }
  });
  if (index != nullptr) *index = std::max<int64_t>(place, 0);
  return best;
}

template <class T>
T pool_average(const PoolParams& p, const Region& region, const T* in) {
  T sum = 0;
  region.each(p, [&](int64_t at, int64_t) { sum += in[at]; });
  return sum / static_cast<T>(region.divisor);
}

// kVecs vectors of channels of one window.
template <class T, bool kMax, int kVecs>
HWY_NOINLINE void pool_vectors(const PoolParams& p, const Region& region, const T* in, T* out) {
  const hn::ScalableTag<T> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto start = hn::Set(d, kMax ? -std::numeric_limits<T>::infinity() : T(0));
  auto a0 = start, a1 = start, a2 = start, a3 = start;
  // A NaN stays: it is taken when it comes, and nothing compares greater than it.
  auto take = [d](auto acc, const T* from) HWY_ATTR {
    const auto v = hn::LoadU(d, from);
    if constexpr (kMax) {
      return hn::IfThenElse(hn::Or(hn::Gt(v, acc), hn::IsNaN(v)), v, acc);
    } else {
      return hn::Add(acc, v);
    }
  };
  for (int64_t i = region.w[0].begin; i < region.w[0].end; i += region.w[0].step) {
    for (int64_t j = region.w[1].begin; j < region.w[1].end; j += region.w[1].step) {
      const T* row = in + i * p.in_strides[2] + j * p.in_strides[3];
      for (int64_t k = region.w[2].begin; k < region.w[2].end; k += region.w[2].step) {
        const T* from = row + k * p.in_strides[4];
        a0 = take(a0, from);
        if constexpr (kVecs == 4) {
          a1 = take(a1, from + n);
          a2 = take(a2, from + 2 * n);
          a3 = take(a3, from + 3 * n);
        }
      }
    }
  }
  if constexpr (!kMax) {
    const auto divisor = hn::Set(d, static_cast<T>(region.divisor));
    a0 = hn::Div(a0, divisor);
    if constexpr (kVecs == 4) {
      a1 = hn::Div(a1, divisor);
      a2 = hn::Div(a2, divisor);
      a3 = hn::Div(a3, divisor);
    }
  }
  hn::StoreU(a0, d, out);
  if constexpr (kVecs == 4) {
    hn::StoreU(a1, d, out + n);
    hn::StoreU(a2, d, out + 2 * n);
    hn::StoreU(a3, d, out + 3 * n);
  }
}

// Channels [begin, end) of one output position.
template <class T, bool kMax>
HWY_NOINLINE void pool_position(const PoolParams& p, const Region& region, int64_t begin,
                                int64_t end, const T* in, T* out, int64_t* indices) {
  int64_t c = begin;
  if (p.in_strides[1] == 1 && p.out_strides[1] == 1 && indices == nullptr) {
    const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
    for (; c + 4 * n <= end; c += 4 * n) pool_vectors<T, kMax, 4>(p, region, in + c, out + c);
    for (; c + n <= end; c += n) pool_vectors<T, kMax, 1>(p, region, in + c, out + c);
    if (c < end && end - begin >= n) {  // the last vector does some channels again
      c = end - n;
      pool_vectors<T, kMax, 1>(p, region, in + c, out + c);
      return;
    }
  }
  for (; c < end; ++c) {
    const T* from = in + c * p.in_strides[1];
    T& to = out[c * p.out_strides[1]];
    if constexpr (kMax) {
      to = pool_max(p, region, from,
                    indices == nullptr ? nullptr : indices + c * p.index_strides[1]);
    } else {
      to = pool_average(p, region, from);
    }
  }
}

template <class T, bool kMax>
void run(const PoolParams& p, const T* in, T* out, int64_t* indices) {
  constexpr int64_t kChannels = 256;  // of one unit
  const int64_t blocks = ceil_div(p.channels, kChannels);
  const int64_t positions = p.out_sizes[0] * p.out_sizes[1] * p.out_sizes[2];
  auto each = [&](int64_t b, int64_t at, int64_t c0, int64_t c1) {
    const int64_t o0 = at / (p.out_sizes[1] * p.out_sizes[2]);
    const int64_t o1 = at / p.out_sizes[2] % p.out_sizes[1], o2 = at % p.out_sizes[2];
    auto place = [&](const std::array<int64_t, 5>& s) {
      return b * s[0] + o0 * s[2] + o1 * s[3] + o2 * s[4];
    };
    pool_position<T, kMax>(p, Region(p, o0, o1, o2), c0, c1, in + b * p.in_strides[0],
                           out + place(p.out_strides),
                           indices == nullptr ? nullptr : indices + place(p.index_strides));
  };
  if (p.in_strides[1] == 1) {  // channels innermost: position by position
    parallel_for(p.batch * positions * blocks, 8, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t c0 = unit % blocks * kChannels;
        each(unit / blocks / positions, unit / blocks % positions, c0,
             std::min(p.channels, c0 + kChannels));
      }
    });
  } else {  // channel by channel
    parallel_for(p.batch * p.channels, std::max<int64_t>(1, 256 / positions),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t unit = begin; unit < end; ++unit) {
                     const int64_t c = unit % p.channels;
                     for (int64_t at = 0; at < positions; ++at)
                       each(unit / p.channels, at, c, c + 1);
                   }
                 });
  }
}

template <class T>
void run_kind(const PoolParams& p, const T* in, T* out, int64_t* indices) {
  if (p.kind == PoolKind::kMax || p.kind == PoolKind::kAdaptiveMax) {
    run<T, true>(p, in, out, indices);
  } else {
    run<T, false>(p, in, out, nullptr);
  }
}

}  // namespace

void pool_f32(const PoolParams& p, const float* in, float* out, int64_t* indices) {
  run_kind(p, in, out, indices);
}
void pool_f64(const PoolParams& p, const double* in, double* out, int64_t* indices) {
  run_kind(p, in, out, indices);
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {

HWY_EXPORT(pool_f32);
HWY_EXPORT(pool_f64);

Status PoolParams::validate() const {
  auto bad = [](const char* what, int64_t value) {
    return Status::error("K4324",
                         std::string("pooling: ") + what + ", got " + std::to_string(value));
  };
  if (dtype != DType::kF32 && dtype != DType::kF64) {
    return Status::error(
        "K4324", "pooling: no kernel for this dtype, got " + std::string(dtype_name(dtype)));
  }
  if (spatial_rank < 1 || spatial_rank > 3) return bad("spatial rank is not 1 to 3", spatial_rank);
  if (batch < 0) return bad("a size is negative", batch);
  if (channels < 0) return bad("a size is negative", channels);
  const bool adaptive = kind == PoolKind::kAdaptiveMax || kind == PoolKind::kAdaptiveAverage;
  for (int d = 0; d < spatial_rank; ++d) {
    if (in_sizes[d] < 1) return bad("input sizes must be positive", in_sizes[d]);
    if (out_sizes[d] < 0) return bad("a size is negative", out_sizes[d]);
    if (adaptive) continue;
    if (kernel[d] < 1) return bad("kernel sizes must be positive", kernel[d]);
    if (stride[d] < 1) return bad("strides must be positive", stride[d]);
    if (dilation[d] < 1) return bad("dilations must be positive", dilation[d]);
    if (padding[d] < 0 || padding[d] > kernel[d] / 2) {
      return bad("padding must be between 0 and half the kernel", padding[d]);
    }
  }
  return Status();
}

void pool(const PoolParams& params, const void* in, void* out, int64_t* indices) {
  PoolParams p = params;
  for (int d = p.spatial_rank; d < 3; ++d) {
    p.in_sizes[d] = p.out_sizes[d] = p.kernel[d] = p.stride[d] = p.dilation[d] = 1;
    p.padding[d] = 0;
    p.in_strides[2 + d] = p.out_strides[2 + d] = p.index_strides[2 + d] = 0;
  }
  if (p.batch * p.channels * p.out_sizes[0] * p.out_sizes[1] * p.out_sizes[2] == 0) return;
  if (p.dtype == DType::kF64) {
    HWY_DYNAMIC_DISPATCH(pool_f64)
    (p, static_cast<const double*>(in), static_cast<double*>(out), indices);
  } else {
    HWY_DYNAMIC_DISPATCH(pool_f32)
    (p, static_cast<const float*>(in), static_cast<float*>(out), indices);
  }
}

}  // namespace kiln::cpu
#endif  // HWY_ONCE
