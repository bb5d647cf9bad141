// The sliding window of a convolution, as descriptions of kernels hold it.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cuda/runtime/kernel_sizes.h"

namespace kiln::cuda {

struct KernelWindow {
  std::vector<int64_t> stride, padding, dilation;  // padding at the low end; one entry an axis

  void add_to(Json& params) const;
  static Result<KernelWindow> from_json(const Json& params, int64_t axes);  // K3212

  // K3212 where products of positions with strides and dilations leave the range of the kernel's
  // indices, of 64 bits when `wide`.
  Status check_reach(const char* step, bool wide, const ConcreteView& weight,
                     const ConcreteView& y) const;
};

// Columns of an image that `results` in a row along the last axis span with `taps` of it.
int64_t strip_columns(int64_t results, int64_t taps, const KernelWindow& window);

}  // namespace kiln::cuda
