// Convolutions over few channels on an own kernel: the first layer of nets for phones, 3 x 3 over
// an image's 3 channels to 16 or 32. cuDNN wants 8 channels at least, so that a copy would add
// zeros for most of its work to be done on, and its tiles are wider than the result.
#include <algorithm>
#include <utility>

#include "backends/cuda/compile/conv_operands.h"
#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/patch_product.h"
#include "backends/cuda/runtime/direct_conv_kernel.h"
#include "fusion/anchor.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

constexpr const char* kName = "cuda.direct_conv";

DirectConvKernel kernel_of(Node& conv) {
  const Window window = conv_window(conv);
  DirectConvKernel kernel;
  kernel.dtype = conv.result()->dtype();
  kernel.taps = window.kernel;
  kernel.in = conv.operand(0)->shape()[1].value();
  kernel.out = conv.result()->shape()[1].value();
  kernel.window = kernel_window(window);
  kernel.bias = conv.has_operand(2);
  return kernel;
}

class DirectConvTactic : public Tactic {
 public:
  DirectConvTactic(Anchor match, const KernelActivation& activation, const DeviceSpec& device)
      : match_(std::move(match)), activation_(activation), device_(device) {}

  std::string name() const override { return "direct_conv"; }
  int absorbed() const override { return static_cast<int>(match_.epilogue.size()); }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& conv = *match_.anchor;
    const PlanView x = lowering.view(match_.outer(conv.operand(0)));
    const PlanView weight = lowering.view(match_.outer(conv.operand(1)));
    StepDesc step{kName, {x, weight}, {}, Json::object(), node.origin.to_string(), match_.label()};
    if (conv.has_operand(2)) step.inputs.push_back(lowering.view(match_.outer(conv.operand(2))));
    const PlanView* bias = conv.has_operand(2) ? &step.inputs[2] : nullptr;
    const PlanView y = lowering.allocate(node.result());
    step.outputs.push_back(y);
    DirectConvKernel kernel = kernel_of(conv);
    kernel.activation = activation_;
    kernel.wide = conv_is_wide(conv_window(conv), x, weight, bias, y, lowering.symbols());
    kernel.y_along = takes_width(y, 1, DirectConvKernel::kOut);
    // Long strips read less; short ones keep the device busy.
    constexpr int64_t kLongest = 4, kBusyThreads = 512;
    const DimExpr positions = num_elements(y.dims);
    kernel.strip = kLongest;
    const auto too_long = [&] {
      return strip_columns(kernel.strip, kernel.taps.back(), kernel.window) >
                 DirectConvKernel::kMaxColumns ||
             (positions.is_constant() &&
              positions.value() / (DirectConvKernel::kOut * kernel.strip) <
                  device_.multiprocessors * kBusyThreads);
    };
    while (kernel.strip > 1 && too_long()) kernel.strip /= 2;
    KILN_ASSIGN_OR_RETURN(const NamedSizes<DimExpr> sizes,
                          conv_sizes(x, weight, bias, y, 1, false));
    kernel.sizes = KernelSizes(sizes);
    step.params.set("kernel", lowering.kernel({DirectConvKernel::kFamily, kernel.to_json()}));
    lowering.emit(std::move(step));
    return {};
  }

 private:
  Anchor match_;
  KernelActivation activation_;
  DeviceSpec device_;
};

class DirectConvProvider : public KernelProvider {
 public:
  std::string_view name() const override { return kName; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"conv"}, &match) || !is_direct_conv(*match.anchor)) return;
    KernelActivation activation;
    if (!only_activation(match.epilogue, &activation)) {
      out.refusals.push_back(
          {kName, "no epilogue for " + std::string(match.epilogue.back()->op_name())});
      return;
    }
    out.tactics.push_back(std::make_unique<DirectConvTactic>(std::move(match), activation, device));
  }
};

}  // namespace

bool is_direct_conv(Node& node) {
  constexpr int64_t kFewChannels = 4, kMostOut = 32, kMostDepth = 36;
  if (!node.is("conv") || node.get_int("groups") != 1 || is_patch_product(node)) return false;
  const DType dtype = node.result()->dtype();
  if (!is_half(dtype)) return false;
  const DimExpr &in = node.operand(0)->shape()[1], &out = node.result()->shape()[1];
  if (!in.is_constant() || in.value() < 1 || in.value() > kFewChannels) return false;
  if (!out.is_constant() || out.value() > kMostOut || out.value() < 1 ||
      out.value() % DirectConvKernel::kOut != 0) {
    return false;
  }
  const Window window = conv_window(node);
  int64_t depth = in.value();
  for (const int64_t taps : window.kernel) depth *= taps;
  return depth > 0 && depth <= kMostDepth && window.kernel.back() <= DirectConvKernel::kMaxTaps &&
         strip_columns(1, window.kernel.back(), kernel_window(window)) <=
             DirectConvKernel::kMaxColumns;
}

std::unique_ptr<KernelProvider> make_direct_conv_provider() {
  return std::make_unique<DirectConvProvider>();
}

}  // namespace kiln::cuda
