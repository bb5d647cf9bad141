// Pools and resize on Kiln's own kernels: everything that the library refuses, and all adaptive
// pools.
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/step_tactic.h"
#include "ops/resize_geometry.h"
#include "ops/window.h"

namespace kiln {
namespace {

Status lower_pool(Node& node, EngineLowering& lowering) {
  const bool max = node.is("max_pool");
  const Window window = pool_window(node);
  StepDesc step = step_for(node, "pool");
  step.inputs.push_back(lowering.view(node.operand(0)));
  for (int i = 0; i < node.num_results(); ++i) {
    step.outputs.push_back(lowering.allocate(node.result(i)));
  }
  step.params.set("kind", max ? "max" : "avg");
  step.params.set("rank", window.rank());
  step.params.set("kernel", Json(window.kernel));
  step.params.set("stride", Json(window.stride));
  step.params.set("padding", Json(window.padding_low));
  step.params.set("dilation", Json(window.dilation));
  step.params.set("count_include_pad", max || node.get_bool("count_include_pad"));
  step.params.set("divisor", max ? int64_t{0} : node.get_int("divisor_override"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_adaptive_pool(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "pool");
  step.inputs.push_back(lowering.view(node.operand(0)));
  for (int i = 0; i < node.num_results(); ++i) {
    step.outputs.push_back(lowering.allocate(node.result(i)));
  }
  step.params.set("kind", node.is("adaptive_max_pool") ? "adaptive_max" : "adaptive_avg");
  step.params.set("rank", node.get_dims("output_size").size());
  lowering.emit(std::move(step));
  return {};
}

Status lower_resize(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "resize");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  const char* mode = "nearest";
  switch (*resize_mode(node.get_string("mode"))) {
    case ResizeMode::kNearest: break;
    case ResizeMode::kNearestExact: mode = "nearest_exact"; break;
    case ResizeMode::kLinear: mode = "linear"; break;
    case ResizeMode::kCubic: mode = "cubic"; break;
  }
  step.params.set("mode", mode);
  step.params.set("rank", node.get_dims("size").size());
  step.params.set("align_corners", node.get_bool("align_corners"));
  step.params.set("scales", Json(std::get<std::vector<double>>(node.attr("scales"))));
  lowering.emit(std::move(step));
  return {};
}

class PoolProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "pool"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    LowerFunction lower = nullptr;
    if (node.is("max_pool") || node.is("avg_pool")) lower = lower_pool;
    if (node.is("adaptive_max_pool") || node.is("adaptive_avg_pool")) lower = lower_adaptive_pool;
    if (node.is("resize")) lower = lower_resize;
    if (lower == nullptr) return;
    if (!accept_f32_or_f64(name(), node.operand(0)->dtype(), out)) return;
    out.tactics.push_back(std::make_unique<StepTactic>(node.is("resize") ? "resize" : "pool",
                                                       lower));
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_pool_provider() { return std::make_unique<PoolProvider>(); }

}  // namespace kiln
