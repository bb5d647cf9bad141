#include "backends/cpu/kernels/resize.h"

// Kernels for each SIMD target: this file is compiled again for each by foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/resize.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include <algorithm>
#include <cmath>
#include <string>

#include "backends/cpu/kernels/block_sizes.h"
#include "backends/cpu/kernels/resize_taps.h"
#include "base/parallel_for.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// out[0, n) = sum of weight * in[offset + (0, n)], channels contiguous.
template <class T>
HWY_NOINLINE void blend_channels(const T* in, const ResizeTap<T>* taps, int count, int64_t n,
                                 T* out) {
  const hn::ScalableTag<T> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto vector_at = [&](int64_t c) HWY_ATTR {
    auto sum = hn::Mul(hn::Set(d, taps[0].weight), hn::LoadU(d, in + taps[0].offset + c));
    for (int t = 1; t < count; ++t) {
      sum = hn::MulAdd(hn::Set(d, taps[t].weight), hn::LoadU(d, in + taps[t].offset + c), sum);
    }
    hn::StoreU(sum, d, out + c);
  };
  int64_t c = 0;
  for (; c + lanes <= n; c += lanes) vector_at(c);
  if (c < n && n >= lanes) {  // the last vector does some channels again
    vector_at(n - lanes);
    return;
  }
  for (; c < n; ++c) {
    T sum = taps[0].weight * in[taps[0].offset + c];
    for (int t = 1; t < count; ++t) sum += taps[t].weight * in[taps[t].offset + c];
    out[c] = sum;
  }
}

// One row of the result, columns `step` apart: kRows rows of the input, kTaps columns of each.
template <class T, int kRows, int kTaps>
HWY_NOINLINE void blend_row(const T* in, const ResizeTap<T>* outer, const ResizeTap<T>* inner,
                            int64_t columns, T* out, int64_t step) {
  for (int64_t o = 0; o < columns; ++o, inner += kTaps) {
    T sum = 0;
    for (int i = 0; i < kRows; ++i) {
      const T* row = in + outer[i].offset;
      T line = inner[0].weight * row[inner[0].offset];
      for (int k = 1; k < kTaps; ++k) line += inner[k].weight * row[inner[k].offset];
      sum += outer[i].weight * line;
    }
    out[o * step] = sum;
  }
}

template <class T>
void run(const ResizeParams& p, const ResizeTap<T>* const tables[3], const T* in, T* out) {
  const int width = taps_of(p.mode);
  const std::array<int, 3> taps{p.spatial_rank == 3 ? width : 1, p.spatial_rank >= 2 ? width : 1,
                                width};
  // Spatial dims are right-aligned: the last one is always index 2.
  const int64_t rows = p.out_sizes[0] * p.out_sizes[1], columns = p.out_sizes[2];
  const bool channels_last = p.in_strides[1] == 1 && p.out_strides[1] == 1 && p.channels > 1;
  const int64_t channel_units = channels_last ? 1 : p.channels;
  const int64_t row_work = columns * (channels_last ? p.channels : 1);
  parallel_for(
      p.batch * channel_units * rows, std::max<int64_t>(1, 4096 / row_work),
      [&](int64_t begin, int64_t end) {
        for (int64_t unit = begin; unit < end; ++unit) {
          const int64_t o1 = unit % p.out_sizes[1], o0 = unit / p.out_sizes[1] % p.out_sizes[0];
          const int64_t c = unit / rows % channel_units, b = unit / rows / channel_units;
          const T* from = in + b * p.in_strides[0] + c * p.in_strides[1];
          T* to = out + b * p.out_strides[0] + c * p.out_strides[1] + o0 * p.out_strides[2] +
                  o1 * p.out_strides[3];
          ResizeTap<T> outer[16];  // of the first two dims
          int count = 0;
          for (int i = 0; i < taps[0]; ++i) {
            for (int j = 0; j < taps[1]; ++j) {
              const ResizeTap<T>& x = tables[0][o0 * taps[0] + i];
              const ResizeTap<T>& y = tables[1][o1 * taps[1] + j];
              outer[count++] = {x.offset + y.offset, x.weight * y.weight};
            }
          }
          const ResizeTap<T>* inner = tables[2];
          const int64_t step = p.out_strides[4];
          if (channels_last) {
            for (int64_t o2 = 0; o2 < columns; ++o2, inner += taps[2]) {
              ResizeTap<T> all[64];
              int n = 0;
              for (int i = 0; i < count; ++i) {
                for (int k = 0; k < taps[2]; ++k) {
                  all[n++] = {outer[i].offset + inner[k].offset, outer[i].weight * inner[k].weight};
                }
              }
              if (n == 1) {
                std::copy_n(from + all[0].offset, p.channels, to + o2 * step);
              } else {
                blend_channels(from, all, n, p.channels, to + o2 * step);
              }
            }
          } else if (p.mode == ResizeMode::kCubic) {
            blend_row<T, 4, 4>(from, outer, inner, columns, to, step);
          } else if (p.mode == ResizeMode::kLinear) {
            if (count == 4) blend_row<T, 4, 2>(from, outer, inner, columns, to, step);
            if (count == 2) blend_row<T, 2, 2>(from, outer, inner, columns, to, step);
            if (count == 1) blend_row<T, 1, 2>(from, outer, inner, columns, to, step);
          } else {  // nearest: no arithmetic, so that NaN and -0 pass
            const T* row = from + outer[0].offset;
            for (int64_t o2 = 0; o2 < columns; ++o2) to[o2 * step] = row[inner[o2].offset];
          }
        }
      });
}

}  // namespace

void resize_f32(const ResizeParams& p, const ResizeTap<float>* const tables[3], const float* in,
                float* out) {
  run(p, tables, in, out);
}
void resize_f64(const ResizeParams& p, const ResizeTap<double>* const tables[3], const double* in,
                double* out) {
  run(p, tables, in, out);
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {

HWY_EXPORT(resize_f32);
HWY_EXPORT(resize_f64);

namespace {

// Step in the input for one step in the output, computed in the type in which torch does.
template <class T>
T step_of(const ResizeParams& p, int d) {
  const bool smooth = p.mode == ResizeMode::kLinear || p.mode == ResizeMode::kCubic;
  if (smooth && p.align_corners) {
    return p.out_sizes[d] > 1
               ? static_cast<T>(p.in_sizes[d] - 1) / static_cast<T>(p.out_sizes[d] - 1)
               : T(0);
  }
  if (p.scale_factors[d] > 0) return static_cast<T>(1.0 / p.scale_factors[d]);
  return static_cast<T>(p.in_sizes[d]) / static_cast<T>(p.out_sizes[d]);
}

// Weights of the four neighbours at distances 1 + t, t, 1 - t, 2 - t: Keys' cubic convolution
// (1981) with a = -0.75.
template <class T>
void cubic_weights(T t, T* w) {
  constexpr T a = T(-0.75);
  auto near = [a = a](T x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  auto far = [a = a](T x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  w[0] = far(t + 1);
  w[1] = near(t);
  w[2] = near(1 - t);
  w[3] = far(2 - t);
}

// The input element of output element `o` in the nearest modes. Rounding decides here, so this has
// the single precision of torch's kernels for contiguous tensors, whatever the dtype.
int64_t nearest_of(const ResizeParams& p, int d, int64_t o) {
  const int64_t in = p.in_sizes[d], out = p.out_sizes[d];
  if (p.mode == ResizeMode::kNearest && p.spatial_rank == 2) {  // the sizes go before the scale
    if (out == in) return o;
    if (out == 2 * in) return o / 2;
  }
  const float step = p.scale_factors[d] > 0 ? static_cast<float>(1.0 / p.scale_factors[d])
                                            : static_cast<float>(in) / static_cast<float>(out);
  float at;
  if (p.mode == ResizeMode::kNearest) {
    at = static_cast<float>(o) * step;
  } else if (p.spatial_rank == 2) {
    at = static_cast<float>((static_cast<double>(o) + 0.5) * step);
  } else {
    const float centre = std::fma(step, static_cast<float>(o) + 0.5f, -0.5f);
    at = centre + 0.5f;
  }
  return std::min(static_cast<int64_t>(std::floor(at)), in - 1);
}

template <class T>
void fill_taps(const ResizeParams& p, int d, ResizeTap<T>* taps) {
  const int64_t in = p.in_sizes[d], stride = p.in_strides[2 + d];
  const T step = step_of<T>(p, d);
  for (int64_t o = 0; o < p.out_sizes[d]; ++o) {
    const T out = static_cast<T>(o);
    if (p.mode == ResizeMode::kNearest || p.mode == ResizeMode::kNearestExact) {
      *taps++ = {nearest_of(p, d, o) * stride, T(1)};
      continue;
    }
    if (p.mode == ResizeMode::kLinear && in == p.out_sizes[d]) {
      // An axis that keeps its size is copied, whatever the user's scale.
      *taps++ = {o * stride, T(1)};
      *taps++ = {o * stride, T(0)};
      continue;
    }
    T at = p.align_corners ? step * out : step * (out + T(0.5)) - T(0.5);
    if (p.mode == ResizeMode::kLinear) at = std::max(at, T(0));
    const int64_t first = std::min(static_cast<int64_t>(std::floor(at)), in - 1);
    const T t = std::clamp(at - static_cast<T>(first), T(0), T(1));
    if (p.mode == ResizeMode::kLinear) {
      *taps++ = {first * stride, T(1) - t};
      *taps++ = {std::min(first + 1, in - 1) * stride, t};
    } else {
      T weights[4];
      cubic_weights(t, weights);
      for (int k = 0; k < 4; ++k) {
        *taps++ = {std::clamp<int64_t>(first - 1 + k, 0, in - 1) * stride, weights[k]};
      }
    }
  }
}

// The same problem with the spatial dims moved to the right end of the arrays.
ResizeParams right_aligned(const ResizeParams& params) {
  ResizeParams p = params;
  const int shift = 3 - p.spatial_rank;
  for (int d = 2; d >= 0; --d) {
    const bool real = d >= shift;
    p.in_sizes[d] = real ? params.in_sizes[d - shift] : 1;
    p.out_sizes[d] = real ? params.out_sizes[d - shift] : 1;
    p.scale_factors[d] = real ? params.scale_factors[d - shift] : 0.0;
    p.in_strides[2 + d] = real ? params.in_strides[2 + d - shift] : 0;
    p.out_strides[2 + d] = real ? params.out_strides[2 + d - shift] : 0;
  }
  return p;
}

template <class T, class Kernel>
void run_resize(const ResizeParams& p, const void* in, void* out, void* scratch, Kernel&& kernel) {
  ResizeTap<T>* next = static_cast<ResizeTap<T>*>(scratch);
  const ResizeTap<T>* tables[3];
  for (int d = 0; d < 3; ++d) {
    tables[d] = next;
    if (d < 3 - p.spatial_rank) {
      *next++ = {0, T(1)};
    } else {
      fill_taps(p, d, next);
      next += p.out_sizes[d] * taps_of(p.mode);
    }
  }
  kernel(p, tables, static_cast<const T*>(in), static_cast<T*>(out));
}

bool empty(const ResizeParams& p) {
  int64_t count = p.batch * p.channels;
  for (int d = 0; d < p.spatial_rank; ++d) count *= p.out_sizes[d];
  return count == 0;
}

}  // namespace

Status ResizeParams::validate() const {
  auto bad = [](const char* what, int64_t value) {
    return Status::error("K4325",
                         std::string("resize: ") + what + ", got " + std::to_string(value));
  };
  if (dtype != DType::kF32 && dtype != DType::kF64) {
    return Status::error("K4325",
                         "resize: no kernel for this dtype, got " + std::string(dtype_name(dtype)));
  }
  if (spatial_rank < 1 || spatial_rank > 3) return bad("spatial rank is not 1 to 3", spatial_rank);
  if (mode == ResizeMode::kCubic && spatial_rank != 2) {
    return bad("cubic needs two spatial dims", spatial_rank);
  }
  if (batch < 0) return bad("a size is negative", batch);
  if (channels < 0) return bad("a size is negative", channels);
  for (int d = 0; d < spatial_rank; ++d) {
    if (in_sizes[d] < 1) return bad("input sizes must be positive", in_sizes[d]);
    if (out_sizes[d] < 0) return bad("a size is negative", out_sizes[d]);
  }
  return Status();
}

size_t resize_scratch_bytes(const ResizeParams& params) {
  int64_t taps = 3;
  for (int d = 0; d < params.spatial_rank; ++d) taps += params.out_sizes[d] * taps_of(params.mode);
  return static_cast<size_t>(taps) * sizeof(ResizeTap<double>);
}

void resize(const ResizeParams& params, const void* in, void* out, void* scratch) {
  if (empty(params)) return;
  const ResizeParams p = right_aligned(params);
  if (p.dtype == DType::kF64) {
    run_resize<double>(p, in, out, scratch, HWY_DYNAMIC_DISPATCH(resize_f64));
  } else {
    run_resize<float>(p, in, out, scratch, HWY_DYNAMIC_DISPATCH(resize_f32));
  }
}

}  // namespace kiln::cpu
#endif  // HWY_ONCE
