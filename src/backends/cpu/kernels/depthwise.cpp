#include "backends/cpu/kernels/depthwise.h"

// Kernels for each SIMD target: this file is compiled again for each by foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/depthwise.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include <algorithm>
#include <string>

#include "backends/cpu/kernels/block_sizes.h"
#include "base/parallel_for.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kChannels = 128;  // of one unit at most: the weights of a 5 x 5 kernel stay in L1
constexpr int kPixels = 6;          // output columns at a time: as many sums as hide the latency

// Kernel positions [begin, end) that lie in the image for an output coordinate.
struct Range {
  int64_t begin, end;
};
Range kernel_range(const DepthwiseParams& p, int d, int64_t o) {
  const int64_t first = o * p.stride[d] - p.padding[d], step = p.dilation[d];
  const int64_t begin = first < 0 ? ceil_div(-first, step) : 0;
  const int64_t end = first >= p.in_sizes[d] ? 0 : ceil_div(p.in_sizes[d] - first, step);
  return {std::min(begin, p.kernel[d]), std::clamp<int64_t>(end, 0, p.kernel[d])};
}

// kCount output columns whose windows all have kernel columns [kx.begin, kx.end): one vector of
// channels. `in` is the first column's input at kernel position (0, 0), which may lie outside.
template <int kCount>
HWY_INLINE void pixels(const DepthwiseParams& p, Range ky, Range kx, const float* in,
                       const float* weight, hn::Vec<hn::ScalableTag<float>> start, float* out) {
  const hn::ScalableTag<float> d;
  auto s0 = start, s1 = start, s2 = start, s3 = start, s4 = start, s5 = start;
  const int64_t step = p.stride[1] * p.in_strides[2];
  for (int64_t y = ky.begin; y < ky.end; ++y) {
    const float* x =
        in + y * p.dilation[0] * p.in_strides[1] + kx.begin * p.dilation[1] * p.in_strides[2];
    const float* w = weight + (y * p.kernel[1] + kx.begin) * p.channels;
    for (int64_t k = kx.begin; k < kx.end; ++k) {
      const auto factor = hn::LoadU(d, w);
      s0 = hn::MulAdd(factor, hn::LoadU(d, x), s0);
      if constexpr (kCount == kPixels) {
        s1 = hn::MulAdd(factor, hn::LoadU(d, x + step), s1);
        s2 = hn::MulAdd(factor, hn::LoadU(d, x + 2 * step), s2);
        s3 = hn::MulAdd(factor, hn::LoadU(d, x + 3 * step), s3);
        s4 = hn::MulAdd(factor, hn::LoadU(d, x + 4 * step), s4);
        s5 = hn::MulAdd(factor, hn::LoadU(d, x + 5 * step), s5);
      }
      w += p.channels;
      x += p.dilation[1] * p.in_strides[2];
    }
  }
  hn::StoreU(s0, d, out);
  if constexpr (kCount == kPixels) {
    hn::StoreU(s1, d, out + p.out_strides[2]);
    hn::StoreU(s2, d, out + 2 * p.out_strides[2]);
    hn::StoreU(s3, d, out + 3 * p.out_strides[2]);
    hn::StoreU(s4, d, out + 4 * p.out_strides[2]);
    hn::StoreU(s5, d, out + 5 * p.out_strides[2]);
  }
}

// One output row, channels [c0, c1).
HWY_NOINLINE void row(const DepthwiseParams& p, int64_t y, int64_t c0, int64_t c1, const float* in,
                      const float* weight, const float* bias, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const Range ky = kernel_range(p, 0, y);
  in += (y * p.stride[0] - p.padding[0]) * p.in_strides[1] - p.padding[1] * p.in_strides[2];
  out += y * p.out_strides[1];
  const int64_t reach = (p.kernel[1] - 1) * p.dilation[1];
  for (int64_t x = 0; x < p.out_sizes[1];) {
    const Range kx = kernel_range(p, 1, x);
    const int64_t last = (x + kPixels - 1) * p.stride[1] - p.padding[1] + reach;
    const bool whole = kx.begin == 0 && last < p.in_sizes[1] && x + kPixels <= p.out_sizes[1];
    const float* from = in + x * p.stride[1] * p.in_strides[2];
    float* to = out + x * p.out_strides[2];
    auto vector_at = [&](int64_t c) HWY_ATTR {
      const auto start = bias == nullptr ? hn::Zero(d) : hn::LoadU(d, bias + c);
      if (whole) {
        pixels<kPixels>(p, ky, kx, from + c, weight + c, start, to + c);
      } else {
        pixels<1>(p, ky, kx, from + c, weight + c, start, to + c);
      }
    };
    int64_t c = c0;
    for (; c + n <= c1; c += n) vector_at(c);
    if (c < c1 && c1 - c0 >= n) {  // the last vector does some channels again
      vector_at(c1 - n);
      c = c1;
    }
    const int64_t count = whole ? kPixels : 1;
    for (; c < c1; ++c) {
      for (int64_t i = 0; i < count; ++i) {
        float sum = bias == nullptr ? 0.0f : bias[c];
        for (int64_t a = ky.begin; a < ky.end; ++a) {
          for (int64_t b = kx.begin; b < kx.end; ++b) {
            sum += weight[(a * p.kernel[1] + b) * p.channels + c] *
                   from[a * p.dilation[0] * p.in_strides[1] +
                        (i * p.stride[1] + b * p.dilation[1]) * p.in_strides[2] + c];
          }
        }
        to[i * p.out_strides[2] + c] = sum;
      }
    }
    x += count;
  }
}

}  // namespace

void depthwise_rows(const DepthwiseParams& p, const float* in, const float* weight,
                    const float* bias, float* out, const DepthwiseEpilogue* epilogue) {
  const int64_t blocks = ceil_div(p.channels, kChannels), rows = p.out_sizes[0];
  const int64_t block =
      round_up(ceil_div(p.channels, blocks), 16);  // even, so that no rest is small
  const int64_t work = p.out_sizes[1] * block * p.kernel[0] * p.kernel[1];
  parallel_for(p.batch * blocks * rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t unit = begin; unit < end; ++unit) {
                   const int64_t b = unit / rows / blocks, y = unit % rows;
                   const int64_t c0 = unit / rows % blocks * block;
                   const int64_t c1 = std::min(p.channels, c0 + block);
                   row(p, y, c0, c1, in + b * p.in_strides[0], weight, bias,
                       out + b * p.out_strides[0]);
                   if (epilogue != nullptr) (*epilogue)(b, y, c0, c1);
                 }
               });
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {

HWY_EXPORT(depthwise_rows);

namespace {

void run(const DepthwiseParams& p, const float* in, const float* weight, const float* bias,
         float* out, const DepthwiseEpilogue* epilogue) {
  if (p.batch * p.channels * p.out_sizes[0] * p.out_sizes[1] == 0) return;
  HWY_DYNAMIC_DISPATCH(depthwise_rows)
  (p, in, weight, p.has_bias ? bias : nullptr, out, epilogue);
}

}  // namespace

Status DepthwiseParams::validate() const {
  auto bad = [](const char* what, int64_t value) {
    return Status::error(
        "K4326", std::string("depthwise convolution: ") + what + ", got " + std::to_string(value));
  };
  for (int64_t size : {batch, channels, in_sizes[0], in_sizes[1], out_sizes[0], out_sizes[1]}) {
    if (size < 0) return bad("a size is negative", size);
  }
  for (int d = 0; d < 2; ++d) {
    if (kernel[d] < 1) return bad("kernel sizes must be positive", kernel[d]);
    if (stride[d] < 1) return bad("strides must be positive", stride[d]);
    if (dilation[d] < 1) return bad("dilations must be positive", dilation[d]);
  }
  return Status();
}

void pack_depthwise_weights(const DepthwiseParams& p, std::array<int64_t, 3> strides,
                            const float* weight, float* packed) {
  for (int64_t y = 0; y < p.kernel[0]; ++y) {
    for (int64_t x = 0; x < p.kernel[1]; ++x) {
      for (int64_t c = 0; c < p.channels; ++c) {
        *packed++ = weight[c * strides[0] + y * strides[1] + x * strides[2]];
      }
    }
  }
}

void depthwise(const DepthwiseParams& params, const float* in, const float* packed_weight,
               const float* bias, float* out) {
  run(params, in, packed_weight, bias, out, nullptr);
}

void depthwise(const DepthwiseParams& params, const float* in, const float* packed_weight,
               const float* bias, float* out, DepthwiseEpilogue epilogue) {
  run(params, in, packed_weight, bias, out, &epilogue);
}

}  // namespace kiln::cpu
#endif  // HWY_ONCE
