// "direct_conv": convolution over few channels and taps, as in the first layer of a net, where an
// implicit product would be mostly zeros. Views are those of "conv" (conv_kernel.h); one group.
#pragma once

#include <vector>

#include "backends/cuda/runtime/conv_kernel.h"
#include "backends/cuda/runtime/kernel_activation.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct DirectConvKernel {
  static constexpr const char* kFamily = "direct_conv";
  static constexpr int64_t kThreads = 128;
  static constexpr int64_t kOut = 8;  // channels of a thread
  static constexpr int64_t kMaxStrip = 8, kMaxTaps = 8, kMaxColumns = 64;
  static constexpr int64_t kMaxFactors = 2048;  // of the window, all channels: in shared memory

  DType dtype = DType::kF16;
  std::vector<int64_t> taps;  // of each axis
  int64_t in = 3, out = 16;   // channels; out is a multiple of kOut
  KernelWindow window;
  bool bias = false;
  KernelActivation activation;
  bool wide = true;
  int64_t strip = 1;     // results of a thread along the last axis
  bool y_along = false;  // kOut channels of y are written as one, or as several of 16 bytes
  KernelSizes sizes;

  int64_t factors() const;
  Json to_json() const;
  static Result<DirectConvKernel> from_json(const Json& params);  // K3212
};

}  // namespace kiln::cuda
