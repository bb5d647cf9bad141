// Matrix products and convolutions on Kiln's own kernels, for what the library refuses: f64 (it has
// no f64 matmul), and everything where there is no library.
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/operand_views.h"
#include "backends/step_tactic.h"
#include "ops/window.h"

namespace kiln {
namespace {

Status lower_linear(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "gemm");
  const ProductViews views = linear_views(node, lowering);
  step.inputs = {views.a, views.b};
  if (node.has_operand(2)) {
    step.inputs.push_back(
        lowering.materialize(lowering.view(node.operand(2)), {}, node.origin));
  }
  step.outputs.push_back(views.c);
  lowering.emit(std::move(step));
  return {};
}

Status lower_matmul(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "gemm");
  const ProductViews views = matmul_views(node, lowering);
  step.inputs = {views.a, views.b};
  step.outputs.push_back(views.c);
  lowering.emit(std::move(step));
  return {};
}

Status lower_conv(Node& node, EngineLowering& lowering) {
  const Window window = conv_window(node);
  StepDesc step = step_for(node, "conv_direct");
  step.inputs = {lowering.view(node.operand(0)), lowering.view(node.operand(1))};
  if (node.has_operand(2)) {
    step.inputs.push_back(
        lowering.materialize(lowering.view(node.operand(2)), {}, node.origin));
  }
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("transposed", node.is("conv_transpose"));
  step.params.set("groups", node.get_int("groups"));
  step.params.set("stride", Json(window.stride));
  step.params.set("padding", Json(window.padding_low));
  step.params.set("dilation", Json(window.dilation));
  lowering.emit(std::move(step));
  return {};
}

class GemmProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "gemm"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    LowerFunction lower = nullptr;
    if (node.is("linear")) lower = lower_linear;
    if (node.is("matmul")) lower = lower_matmul;
    const bool conv = node.is("conv") || node.is("conv_transpose");
    if (conv) lower = lower_conv;
    if (lower == nullptr) return;
    if (!accept_f32_or_f64(name(), node.operand(0)->dtype(), out)) return;
    out.tactics.push_back(std::make_unique<StepTactic>(conv ? "conv_direct" : "gemm", lower));
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_gemm_provider() { return std::make_unique<GemmProvider>(); }

}  // namespace kiln
