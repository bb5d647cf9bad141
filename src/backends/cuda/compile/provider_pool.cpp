// Pools and interpolation on Kiln's own kernels.
#include <utility>

#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/pool_kernel.h"
#include "backends/step_tactic.h"
#include "ops/resize_geometry.h"
#include "ops/window.h"

namespace kiln::cuda {
namespace {

Status emit_pool(Node& node, PoolKernel kernel, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.pool");
  step.inputs.push_back(lowering.view(node.operand(0)));
  for (int i = 0; i < node.num_results(); ++i) {
    step.outputs.push_back(lowering.allocate(node.result(i)));
  }
  const PlanView& from = step.inputs[0];
  const PlanView& to = step.outputs[0];
  kernel.dtype = node.operand(0)->dtype();
  kernel.places = node.num_results() == 2;
  const PlanView* places = kernel.places ? &step.outputs[1] : nullptr;
  kernel.order = memory_order(to);
  kernel.wide = !all_narrow({&from, &to}, lowering.symbols()) ||
                (places != nullptr && !all_narrow({places}, lowering.symbols()));
  for (size_t i = 0; i < kernel.kernel.size(); ++i) {
    // Windows may reach beyond the input.
    constexpr int64_t kSmall = 1 << 14;
    kernel.wide = kernel.wide || kernel.kernel[i] > kSmall || kernel.stride[i] > kSmall ||
                  kernel.dilation[i] > kSmall;
    const DimExpr& size = from.dims[from.dims.size() - kernel.kernel.size() + i];
    kernel.wide = kernel.wide || size.range(lowering.symbols()).max > kOffsetLimit / 2;
  }
  kernel.sizes = KernelSizes(pool_sizes(from, to, places));
  step.params.set("kernel", lowering.kernel({PoolKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_pool(Node& node, EngineLowering& lowering) {
  const bool max = node.is("max_pool");
  const Window window = pool_window(node);
  PoolKernel kernel;
  kernel.kind = max ? PoolKernel::Kind::kMax : PoolKernel::Kind::kAverage;
  kernel.spatial = window.rank();
  kernel.kernel = window.kernel;
  kernel.stride = window.stride;
  kernel.padding = window.padding_low;
  kernel.dilation = window.dilation;
  kernel.count_include_pad = max || node.get_bool("count_include_pad");
  kernel.divisor = max ? 0 : node.get_int("divisor_override");
  return emit_pool(node, std::move(kernel), lowering);
}

Status lower_adaptive_pool(Node& node, EngineLowering& lowering) {
  PoolKernel kernel;
  kernel.kind = node.is("adaptive_max_pool") ? PoolKernel::Kind::kAdaptiveMax
                                             : PoolKernel::Kind::kAdaptiveAverage;
  kernel.spatial = static_cast<int64_t>(node.get_dims("output_size").size());
  return emit_pool(node, std::move(kernel), lowering);
}

Status lower_resize(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.resize");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  const PlanView& from = step.inputs[0];
  const PlanView& to = step.outputs[0];
  ResizeKernel kernel;
  switch (*resize_mode(node.get_string("mode"))) {
    case ResizeMode::kNearest: break;
    case ResizeMode::kNearestExact: kernel.mode = "nearest_exact"; break;
    case ResizeMode::kLinear: kernel.mode = "linear"; break;
    case ResizeMode::kCubic: kernel.mode = "cubic"; break;
  }
  kernel.dtype = node.result()->dtype();
  kernel.spatial = static_cast<int64_t>(node.get_dims("size").size());
  kernel.align_corners = node.get_bool("align_corners");
  kernel.scales = std::get<std::vector<double>>(node.attr("scales"));
  kernel.scales.resize(static_cast<size_t>(kernel.spatial), 0.0);
  kernel.order = memory_order(to);
  kernel.wide = !all_narrow({&from, &to}, lowering.symbols());
  const PlanView* none = nullptr;
  kernel.sizes = KernelSizes(pool_sizes(from, to, none));
  step.params.set("kernel", lowering.kernel({ResizeKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

class PoolProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "cuda.pool"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    LowerFunction lower = nullptr;
    if (node.is("max_pool") || node.is("avg_pool")) lower = lower_pool;
    if (node.is("adaptive_max_pool") || node.is("adaptive_avg_pool")) lower = lower_adaptive_pool;
    if (node.is("resize")) lower = lower_resize;
    if (lower == nullptr) return;
    const DType dtype = node.operand(0)->dtype();
    if (!is_float(dtype)) {
      out.refusals.push_back(
          {"cuda.pool", "no kernel for dtype " + std::string(dtype_name(dtype))});
      return;
    }
    out.tactics.push_back(
        std::make_unique<StepTactic>(node.is("resize") ? "resize" : "pool", lower));
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_pool_provider() { return std::make_unique<PoolProvider>(); }

}  // namespace kiln::cuda
