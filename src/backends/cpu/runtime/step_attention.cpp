// "attention": scaled dot product attention on strided operands.
//
// Inputs q [batch, heads, q_len, head_dim], k and v [batch, kv_heads, kv_len, ...] and perhaps a
// mask [batch or 1, heads or 1, q_len or 1, kv_len or 1] (bool, or additive of the dtype of q, or
// f32 beside 16 bits);
// output [batch, heads, q_len, value_dim]. params: causal, scale (0: 1 / sqrt(head_dim)).
#include <cmath>

#include "backends/cpu/kernels/attention.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

class BoundAttention : public BoundStep {
 public:
  BoundAttention(const cpu::AttentionParams& params, int threads)
      : params_(params),
        threads_(threads),
        scratch_bytes_(cpu::attention_scratch_bytes(params, threads)) {}

  size_t scratch_bytes() const override { return scratch_bytes_; }
  Status run(const RunArgs& args) override {
    cpu::AttentionBuffers buffers;
    buffers.q = args.inputs[0];
    buffers.k = args.inputs[1];
    buffers.v = args.inputs[2];
    if (params_.mask != cpu::AttentionMask::kNone) buffers.mask = args.inputs[3];
    buffers.out = args.outputs[0];
    cpu::attention(params_, buffers, args.scratch, threads_);
    return {};
  }
  std::string implementation() const override { return "kiln:attention"; }

 private:
  cpu::AttentionParams params_;
  int threads_;
  size_t scratch_bytes_;
};

std::array<int64_t, 4> strides_of(const ConcreteView& view) {
  return {view.strides[0], view.strides[1], view.strides[2], view.strides[3]};
}

class AttentionStep : public Step {
 public:
  AttentionStep(bool causal, double scale) : causal_(causal), scale_(scale) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views(kName, context));
    const ConcreteView& q = context.inputs[0];
    const ConcreteView& k = context.inputs[1];
    const ConcreteView& v = context.inputs[2];
    const ConcreteView& out = context.outputs[0];
    for (const ConcreteView* view : {&q, &k, &v, &out}) {
      KILN_RETURN_IF_ERROR(cpu::check_rank(kName, *view, 4));
      KILN_RETURN_IF_ERROR(cpu::check_dtype(kName, *view, q.dtype));
    }
    cpu::AttentionParams p;
    p.dtype = q.dtype;
    p.batch = q.dims[0];
    p.heads = q.dims[1];
    p.q_len = q.dims[2];
    p.head_dim = q.dims[3];
    p.kv_heads = k.dims[1];
    p.kv_len = k.dims[2];
    p.value_dim = v.dims[3];
    KILN_RETURN_IF_ERROR(
        cpu::check_dims(kName, k, {p.batch, p.kv_heads, p.kv_len, p.head_dim}));
    KILN_RETURN_IF_ERROR(
        cpu::check_dims(kName, v, {p.batch, p.kv_heads, p.kv_len, p.value_dim}));
    KILN_RETURN_IF_ERROR(cpu::check_dims(kName, out, {p.batch, p.heads, p.q_len, p.value_dim}));
    p.q_strides = strides_of(q);
    p.k_strides = strides_of(k);
    p.v_strides = strides_of(v);
    p.out_strides = strides_of(out);
    if (context.inputs.size() == 4) {
      const ConcreteView& mask = context.inputs[3];
      KILN_RETURN_IF_ERROR(cpu::check_rank(kName, mask, 4));
      if (mask.dtype == DType::kBool) {
        p.mask = cpu::AttentionMask::kBool;
      } else {
        p.mask = cpu::AttentionMask::kAdditive;
        p.mask_dtype = mask.dtype;
      }
      const std::array<int64_t, 4> scores{p.batch, p.heads, p.q_len, p.kv_len};
      for (size_t i = 0; i < 4; ++i) {
        if (mask.dims[i] == scores[i]) {
          p.mask_strides[i] = mask.strides[i];
        } else if (mask.dims[i] != 1) {
          return Status::error(
              "K3240", "mask of attention does not broadcast to the scores, size " +
                           std::to_string(mask.dims[i]) + " but " + std::to_string(scores[i]));
        }
      }
    }
    p.causal = causal_;
    // Without a depth all scores are zero, whatever the scale.
    p.scale = scale_ != 0          ? scale_
              : p.head_dim == 0    ? 1.0
                                   : 1.0 / std::sqrt(static_cast<double>(p.head_dim));
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundAttention(p, context.threads));
  }

 private:
  static constexpr std::string_view kName = "attention";
  bool causal_;
  double scale_;
};

Result<std::unique_ptr<Step>> make_attention(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 3, 4, 1));
  KILN_ASSIGN_OR_RETURN(const bool causal, desc.params.bool_at("causal"));
  KILN_ASSIGN_OR_RETURN(const double scale, desc.params.double_at("scale"));
  if (!std::isfinite(scale)) return Status::error("K3240", "scale of attention is not finite");
  return std::unique_ptr<Step>(new AttentionStep(causal, scale));
}

KILN_STEP(attention, "attention", make_attention);

}  // namespace
}  // namespace kiln
