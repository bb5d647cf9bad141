// Moving elements: reorder, flip, roll, pad, scans, sorts, and sources that are no tile programs.
#include <algorithm>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/movement_provider.h"

namespace kiln {
namespace {

Status lower_copy(const PlanView& source, Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "copy");
  step.inputs.push_back(source);
  step.outputs.push_back(lowering.allocate(node.result()));
  lowering.emit(std::move(step));
  return {};
}

Status lower_reorder(Node& node, EngineLowering& lowering) {
  return lower_copy(lowering.view(node.operand(0)), node, lowering);
}

Status lower_flip(Node& node, EngineLowering& lowering) {
  const PlanView source = flipped(lowering.view(node.operand(0)), node.get_ints("axes"));
  return lower_copy(source, node, lowering);
}

Status lower_roll(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "pad");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  std::vector<DimExpr> low(step.inputs[0].dims.size());
  const std::vector<int64_t>& axes = node.get_ints("axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    low[static_cast<size_t>(axes[i])] = node.get_dims("shifts")[i];
  }
  step.params.set("mode", "roll");
  step.params.set("low", dims_param(low));
  step.params.set("value", 0.0);
  lowering.emit(std::move(step));
  return {};
}

Status lower_pad(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "pad");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("mode", node.get_string("mode"));
  step.params.set("low", dims_param(node.get_dims("low")));
  step.params.set("value", node.get_float("value"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_scan(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "scan");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("op", node.is("cumsum") ? "sum" : "prod");
  step.params.set("axis", node.get_int("axis"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_sort(Node& node, EngineLowering& lowering) {
  const bool topk = node.is("topk");
  StepDesc step = step_for(node, "sort");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs = {lowering.allocate(node.result(0)), lowering.allocate(node.result(1))};
  step.params.set("axis", node.get_int("axis"));
  step.params.set("descending", node.get_bool(topk ? "largest" : "descending"));
  // What torch leaves open is defined here: in order, and stable.
  step.params.set("sorted", true);
  lowering.emit(std::move(step));
  return {};
}

Status lower_iota(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "iota");
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("start", node.get_dim("start").to_string());
  step.params.set("step", node.get_dim("step").to_string());
  step.params.set("scale", node.get_float("scale"));
  step.params.set("offset", node.get_float("offset"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_constant(Node& node, EngineLowering& lowering) {
  const auto& value = std::get<HostTensor>(node.attr("value"));
  StepDesc step = step_for(node, "literal");
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("bytes", hex_of(value));
  lowering.emit(std::move(step));
  return {};
}

}  // namespace

std::unique_ptr<KernelProvider> make_movement_provider() {
  return kiln::make_movement_provider(
      "movement", {lower_reorder, lower_flip, lower_roll, lower_pad, lower_scan, lower_sort,
                   lower_iota, lower_constant});
}

}  // namespace kiln
