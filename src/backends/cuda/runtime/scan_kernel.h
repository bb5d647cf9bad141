// "scan": cumsum and cumprod along one axis. Floats accumulate in double, as torch does on CPU,
// integers in int64.
#pragma once

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct ScanKernel {
  static constexpr const char* kFamily = "scan";
  DType dtype = DType::kF32;
  bool product = false;
  bool rows =
      false;  // a block shares a line, whose elements lie in a row; else a thread has a line
  int64_t axis = 0;
  std::vector<int> order;  // of the result's dims
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<ScanKernel> from_json(const Json& params);  // K3212
};

template <class View>
NamedSizes<SizeOf<View>> scan_sizes(const View& from, const View& to) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", to.dims);
  sizes.add_each("a", from.strides);
  sizes.add_each("b", to.strides);
  return sizes;
}

}  // namespace kiln::cuda
