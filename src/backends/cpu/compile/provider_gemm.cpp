// Matrix products and convolutions on Kiln's own kernels, for what the library refuses: f64 (it has
// no f64 matmul), and everything where there is no library.
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cpu/compile/step_tactic.h"
#include "base/check.h"
#include "ops/window.h"

namespace kiln {
namespace {

PlanView transposed(PlanView view) {
  const size_t rank = view.dims.size();
  std::swap(view.dims[rank - 2], view.dims[rank - 1]);
  std::swap(view.strides[rank - 2], view.strides[rank - 1]);
  return view;
}

// [..., k] as one matrix where strides allow it; else the outer dims stay as batch dims.
bool as_matrix(const PlanView& view, PlanView* out) {
  const Shape rows(view.dims.begin(), view.dims.end() - 1);
  return reshape_view(view, {num_elements(rows), view.dims.back()}, out);
}

Status lower_linear(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "gemm");
  PlanView a = lowering.view(node.operand(0));
  const PlanView weight = transposed(lowering.view(node.operand(1)));
  PlanView c = lowering.allocate(node.result());
  PlanView flat_a, flat_c;
  if (as_matrix(a, &flat_a) && as_matrix(c, &flat_c)) {
    a = flat_a;
    c = flat_c;
  } else {
    // Without rows of its own, a vector would be merged above.
    KILN_CHECK(a.dims.size() >= 2);
  }
  step.inputs = {a, weight};
  if (node.has_operand(2)) {
    step.inputs.push_back(
        lowering.materialize(lowering.view(node.operand(2)), {}, node.origin));
  }
  step.outputs.push_back(c);
  lowering.emit(std::move(step));
  return {};
}

Status lower_matmul(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "gemm");
  PlanView a = lowering.view(node.operand(0));
  PlanView b = lowering.view(node.operand(1));
  if (node.get_bool("transpose_a")) a = transposed(a);
  if (node.get_bool("transpose_b")) b = transposed(b);
  PlanView c = lowering.allocate(node.result());
  // A batch of matrices times one matrix is one product.
  PlanView flat_a, flat_c;
  if (b.dims.size() == 2 && a.dims.size() > 2 && as_matrix(a, &flat_a) && as_matrix(c, &flat_c)) {
    a = flat_a;
    c = flat_c;
  }
  step.inputs = {a, b};
  step.outputs.push_back(c);
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
