// Max and average pooling of 1 to 3 spatial dims by oneDNN.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backends/cpu/runtime/dnnl_primitive.h"

namespace kiln {

struct DnnlPoolParams {
  // An average divides by the window's size (kAverageWithPadding) or by its part inside the input
  // (kAverage). PyTorch's rule for a ceil_mode window that hangs over the padding, and
  // divisor_override, are neither: the caller keeps those away.
  enum class Kind { kMax, kAverage, kAverageWithPadding };
  Kind kind = Kind::kMax;
  DnnlTensor src;  // [n, channels, spatial...]
  DnnlTensor dst;
  std::vector<int64_t> kernel, stride, dilation, padding_begin, padding_end;  // per spatial dim
  std::vector<DnnlPostOp> post_ops = {};
  // Takes the library's reference implementation rather than K4602: for shapes met at run time,
  // when there is nothing left to fall back on.
  bool allow_reference = false;
};

class DnnlPool {
 public:
  // Would create() succeed? Makes no code.
  static Status supports(const DnnlPoolParams& params);

  // Errors: K4601 the library cannot do it, K4602 it has only its reference implementation,
  // K51xx no library.
  static Result<std::unique_ptr<DnnlPool>> create(const DnnlPoolParams& params);

  struct Args {
    const void* src;
    void* dst;
    std::span<const void* const> post_op_tensors;  // of the post-ops that have one, in order
    void* scratchpad;  // scratchpad_bytes(), 64-byte aligned
  };
  Status run(const Args& args) const;  // thread-safe; error K4604

  size_t scratchpad_bytes() const { return primitive_->scratchpad_bytes(); }
  const std::string& implementation() const { return primitive_->implementation(); }

 private:
  explicit DnnlPool(std::unique_ptr<DnnlPrimitive> primitive) : primitive_(std::move(primitive)) {}
  std::unique_ptr<DnnlPrimitive> primitive_;
};

}  // namespace kiln
