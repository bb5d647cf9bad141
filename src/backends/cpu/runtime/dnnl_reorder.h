// Copies between layouts by oneDNN: packing weights once, and activations at run time.
#pragma once

#include <memory>

#include "backends/cpu/runtime/dnnl_primitive.h"

namespace kiln {

class DnnlReorder {
 public:
  // Same dims on both sides; dtypes may differ (values are rounded to nearest, saturated).
  // Errors: K4601 no implementation, K4602 only the library's reference, K51xx no library.
  static Result<std::unique_ptr<DnnlReorder>> create(const DnnlLayout& from, const DnnlLayout& to);

  Status run(const void* from, void* to, void* scratchpad) const;  // thread-safe

  size_t scratchpad_bytes() const { return primitive_->scratchpad_bytes(); }
  const std::string& implementation() const { return primitive_->implementation(); }

 private:
  explicit DnnlReorder(std::unique_ptr<DnnlPrimitive> primitive)
      : primitive_(std::move(primitive)) {}
  std::unique_ptr<DnnlPrimitive> primitive_;
};

// One copy, not kept. Writes to.bytes() bytes, padding included (as zeros). Takes the library's
// reference too, for there is nothing to fall back on and it happens once per weight.
Status dnnl_copy(const DnnlLayout& from, const void* source, const DnnlLayout& to, void* target);

}  // namespace kiln
