// "depthwise": convolution of each channel by itself (groups of one input channel), where a matrix
// product has nothing to share. Views are those of "conv" (conv_kernel.h).
#pragma once

#include <vector>

#include "backends/cuda/runtime/conv_kernel.h"
#include "backends/cuda/runtime/kernel_activation.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct DepthwiseKernel {
  static constexpr const char* kFamily = "depthwise";
  static constexpr int64_t kThreads = 128;
  // Of the last axis: what a thread keeps in registers grows with them.
  static constexpr int64_t kMaxStrip = 8, kMaxTaps = 8, kMaxColumns = 64;

  DType dtype = DType::kF32;
  int64_t spatial = 2;
  int64_t groups = 1;
  KernelWindow window;
  bool bias = false;
  KernelActivation activation;
  bool wide = true;
  int64_t width = 1;           // channels of a thread, which lie in a row
  int64_t strip = 1;           // results of a thread along the last axis
  int64_t taps = 1;            // of the last axis that it adds at once: all of them, or one
  int64_t side_by_side = 1;    // threads along channels before the next strip; others come last
  bool factors_along = false;  // factors of `width` channels, and their biases, lie in a row
  std::vector<int> order;      // of the dims of y, as threads walk them
  KernelSizes sizes;

  // Columns of the image that a strip spans.
  int64_t columns() const { return strip_columns(strip, taps, window); }
  Json to_json() const;
  static Result<DepthwiseKernel> from_json(const Json& params);  // K3212
};

// Whether the factors of `width` channels may be read as one. `bias`: null without one.
template <class View>
bool depthwise_factors_along(const View& weight, const View* bias, int64_t width) {
  return takes_width(weight, 0, width) && (bias == nullptr || takes_width(*bias, 0, width));
}

}  // namespace kiln::cuda
