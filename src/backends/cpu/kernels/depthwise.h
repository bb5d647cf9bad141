// Depthwise convolution of channels-last images, f32: every channel has its own kernel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/function_ref.h"
#include "base/status.h"

namespace kiln::cpu {

// Image [batch, height, width, channels] with contiguous channels.
struct DepthwiseParams {
  int64_t batch = 0, channels = 0;
  std::array<int64_t, 2> in_sizes{}, out_sizes{}, kernel{1, 1};  // [height, width]
  std::array<int64_t, 2> stride{1, 1}, dilation{1, 1};
  std::array<int64_t, 2> padding{};  // at the top and left; the other sides follow from out_sizes
  std::array<int64_t, 3> in_strides{}, out_strides{};  // [batch, height, width], in elements
  bool has_bias = false;                               // `channels` contiguous values

  Status validate() const;  // K4326
};

// Called for rows of the result as soon as they are final, on the thread that made them: output row
// y of image b, all columns, channels [c0, c1). Every element is in exactly one call.
using DepthwiseEpilogue = FunctionRef<void(int64_t b, int64_t y, int64_t c0, int64_t c1)>;

// Weights as the kernel reads them: [kernel height, kernel width, channels], contiguous. `strides`
// are those of the source, [channel, height, width].
void pack_depthwise_weights(const DepthwiseParams& params, std::array<int64_t, 3> strides,
                            const float* weight, float* packed);

// `out` must not overlap the rest. `bias` may be null without has_bias. No scratch.
void depthwise(const DepthwiseParams& params, const float* in, const float* packed_weight,
               const float* bias, float* out);
void depthwise(const DepthwiseParams& params, const float* in, const float* packed_weight,
               const float* bias, float* out, DepthwiseEpilogue epilogue);

}  // namespace kiln::cpu
