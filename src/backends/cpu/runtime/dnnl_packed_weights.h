// One constant operand in every layout that the shapes seen so far asked for.
//
// oneDNN's convolutions take the weights only in the layout that they choose for the shape at hand.
// That is nearly always the one they chose for another shape (with AVX-512: 96 % of 2680 shapes of
// ResNet-50 and MobileNetV3 layers, all where only the batch differs), but not quite: then a
// further copy is made, once, and kept. Matmul needs none of this.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/cpu/runtime/dnnl_memory.h"
#include "base/status.h"

namespace kiln {

class DnnlPackedWeights {
 public:
  // `packed` is borrowed, is in `layout`, and must outlive this and not change.
  DnnlPackedWeights(DnnlLayout layout, const void* packed)
      : layout_(std::move(layout)), packed_(packed) {}

  const DnnlLayout& layout() const { return layout_; }

  // The weights in `wanted` (of the same dims); valid as long as this is. Thread-safe.
  // Errors: as of dnnl_copy.
  Result<const void*> in_layout(const DnnlLayout& wanted);

  // What the further copies take, in bytes.
  size_t extra_bytes() const;

 private:
  struct FreeDeleter {
    void operator()(void* memory) const;
  };
  struct Copy {
    DnnlLayout layout;
    std::unique_ptr<void, FreeDeleter> memory;
  };
  DnnlLayout layout_;
  const void* packed_;
  mutable std::mutex mutex_;
  std::vector<Copy> copies_;
};

}  // namespace kiln
