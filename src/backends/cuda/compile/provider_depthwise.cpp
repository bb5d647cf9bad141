// Convolutions of each channel by itself on an own kernel, with the activation behind them: what
// they read and write is all that they cost, and no library's engine takes an activation along.
#include <algorithm>
#include <utility>

#include "backends/cuda/compile/conv_operands.h"
#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/patch_product.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/depthwise_kernel.h"
#include "fusion/anchor.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

constexpr const char* kName = "cuda.depthwise";

// Threads along channels that read a line or more of the cache together: all where they are few,
// else a part without remainder.
int64_t side_by_side(int64_t threads) {
  constexpr int64_t kFew = 16, kLeast = 4;
  if (threads <= kFew) return threads;
  for (int64_t count = kFew; count >= kLeast; --count) {
    if (threads % count == 0) return count;
  }
  return threads;
}

// How threads share the work, once the operands of `kernel` are known.
void schedule(const PlanView& x, const PlanView& weight, const PlanView& y, const PlanView* bias,
              const DeviceSpec& device, DepthwiseKernel& kernel) {
  kernel.order = memory_order(y);
  if (weight.dims[0] == x.dims[1]) {  // a result for each channel
    kernel.width = 16 / static_cast<int64_t>(dtype_bytes(kernel.dtype));
    while (!takes_width(x, 1, kernel.width) || !takes_width(y, 1, kernel.width)) kernel.width /= 2;
  }
  kernel.factors_along = depthwise_factors_along(weight, bias, kernel.width);
  const int64_t taps = weight.dims.back().value();
  kernel.taps = taps <= DepthwiseKernel::kMaxTaps ? taps : 1;
  if (kernel.columns() > DepthwiseKernel::kMaxColumns) kernel.taps = 1;
  const bool channels_last = kernel.order.back() == 1 && y.dims[1].is_constant();
  if (!channels_last) return;
  const int64_t threads = y.dims[1].value() / kernel.width;
  kernel.side_by_side = side_by_side(threads);
  // Channels before the axes: a block stays in one part of the image.
  kernel.order.pop_back();
  kernel.order.insert(kernel.order.begin() + 1, 1);
  // Long strips read less; short ones keep the device busy.
  constexpr int64_t kLongest = 4, kBusyThreads = 512;
  const DimExpr positions = num_elements(y.dims);
  kernel.strip = kLongest;
  const auto too_long = [&] {
    if (kernel.columns() > DepthwiseKernel::kMaxColumns) return true;
    if (y.dims.back().is_constant() && y.dims.back().value() <= kernel.strip / 2) return true;
    return positions.is_constant() && positions.value() / (kernel.width * kernel.strip) <
                                          device.multiprocessors * kBusyThreads;
  };
  while (kernel.strip > 1 && too_long()) kernel.strip /= 2;
}

class DepthwiseTactic : public Tactic {
 public:
  DepthwiseTactic(Anchor match, const KernelActivation& activation, const DeviceSpec& device)
      : match_(std::move(match)), activation_(activation), device_(device) {}

  std::string name() const override { return "depthwise"; }
  int absorbed() const override { return static_cast<int>(match_.epilogue.size()); }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& conv = *match_.anchor;
    const int rank = conv.result()->tensor().rank();
    std::vector<int> order;  // [spatial..., 1, out]
    for (int i = 2; i < rank; ++i) order.push_back(i);
    order.push_back(1);
    order.push_back(0);
    const PlanView x = lowering.view(match_.outer(conv.operand(0)));
    const PlanView weight = conv_weight(match_.outer(conv.operand(1)), order, lowering);
    StepDesc step{kName, {x, weight}, {}, Json::object(), node.origin.to_string(), match_.label()};
    if (conv.has_operand(2)) step.inputs.push_back(lowering.view(match_.outer(conv.operand(2))));
    const PlanView* bias = conv.has_operand(2) ? &step.inputs[2] : nullptr;
    const PlanView y = lowering.allocate(node.result());
    step.outputs.push_back(y);
    const Window window = conv_window(conv);
    DepthwiseKernel kernel;
    kernel.dtype = conv.result()->dtype();
    kernel.spatial = window.rank();
    kernel.groups = conv.get_int("groups");
    kernel.window = kernel_window(window);
    kernel.bias = bias != nullptr;
    kernel.activation = activation_;
    kernel.wide = conv_is_wide(window, x, weight, bias, y, lowering.symbols());
    schedule(x, weight, y, bias, device_, kernel);
    KILN_ASSIGN_OR_RETURN(const NamedSizes<DimExpr> sizes,
                          conv_sizes(x, weight, bias, y, kernel.groups, false));
    kernel.sizes = KernelSizes(sizes);
    step.params.set("kernel", lowering.kernel({DepthwiseKernel::kFamily, kernel.to_json()}));
    lowering.emit(std::move(step));
    return {};
  }

 private:
  Anchor match_;
  KernelActivation activation_;
  DeviceSpec device_;
};

class DepthwiseProvider : public KernelProvider {
 public:
  std::string_view name() const override { return kName; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"conv"}, &match) || !is_depthwise(*match.anchor)) return;
    const DType dtype = match.anchor->result()->dtype();
    if (!is_float(dtype)) {
      out.refusals.push_back({kName, "no kernel for dtype " + std::string(dtype_name(dtype))});
      return;
    }
    KernelActivation activation;
    if (!only_activation(match.epilogue, &activation)) {
      out.refusals.push_back(
          {kName, "no epilogue for " + std::string(match.epilogue.back()->op_name())});
      return;
    }
    out.tactics.push_back(std::make_unique<DepthwiseTactic>(std::move(match), activation, device));
  }
};

}  // namespace

bool is_depthwise(Node& node) {
  return node.is("conv") && node.operand(1)->shape()[1].is_value(1) &&
         node.operand(0)->shape()[1].is_value(node.get_int("groups")) && !is_patch_product(node);
}

std::unique_ptr<KernelProvider> make_depthwise_provider() {
  return std::make_unique<DepthwiseProvider>();
}

}  // namespace kiln::cuda
