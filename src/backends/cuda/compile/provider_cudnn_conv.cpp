// Convolutions by cuDNN, channels-last, with an addend, a bias and one activation behind them.
//
// Whether there is an engine is asked of the library itself, about a device that is described: the
// answer holds on machines without a GPU. Constant weights are stored channels-last by the init
// plan.
#include <algorithm>
#include <utility>

#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/runtime/cublaslt_step.h"
#include "backends/cuda/runtime/cudnn_conv.h"
#include "backends/cuda/runtime/kernel_sizes.h"
#include "base/check.h"
#include "base/status.h"
#include "core/layout.h"
#include "fusion/anchor.h"
#include "fusion/engine_lowering.h"
#include "fusion/representative_sizes.h"
#include "ir/op_def.h"
#include "ops/window.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cudnn.conv";
constexpr size_t kChannel = 1;

// The epilogue that the leading nodes come to.
struct Epilogue {
  int nodes = 0;
  Value* bias = nullptr;  // inside
  Value* add = nullptr;   // inside
  KernelActivation activation;
};

bool absorb(Node& node, Value* y, bool has_bias, Epilogue& e) {
  if (node.num_results() != 1 || !(node.result()->shape() == y->shape()) ||
      node.result()->dtype() != y->dtype() || e.activation.kind != KernelActivation::Kind::kNone) {
    return false;
  }
  if (node.num_operands() == 1 && node.operand(0) == y) return activation_of(node, &e.activation);
  if (!node.is("add") || node.operand(0) == node.operand(1)) return false;
  const bool reversed = node.operand(1) == y;
  if (!reversed && node.operand(0) != y) return false;
  Value* other = node.operand(reversed ? 0 : 1);
  if (!other->type.is_tensor() || other->dtype() != y->dtype()) return false;
  if (other->shape() == y->shape()) {
    if (e.add != nullptr) return false;
    e.add = other;
    return true;
  }
  if (has_bias || e.bias != nullptr || number_of(other) ||
      !is_per_channel(other, y->shape(), kChannel)) {
    return false;
  }
  e.bias = other;
  return true;
}

std::vector<Epilogue> epilogues_of(Node& conv, const std::vector<Node*>& nodes) {
  std::vector<Epilogue> prefixes(1);
  Value* y = conv.result();
  for (Node* node : nodes) {
    Epilogue longer = prefixes.back();
    if (!absorb(*node, y, conv.has_operand(2), longer)) break;
    ++longer.nodes;
    prefixes.push_back(longer);
    y = node->result();
  }
  return prefixes;
}

Result<CudnnConvStepParams> params_of(Node& conv, const Epilogue& epilogue,
                                      const LibraryWishes& wishes, int sm) {
  const DType dtype = conv.result()->dtype();
  if (!is_float(dtype)) {
    return Status::error("K2411", "dtype " + std::string(dtype_name(dtype)));
  }
  for (const DimExpr& dim : conv.operand(1)->shape()) {
    if (!dim.is_constant()) return Status::error("K2411", "sizes of the weights are not known");
  }
  const Window window = conv_window(conv);
  if (window.rank() < 1 || window.rank() > 3) {
    return Status::error("K2411", "not one to three spatial dims");
  }
  CudnnConvStepParams p;
  p.stride = window.stride;
  p.dilation = window.dilation;
  p.padding_low = window.padding_low;
  p.padding_high = window.padding_high;
  for (int i = 0; i < window.rank(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (p.padding_low[at] < 0 || p.padding_high[at] < 0) {
      return Status::error("K2411", "negative padding");
    }
  }
  p.groups = conv.get_int("groups");
  p.transposed = conv.is("conv_transpose");
  p.bias = conv.has_operand(2) || epilogue.bias != nullptr;
  p.add = epilogue.add != nullptr;
  p.activation = epilogue.activation;
  p.allow_tf32 = wishes.allow_tf32 && dtype == DType::kF32;
  p.tune = wishes.tune;
  p.workspace_bytes = library_workspace_bytes(sm);
  return p;
}

ConcreteView dense(DType dtype, std::vector<int64_t> dims) {
  ConcreteView view;
  view.dtype = dtype;
  view.dims = std::move(dims);
  view.strides.assign(view.dims.size(), 1);
  int64_t stride = 1;
  const std::vector<int> order = Layout::channels_last(view.rank()).order;
  for (size_t i = order.size(); i-- > 0;) {
    view.strides[static_cast<size_t>(order[i])] = stride;
    stride *= view.dims[static_cast<size_t>(order[i])];
  }
  return view;
}

// Has cuDNN an engine, at representative sizes?
Status supported(Node& conv, const Epilogue& epilogue, const DeviceSpec& device,
                 const LibraryWishes& wishes) {
  KILN_RETURN_IF_ERROR(cudnn().status());
  KILN_ASSIGN_OR_RETURN(const CudnnConvStepParams params,
                        params_of(conv, epilogue, wishes, device.sm()));
  const Shape &x = conv.operand(0)->shape(), &w = conv.operand(1)->shape();
  const Shape& y = conv.result()->shape();
  if (has_empty_dim(x) || has_empty_dim(w) || has_empty_dim(y)) {
    return Status::error("K2411", "a size is 0");
  }
  if (!x[1].is_constant()) return Status::error("K2411", "number of channels is not known");
  KILN_ASSIGN_OR_RETURN(const SymbolValues symbols, representative_symbols({x, y}));
  CudnnConv::Operands operands;
  const DType dtype = conv.result()->dtype();
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, evaluate(x, symbols));
  operands.x = dense(dtype, std::move(dims));
  KILN_ASSIGN_OR_RETURN(dims, evaluate(w, symbols));
  operands.w = dense(dtype, std::move(dims));
  KILN_ASSIGN_OR_RETURN(dims, evaluate(y, symbols));
  operands.y = dense(dtype, std::move(dims));
  if (params.add) operands.add = operands.y;
  return CudnnConv::supports(params, operands, device.sm(), device.multiprocessors);
}

// The longest epilogue that there is an engine for; nothing and `why` when there is not even one
// for the convolution alone.
std::optional<Epilogue> longest(Node& conv, const std::vector<Node*>& nodes,
                                const DeviceSpec& device, const LibraryWishes& wishes,
                                Status* why) {
  std::vector<Epilogue> prefixes = epilogues_of(conv, nodes);
  for (; !prefixes.empty(); prefixes.pop_back()) {
    *why = supported(conv, prefixes.back(), device, wishes);
    if (why->ok()) return prefixes.back();
  }
  return {};
}

bool same_dense(const PlanView& view, const std::vector<int>& order) {
  const std::vector<DimExpr> strides = dense_strides(view.dims, order);
  for (size_t i = 0; i < strides.size(); ++i) {
    if (!view.dims[i].is_value(1) && !(view.strides[i] == strides[i])) return false;
  }
  return true;
}

class ConvTactic : public Tactic {
 public:
  ConvTactic(Anchor match, const Epilogue& epilogue, const LibraryWishes& wishes, int sm)
      : match_(std::move(match)), epilogue_(epilogue), wishes_(wishes), sm_(sm) {}

  std::string name() const override { return std::string(kName); }
  int absorbed() const override { return epilogue_.nodes; }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& conv = *match_.anchor;
    KILN_ASSIGN_OR_RETURN(const CudnnConvStepParams params,
                          params_of(conv, epilogue_, wishes_, sm_));
    const std::vector<int> order = Layout::channels_last(conv.result()->tensor().rank()).order;
    StepDesc step{"cuda.cudnn_conv", {}, {}, params.to_json(), node.origin.to_string(),
                  match_.label()};
    auto channels_last = [&](Value* value) {
      Value* outer = match_.outer(value);
      if (lowering.is_constant(outer)) return lowering.constant(outer, order);
      return lowering.materialize(lowering.view(outer), order, node.origin);
    };
    step.inputs.push_back(channels_last(conv.operand(0)));
    step.inputs.push_back(channels_last(conv.operand(1)));
    if (Value* bias = conv.has_operand(2) ? conv.operand(2) : epilogue_.bias) {
      PlanView view = lowering.materialize(lowering.view(match_.outer(bias)), {}, node.origin);
      // Engines read biases 16 bytes at a time.
      const auto wide = 16 / static_cast<int64_t>(dtype_bytes(bias->dtype()));
      if (!divides(wide, view.offset)) {
        const PlanView part = view;
        view = lowering.allocate_temp(bias->dtype(), part.dims);
        lowering.emit({"copy", {part}, {view}, Json::object(), node.origin.to_string(), "copy"});
      }
      view.dims = {conv.result()->shape()[kChannel]};
      view.strides = {DimExpr(1)};
      step.inputs.push_back(std::move(view));
    }
    if (epilogue_.add != nullptr) step.inputs.push_back(channels_last(epilogue_.add));
    // Engines want dense results: a part of a wider tensor is copied there.
    const PlanView place = lowering.allocate(node.result());
    const bool direct = same_dense(place, order);
    const PlanView target =
        direct ? place
               : lowering.allocate_temp(conv.result()->dtype(), conv.result()->shape(), order);
    step.outputs.push_back(target);
    lowering.emit(std::move(step));
    if (!direct) {
      lowering.emit({"copy", {target}, {place}, Json::object(), node.origin.to_string(), "copy"});
    }
    return {};
  }

 private:
  Anchor match_;
  Epilogue epilogue_;
  LibraryWishes wishes_;
  int sm_;
};

class ConvProvider : public KernelProvider {
 public:
  explicit ConvProvider(const LibraryWishes& wishes) : wishes_(wishes) {}
  std::string_view name() const override { return kName; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"conv", "conv_transpose"}, &match)) return;
    Status why;
    const auto epilogue = longest(*match.anchor, match.epilogue, device, wishes_, &why);
    if (!epilogue) {
      out.refusals.push_back({std::string(kName), why.message()});
    } else if (epilogue->nodes < static_cast<int>(match.epilogue.size())) {
      Node* next = match.epilogue[static_cast<size_t>(epilogue->nodes)];
      out.refusals.push_back(
          {std::string(kName), "no engine with " + std::string(next->op_name())});
    } else {
      out.tactics.push_back(
          std::make_unique<ConvTactic>(std::move(match), *epilogue, wishes_, device.sm()));
    }
  }

 private:
  LibraryWishes wishes_;
};

}  // namespace

int cudnn_conv_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue,
                               const DeviceSpec& device, const LibraryWishes& wishes) {
  Status why;
  const auto found = longest(anchor, epilogue, device, wishes, &why);
  return found ? found->nodes : 0;
}

std::unique_ptr<KernelProvider> make_cudnn_conv_provider(const LibraryWishes& wishes) {
  return std::make_unique<ConvProvider>(wishes);
}

}  // namespace kiln::cuda
