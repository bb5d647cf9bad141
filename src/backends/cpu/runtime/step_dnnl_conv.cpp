// "dnnl.conv" and "dnnl.pack_conv": convolution by oneDNN. Params: dnnl_step_params.h.
#include <algorithm>
#include <mutex>
#include <utility>

#include "backends/cpu/runtime/dnnl_reorder.h"
#include "backends/cpu/runtime/dnnl_step_operands.h"
#include "backends/cpu/runtime/dnnl_step_params.h"
#include "base/parallel_for.h"
#include "runtime/step.h"

namespace kiln {
namespace {

Status bad(std::string what) { return Status::error("K3221", std::move(what)); }

class BoundConv : public BoundStep {
 public:
  std::unique_ptr<DnnlConv> conv;
  // At most one of these: packed weights that the primitive wants otherwise; plain weights.
  std::unique_ptr<DnnlAdaptedWeights> adapted;
  std::unique_ptr<DnnlReorder> reorder;
  size_t weights_bytes = 0;  // of either in scratch, rounded up; the reorder's own after it
  size_t first_tensor = 2, num_tensors = 0;
  bool bias = false;

  size_t scratch_bytes() const override {
    return weights_bytes + std::max(conv->scratchpad_bytes(),
                                    reorder ? reorder->scratchpad_bytes() : 0);
  }

  Status run(const RunArgs& args) override {
    const void* weights = args.inputs[1];
    void* rest = static_cast<char*>(args.scratch) + weights_bytes;
    if (reorder != nullptr) {
      KILN_RETURN_IF_ERROR(reorder->run(weights, args.scratch, rest));
      weights = args.scratch;
    } else if (adapted != nullptr) {
      KILN_ASSIGN_OR_RETURN(weights, adapted->get(weights, args.scratch));
    }
    const DnnlTensorPointers tensors(args.inputs, first_tensor, num_tensors);
    return conv->run({args.inputs[0], weights, bias ? args.inputs[2] : nullptr, args.outputs[0],
                      tensors.span(), rest});
  }

  std::string implementation() const override {
    return "dnnl:" + conv->implementation() + (reorder ? " (weights packed at every run)" : "") +
           (adapted ? " (weights packed again for this shape)" : "");
  }
};

class ConvStep : public Step {
 public:
  ConvStep(DnnlConvStepParams params, std::unique_ptr<DnnlConvPack> pack)
      : params_(std::move(params)), pack_(std::move(pack)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    const ScopedNumThreads scope(context.threads);
    const DType dtype = context.inputs[0].dtype;
    KILN_RETURN_IF_ERROR(check_dnnl_dtype(dtype));
    DnnlConvParams p;
    KILN_ASSIGN_OR_RETURN(p.src, dnnl_operand(context.inputs[0], dtype));
    KILN_ASSIGN_OR_RETURN(p.dst, dnnl_operand(context.outputs[0], dtype));
    KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> dims, params_.conv.output_dims(p.src.dims));
    if (p.dst.dims != dims) return bad("output of a convolution has another shape");
    p.bias = params_.bias;
    p.bias_dtype = dtype;
    p.groups = params_.conv.groups;
    p.transposed = params_.conv.transposed;
    p.stride = params_.conv.stride;
    p.dilation = params_.conv.dilation;
    p.padding_begin = params_.conv.padding_begin;
    p.padding_end = params_.conv.padding_end;

    auto bound = std::make_unique<BoundConv>();
    bound->bias = params_.bias;
    bound->first_tensor = params_.bias ? 3 : 2;
    if (params_.bias) {
      KILN_RETURN_IF_ERROR(check_dnnl_bias(context.inputs[2], dtype, dims[1]));
    }
    KILN_ASSIGN_OR_RETURN(
        p.post_ops, dnnl_bind_post_ops(params_.post_ops, context, bound->first_tensor, dtype));
    bound->num_tensors = context.inputs.size() - bound->first_tensor;

    const ConcreteView& weights = context.inputs[1];
    if (pack_ == nullptr) {
      KILN_ASSIGN_OR_RETURN(p.weights, dnnl_operand(weights, dtype));
      if (p.weights.dims != params_.conv.weights) return bad("weights have another shape");
      KILN_ASSIGN_OR_RETURN(bound->conv, create(p, {}));
      KILN_ASSIGN_OR_RETURN(const DnnlLayout plain, DnnlConv::plain_weights_layout(p));
      if (!(plain == bound->conv->weights_layout())) {
        KILN_ASSIGN_OR_RETURN(bound->reorder,
                              DnnlReorder::create(plain, bound->conv->weights_layout()));
        bound->weights_bytes = dnnl_aligned(bound->conv->weights_layout().bytes());
      }
      return std::unique_ptr<BoundStep>(std::move(bound));
    }
    if (dtype != pack_->dtype) return bad("packed weights have another dtype");
    p.weights = DnnlTensor::dense(params_.conv.weights, dtype);
    KILN_ASSIGN_OR_RETURN(const DnnlLayout layout, packed_layout());
    KILN_RETURN_IF_ERROR(check_packed_input(weights, params_.pack, layout));
    KILN_ASSIGN_OR_RETURN(bound->conv, create(p, layout));
    if (!(bound->conv->weights_layout() == layout)) {
      KILN_ASSIGN_OR_RETURN(bound->adapted,
                            DnnlAdaptedWeights::make(layout, *weights.packed,
                                                     bound->conv->weights_layout()));
      bound->weights_bytes = dnnl_aligned(bound->adapted->scratch_bytes());
    }
    return std::unique_ptr<BoundStep>(std::move(bound));
  }

 private:
  // The compiler made sure that a representative shape has a fast kernel. If this one has not, slow
  // is better than nothing.
  static Result<std::unique_ptr<DnnlConv>> create(DnnlConvParams& p, const DnnlLayout& weights) {
    auto conv = weights.empty() ? DnnlConv::create(p) : DnnlConv::create_preferring(p, weights);
    if (conv.ok() || conv.status().code() != "K4602") return conv;
    p.allow_reference = true;
    return DnnlConv::create(p);
  }

  // Asked of the library once in the life of the step.
  Result<DnnlLayout> packed_layout() const {
    std::lock_guard lock(mutex_);
    if (layout_.empty()) {
      KILN_ASSIGN_OR_RETURN(layout_, pack_->layout());
    }
    return layout_;
  }

  DnnlConvStepParams params_;
  std::unique_ptr<DnnlConvPack> pack_;
  mutable std::mutex mutex_;
  mutable DnnlLayout layout_;
};

class BoundPackConv : public BoundStep {
 public:
  BoundPackConv(DnnlWeightsPacker packer, bool scaled, std::string format)
      : packer_(std::move(packer)), scaled_(scaled), format_(std::move(format)) {}

  size_t scratch_bytes() const override { return packer_.scratch_bytes(); }
  Status run(const RunArgs& args) override {
    const auto* scale = scaled_ ? static_cast<const float*>(args.inputs[1]) : nullptr;
    return packer_.run(args.inputs[0], args.outputs[0], scale, args.scratch);
  }
  bool can_fail() const override { return packer_.can_fail(); }
  std::string implementation() const override { return packer_.implementation(); }
  size_t packed_bytes(int) const override { return packer_.layout().bytes(); }
  std::string packed_format(int) const override { return format_; }

 private:
  DnnlWeightsPacker packer_;
  bool scaled_;
  std::string format_;
};

class PackConvStep : public Step {
 public:
  PackConvStep(DnnlConvPack pack, std::string format)
      : pack_(std::move(pack)), format_(std::move(format)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    KILN_RETURN_IF_ERROR(check_packed_output(context));
    KILN_ASSIGN_OR_RETURN(DnnlConvParams p, pack_.problem());
    KILN_ASSIGN_OR_RETURN(p.weights, dnnl_operand(context.inputs[0], pack_.dtype));
    if (p.weights.dims != pack_.conv.weights) return bad("weights to pack have another shape");
    KILN_ASSIGN_OR_RETURN(const DnnlLayout layout, pack_.layout());
    const bool scaled = context.inputs.size() > 1;
    if (scaled) {
      KILN_RETURN_IF_ERROR(
          check_dnnl_bias(context.inputs[1], DType::kF32, pack_.conv.out_channels()));
    }
    KILN_ASSIGN_OR_RETURN(DnnlWeightsPacker packer, DnnlConv::packer(p, layout, scaled));
    return std::unique_ptr<BoundStep>(new BoundPackConv(std::move(packer), scaled, format_));
  }

 private:
  DnnlConvPack pack_;
  std::string format_;
};

Result<std::unique_ptr<Step>> make_conv(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(DnnlConvStepParams params, dnnl_conv_params_from_json(desc.params));
  if (desc.inputs.size() < (params.bias ? 3u : 2u) || desc.outputs.size() != 1) {
    return bad("convolution with a wrong number of operands");
  }
  std::unique_ptr<DnnlConvPack> pack;
  if (!params.pack.is_null()) {
    KILN_ASSIGN_OR_RETURN(DnnlConvPack parsed, dnnl_conv_pack_from_json(params.pack));
    pack = std::make_unique<DnnlConvPack>(std::move(parsed));
  }
  return std::unique_ptr<Step>(new ConvStep(std::move(params), std::move(pack)));
}

Result<std::unique_ptr<Step>> make_pack_conv(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(DnnlConvPack pack, dnnl_conv_pack_from_json(desc.params));
  if (desc.inputs.empty() || desc.inputs.size() > 2 || desc.outputs.size() != 1) {
    return bad("packing step with a wrong number of operands");
  }
  return std::unique_ptr<Step>(new PackConvStep(std::move(pack), desc.params.dump()));
}

KILN_STEP(dnnl_conv, "dnnl.conv", make_conv);
KILN_STEP(dnnl_pack_conv, "dnnl.pack_conv", make_pack_conv);

}  // namespace
}  // namespace kiln
