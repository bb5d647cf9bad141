// Convolution and transposed convolution of 1 to 3 spatial dims by oneDNN.
//
// Activations are wanted channels-last: measured with ResNet-50 and MobileNetV3 it is as fast as
// the library's own choice or faster, needs no reorders, and has no reference kernels for channel
// counts that are not a multiple of 16.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/cpu/runtime/dnnl_pack.h"
#include "backends/cpu/runtime/dnnl_primitive.h"

namespace kiln {

struct DnnlConvParams {
  DnnlTensor src;  // [n, in channels, spatial...]
  // As PyTorch has them: [out, in / groups, kernel...]; transposed: [in, out / groups, kernel...].
  DnnlTensor weights;
  DnnlTensor dst;  // [n, out channels, spatial...]
  bool bias = false;  // [out channels], dense
  DType bias_dtype = DType::kF32;
  int64_t groups = 1;
  bool transposed = false;
  std::vector<int64_t> stride, dilation, padding_begin, padding_end;  // one per spatial dim
  // A transposed convolution takes its output padding off padding_end, which may become negative.
  std::vector<DnnlPostOp> post_ops = {};
  // Takes the library's reference implementation rather than K4602: for shapes met at run time,
  // when there is nothing left to fall back on.
  bool allow_reference = false;
};

class DnnlConv {
 public:
  // The layout in which the library wants the weights at these shapes. Weights are packed once for
  // a representative shape, and the same layout is given to create() at every other.
  // Errors as of create().
  static Result<DnnlLayout> choose_weights_layout(const DnnlConvParams& params);
  // Packs weights stored as params.weights says; `scaled`: multiplied by a factor per output
  // channel. K4601 for scaled weights of transposed convolutions.
  static Result<DnnlWeightsPacker> packer(const DnnlConvParams& params, const DnnlLayout& layout,
                                          bool scaled = false);

  // The layout of weights stored as params.weights says, under the library's view of their dims.
  static Result<DnnlLayout> plain_weights_layout(const DnnlConvParams& params);

  // `weights`: the layout of the packed weights; empty: the library chooses (weights_layout()).
  // Errors: K4601 the library cannot do it, K4602 it has only its reference implementation,
  // K4603 the same of the given weights layout at this shape, K51xx no library.
  static Result<std::unique_ptr<DnnlConv>> create(const DnnlConvParams& params,
                                                  const DnnlLayout& weights = {});

  // As create(), but where that would be K4603 the library chooses: compare weights_layout(), and
  // see dnnl_packed_weights.h.
  static Result<std::unique_ptr<DnnlConv>> create_preferring(const DnnlConvParams& params,
                                                             const DnnlLayout& weights);

  struct Args {
    const void* src;
    const void* weights;  // in weights_layout()
    const void* bias;     // null without
    void* dst;
    std::span<const void* const> post_op_tensors;  // of the post-ops that have one, in order
    void* scratchpad;     // scratchpad_bytes(), 64-byte aligned
  };
  Status run(const Args& args) const;  // thread-safe; error K4604

  const DnnlLayout& weights_layout() const { return weights_layout_; }
  size_t scratchpad_bytes() const { return primitive_->scratchpad_bytes(); }
  const std::string& implementation() const { return primitive_->implementation(); }

 private:
  DnnlConv() = default;
  std::unique_ptr<DnnlPrimitive> primitive_;
  DnnlLayout weights_layout_;
  bool bias_ = false;
};

}  // namespace kiln
