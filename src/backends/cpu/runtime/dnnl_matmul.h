// Matrix multiplication by oneDNN: linear layers with packed weights, and batched products.
//
// Measured for the shapes of BERT, ViT and GPT-2 in fp32: the weights layout that the library
// chooses for 128 rows is as fast as its choice for 1, 16 or 197 rows, and inner_product and 1x1
// convolution gain nothing over it; unpacked [n, k] weights cost 10 to 25 % at 128 rows and twice
// the time at 16. So weights are packed once, for about 128 rows, and serve every shape.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/cpu/runtime/dnnl_pack.h"
#include "backends/cpu/runtime/dnnl_primitive.h"

namespace kiln {

struct DnnlMatmulParams {
  // All of one rank, at least 2. Batch dims of src and weights are dst's or 1. A transposed operand
  // is one with swapped strides: PyTorch's linear weight [n, k] is dims {k, n}, strides {1, k}.
  DnnlTensor src;      // [batch..., m, k]
  DnnlTensor weights;  // [batch..., k, n]
  DnnlTensor dst;      // [batch..., m, n]
  bool bias = false;   // [n], dense
  DType bias_dtype = DType::kF32;
  std::vector<DnnlPostOp> post_ops = {};
  // Takes the library's reference implementation rather than K4602: for shapes met at run time,
  // when there is nothing left to fall back on.
  bool allow_reference = false;
};

class DnnlMatmul {
 public:
  // The layout in which the library wants constant weights at these shapes, as a matrix [k, n];
  // weights must have no batch, and the dims above m of src and dst must merge with it.
  // Errors as of create().
  static Result<DnnlLayout> choose_weights_layout(const DnnlMatmulParams& params);
  // Packs weights stored as params.weights says. K4601 when they have a batch.
  static Result<DnnlWeightsPacker> packer(const DnnlMatmulParams& params, const DnnlLayout& layout);

  // Would create() without packed weights succeed? Makes no code.
  static Status supports(const DnnlMatmulParams& params);

  // `weights`: the layout of packed weights; empty: the weights are used as params.weights says.
  // Errors: K4601 the library cannot do it, K4602 it has only its reference implementation,
  // K4603 the same of the given weights layout at this shape, K51xx no library.
  static Result<std::unique_ptr<DnnlMatmul>> create(const DnnlMatmulParams& params,
                                                    const DnnlLayout& weights = {});

  struct Args {
    const void* src;
    const void* weights;
    const void* bias;  // null without
    void* dst;
    std::span<const void* const> post_op_tensors;  // of the post-ops that have one, in order
    void* scratchpad;  // scratchpad_bytes(), 64-byte aligned
  };
  Status run(const Args& args) const;  // thread-safe; error K4604

  size_t scratchpad_bytes() const { return primitive_->scratchpad_bytes(); }
  const std::string& implementation() const { return primitive_->implementation(); }

 private:
  DnnlMatmul() = default;
  std::unique_ptr<DnnlPrimitive> primitive_;
  bool bias_ = false;
};

}  // namespace kiln
