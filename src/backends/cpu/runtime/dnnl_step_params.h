// The params of the oneDNN steps, as the compiler writes and the runtime reads them.
//
// "dnnl.conv"         src, weights [, bias] [, post-op tensors...] -> dst
//    {"conv": {...}, "bias": false, "post_ops": [...] [, "pack": {...}]}
// "dnnl.pack_conv"    weights [, factors] -> packed bytes; params are the "pack" of the steps that
//    use them. Each output channel is multiplied by its factor (f32 alone, not transposed).
// "dnnl.matmul"       src, weights [, bias] [, post-op tensors...] -> dst
//    {"bias": false, "post_ops": [...] [, "pack": {...}]}
// "dnnl.pack_matmul"  weights [.., k, n] or transposed -> packed bytes
// "dnnl.pool"         src -> dst
//    {"kind": "max", "kernel": [...], "stride": [...], "dilation": [...], "padding": [...]}
//
// oneDNN 3.0 cannot write its blocked layouts down, but chooses the same one when asked the same
// question. So "pack" is that question: all of a representative problem, with the thread count.
// It is the format of the packed bytes, and a step that uses them must hold the same text.
//
// Everything may come from a hostile file: parsers check ranges so that no arithmetic on what they
// return overflows. Error K3220.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cpu/runtime/dnnl_conv.h"
#include "backends/cpu/runtime/dnnl_matmul.h"
#include "backends/cpu/runtime/dnnl_pool.h"
#include "base/json.h"
#include "base/status.h"

namespace kiln {

// A post-op without its tensor, which is an operand of the step.
struct DnnlPostOpParams {
  DnnlPostOp::Kind kind = DnnlPostOp::Kind::kRelu;
  float alpha = 0.0f;
  float beta = 0.0f;

  bool has_tensor() const { return kind >= DnnlPostOp::Kind::kAdd; }
};

// What a convolution is apart from its sizes. Weights dims as PyTorch has them.
struct DnnlConvGeometry {
  std::vector<int64_t> weights;
  int64_t groups = 1;
  bool transposed = false;
  std::vector<int64_t> stride, dilation, padding_begin, padding_end;

  size_t rank() const { return weights.size(); }
  int64_t in_channels() const { return transposed ? weights[0] : weights[1] * groups; }
  int64_t out_channels() const { return transposed ? weights[1] * groups : weights[0]; }
  // Dims of the result; K3220 when src does not fit. Precondition: valid().
  Result<std::vector<int64_t>> output_dims(const std::vector<int64_t>& src) const;
  Status valid() const;  // ranks and ranges
};

// The problem that settles how the weights of a convolution are packed.
struct DnnlConvPack {
  DnnlConvGeometry conv;
  bool bias = false;
  std::vector<DnnlPostOpParams> post_ops;
  std::vector<std::vector<int64_t>> tensors;  // dims of the post-ops' tensors, in order
  std::vector<int64_t> src;
  DType dtype = DType::kF32;
  int threads = 1;

  // The problem as the wrapper takes it, all activations channels-last.
  Result<DnnlConvParams> problem() const;
  // The layout that oneDNN chooses for it. K46xx.
  Result<DnnlLayout> layout() const;
};

struct DnnlMatmulPack {
  int64_t k = 1, n = 1;
  bool transposed = false;  // stored [n, k]
  DType dtype = DType::kF32;
  int threads = 1;

  static constexpr int64_t kRows = 128;  // of the representative problem
  Result<DnnlMatmulParams> problem() const;
  Result<DnnlLayout> layout() const;
};

struct DnnlConvStepParams {
  DnnlConvGeometry conv;
  bool bias = false;
  std::vector<DnnlPostOpParams> post_ops;
  Json pack;  // null: plain weights
};

struct DnnlMatmulStepParams {
  bool bias = false;
  std::vector<DnnlPostOpParams> post_ops;
  Json pack;  // null: plain weights
};

struct DnnlPoolStepParams {
  DnnlPoolParams::Kind kind = DnnlPoolParams::Kind::kMax;
  // A kernel of 0 is the whole axis. Padding is that before the first element; what is needed
  // behind the last follows from the sizes.
  std::vector<int64_t> kernel, stride, dilation, padding;
};

Json to_json(const DnnlConvGeometry& conv);
Json to_json(const DnnlConvPack& pack);
Json to_json(const DnnlMatmulPack& pack);
Json to_json(const DnnlConvStepParams& params);
Json to_json(const DnnlMatmulStepParams& params);
Json to_json(const DnnlPoolStepParams& params);

Result<DnnlConvPack> dnnl_conv_pack_from_json(const Json& json);
Result<DnnlMatmulPack> dnnl_matmul_pack_from_json(const Json& json);
Result<DnnlConvStepParams> dnnl_conv_params_from_json(const Json& json);
Result<DnnlMatmulStepParams> dnnl_matmul_params_from_json(const Json& json);
Result<DnnlPoolStepParams> dnnl_pool_params_from_json(const Json& json);

}  // namespace kiln
