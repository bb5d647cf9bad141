// "copy": elements of one view go to another of the same shape.
#pragma once

#include "backends/cuda/runtime/kernel_sizes.h"

namespace kiln::cuda {

// Views come with the dims that the kernel walks, the last one innermost in the target. Elements
// are `bytes` wide: `width` of the dtype's travel as one.
struct CopyKernel {
  static constexpr const char* kFamily = "copy";
  static constexpr int64_t kTile = 32, kTileRows = 8;  // of a transpose, and rows of its block

  int64_t bytes = 4;  // 1, 2, 4, 8; 16 only without `cross`
  int64_t width = 1;
  int64_t rank = 0;
  int64_t cross = -1;  // the dim that is innermost in the source, moved by way of shared memory
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<CopyKernel> from_json(const Json& params);  // K3212
};

template <class View>
NamedSizes<SizeOf<View>> copy_sizes(const View& from, const View& to) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", to.dims);
  sizes.add_each("a", from.strides);
  sizes.add_each("b", to.strides);
  return sizes;
}

}  // namespace kiln::cuda
