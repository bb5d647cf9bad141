// Convolutions by oneDNN, channels-last, with the elementwise nodes behind them as post-ops.
// Constant weights are packed by the init plan.
#include <algorithm>
#include <utility>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cpu/compile/dnnl_epilogue.h"
#include "base/parallel_for.h"
#include "core/layout.h"
#include "fusion/buffer_reuse.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"
#include "ops/window.h"

namespace kiln {
namespace {

constexpr size_t kChannel = 1;

Result<DnnlConvGeometry> geometry_of(Node& conv) {
  DnnlConvGeometry g;
  for (const DimExpr& dim : conv.operand(1)->shape()) {
    if (!dim.is_constant()) return Status::error("K2411", "sizes of the weights are not known");
    g.weights.push_back(dim.value());
  }
  const Window window = conv_window(conv);
  g.groups = conv.get_int("groups");
  g.transposed = conv.is("conv_transpose");
  g.stride = window.stride;
  g.dilation = window.dilation;
  g.padding_begin = window.padding_low;
  g.padding_end = window.padding_high;
  if (g.transposed) {
    const std::vector<int64_t>& extra = conv.get_ints("output_padding");
    for (size_t i = 0; i < extra.size(); ++i) g.padding_end[i] -= extra[i];
  }
  KILN_RETURN_IF_ERROR(g.valid());
  for (size_t i = 0; i < g.stride.size(); ++i) {
    if (g.padding_begin[i] < 0) return Status::error("K2411", "negative padding");
  }
  return g;
}

// The question that settles kernel and packing, at representative sizes.
Result<DnnlConvPack> problem_of(Node& conv, const std::vector<DnnlEpilogueStep>& steps,
                                int threads) {
  KILN_RETURN_IF_ERROR(check_dnnl_serves(conv.operand(0)->dtype()));
  const Shape& src = conv.operand(0)->shape();
  const Shape& dst = conv.result()->shape();
  if (has_empty_dim(src) || has_empty_dim(dst) || has_empty_dim(conv.operand(1)->shape())) {
    return Status::error("K2411", "a size is 0");
  }
  if (!src[1].is_constant()) return Status::error("K2411", "number of channels is not known");
  DnnlConvPack problem;
  KILN_ASSIGN_OR_RETURN(problem.conv, geometry_of(conv));
  KILN_ASSIGN_OR_RETURN(const SymbolValues symbols, representative_symbols({src, dst}));
  KILN_ASSIGN_OR_RETURN(problem.src, evaluate(src, symbols));
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> dst_dims, evaluate(dst, symbols));
  problem.bias = conv.has_operand(2);
  problem.post_ops = post_op_params(steps);
  for (const DnnlEpilogueStep& step : steps) {
    if (step.tensor == nullptr) continue;
    problem.tensors.push_back(dnnl_tensor_dims(step.broadcast, dst_dims, kChannel));
  }
  problem.dtype = conv.operand(0)->dtype();
  problem.threads = threads;
  return problem;
}

// Has oneDNN a fast kernel?
Status supported(Node& conv, const std::vector<DnnlEpilogueStep>& steps, int threads) {
  KILN_ASSIGN_OR_RETURN(const DnnlConvPack problem, problem_of(conv, steps, threads));
  return problem.layout().status();
}

bool same_dense(const PlanView& view, const std::vector<int>& order) {
  const std::vector<DimExpr> strides = dense_strides(view.dims, order);
  for (size_t i = 0; i < strides.size(); ++i) {
    if (!view.dims[i].is_value(1) && !(view.strides[i] == strides[i])) return false;
  }
  return true;
}

// What is packed: the weights of a convolution, or the product that they are, of weights and a
// factor per output channel (a batch norm that was folded), which packing makes on its way.
std::vector<Value*> packing_sources(Value* weights, const DnnlConvPack& pack) {
  if (pack.conv.transposed || pack.dtype != DType::kF32) return {weights};
  Node* fused = weights->producer();
  if (fused == nullptr || !fused->is("fused") || fused->num_results() != 1) return {weights};
  Graph& body = *fused->bodies[0];
  const std::vector<Node*> nodes = body.snapshot();
  if (nodes.size() != 1 || !nodes[0]->is("mul") || body.inputs().size() != 2) return {weights};
  const Shape column = [&] {
    Shape shape(weights->shape().size(), DimExpr(1));
    shape[0] = weights->shape()[0];
    return shape;
  }();
  for (const int i : {0, 1}) {
    Value* plain = fused->operand(i);
    Value* factors = fused->operand(1 - i);
    if (!(plain->shape() == weights->shape()) || !(factors->shape() == column) ||
        plain->dtype() != pack.dtype || factors->dtype() != pack.dtype) {
      continue;
    }
    // Dense, as the step reads them: what a kernel or a file gave.
    while (factors->producer() != nullptr && factors->producer()->is("reshape")) {
      factors = factors->producer()->operand(0);
    }
    if (factors->shape().size() != 1) continue;
    if (factors->producer() != nullptr && !factors->producer()->is("fused")) continue;
    return {plain, factors};
  }
  return {weights};
}

class ConvTactic : public Tactic {
 public:
  ConvTactic(Anchor match, int threads) : match_(std::move(match)), threads_(threads) {}

  std::string name() const override { return "dnnl.conv"; }
  int absorbed() const override { return static_cast<int>(match_.epilogue.size()); }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& conv = *match_.anchor;
    const std::vector<DnnlEpilogueStep> steps =
        map_dnnl_epilogue(conv, match_.epilogue, kChannel);
    KILN_ASSIGN_OR_RETURN(const DnnlConvPack pack, problem_of(conv, steps, threads_));
    StepDesc step{"dnnl.conv", {}, {}, {}, node.origin.to_string(), match_.label()};
    const std::vector<int> order =
        Layout::channels_last(conv.result()->tensor().rank()).order;
    DnnlConvStepParams params;
    params.conv = pack.conv;
    params.bias = pack.bias;
    params.post_ops = pack.post_ops;

    step.inputs.push_back(lowering.materialize(lowering.view(match_.outer(conv.operand(0))), order,
                                               node.origin));
    Value* weights = match_.outer(conv.operand(1));
    if (lowering.is_constant(weights)) {
      params.pack = to_json(pack);
      step.inputs.push_back(lowering.pack(packing_sources(lowering.init_value(weights), pack),
                                          "dnnl.pack_conv", params.pack, node.origin));
    } else {
      // As they lie, but for those that repeat elements.
      const PlanView view = lowering.view(weights);
      step.inputs.push_back(repeats(view) ? lowering.materialize(view, {}, node.origin) : view);
    }
    if (pack.bias) {
      step.inputs.push_back(lowering.materialize(lowering.view(match_.outer(conv.operand(2))), {},
                                                 node.origin));
    }
    const Shape& dims = conv.result()->shape();
    for (const DnnlEpilogueStep& post_op : steps) {
      if (post_op.tensor == nullptr) continue;
      PlanView view = lowering.view(match_.outer(post_op.tensor));
      if (post_op.broadcast == DnnlBroadcast::kFull) {
        view = lowering.materialize(view, order, node.origin);
      } else {
        view = lowering.materialize(view, {}, node.origin);
        view.dims = dnnl_tensor_dims(post_op.broadcast, dims, kChannel);
        view.strides = dense_strides(view.dims, order);
      }
      step.inputs.push_back(std::move(view));
    }
    // Into a part of a wider tensor (of a concatenation's result) oneDNN has only its reference.
    const PlanView place = lowering.allocate(node.result());
    const bool direct = same_dense(place, order);
    const PlanView target =
        direct ? place : lowering.allocate_temp(conv.result()->dtype(), dims, order);
    step.outputs.push_back(target);
    step.params = to_json(params);
    lowering.emit(std::move(step));
    if (!direct) {
      lowering.emit({"copy", {target}, {place}, Json::object(), node.origin.to_string(), "copy"});
    }
    return {};
  }

 private:
  Anchor match_;
  int threads_;
};

class ConvProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "dnnl.conv"; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"conv", "conv_transpose"}, &match)) return;
    Status why;
    const int length = longest_dnnl_epilogue(
        *match.anchor, match.epilogue, kChannel,
        [&](const auto& steps) { return supported(*match.anchor, steps, device.threads); }, &why);
    const int wanted = static_cast<int>(match.epilogue.size());
    if (length == wanted) {
      out.tactics.push_back(std::make_unique<ConvTactic>(std::move(match), device.threads));
    } else if (length >= 0) {
      out.refusals.push_back({"dnnl.conv", "no post-op for " +
                                               std::string(match.epilogue[static_cast<size_t>(
                                                   length)]->op_name())});
    } else {
      out.refusals.push_back({"dnnl.conv", why.message()});
    }
  }
};

}  // namespace

int dnnl_conv_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) {
  Status why;
  return std::max(0, longest_dnnl_epilogue(
                         anchor, epilogue, kChannel,
                         [&](const auto& steps) {
                           return supported(anchor, steps, num_threads());
                         },
                         &why));
}

std::unique_ptr<KernelProvider> make_dnnl_conv_provider() {
  return std::make_unique<ConvProvider>();
}

}  // namespace kiln
