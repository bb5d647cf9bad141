// Reading and writing at positions that tensors give: embedding, index_select, index, index_put,
// gather, scatter.
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/indexing_provider.h"

namespace kiln {
namespace {

// Where the joint dims of the index tensors stand in the result (NumPy's rule).
int64_t joint_position(const std::vector<int64_t>& axes) {
  const bool neighbours = axes.back() - axes.front() + 1 == static_cast<int64_t>(axes.size());
  return neighbours ? axes.front() : 0;
}

void set_index_params(StepDesc& step, std::string_view op, const std::vector<int64_t>& axes,
                      bool negative) {
  step.params.set("op", op);
  step.params.set("axes", Json(axes));
  step.params.set("at", joint_position(axes));
  step.params.set("negative", negative);
}

Status lower_selection(Node& node, EngineLowering& lowering, const std::vector<int64_t>& axes,
                       bool negative) {
  StepDesc step = step_for(node, "index");
  for (Value* operand : node.operands()) step.inputs.push_back(lowering.view(operand));
  step.outputs.push_back(lowering.allocate(node.result()));
  set_index_params(step, node.op_name(), axes, negative);
  lowering.emit(std::move(step));
  return {};
}

Status lower_embedding(Node& node, EngineLowering& lowering) {
  return lower_selection(node, lowering, {0}, false);
}
Status lower_index_select(Node& node, EngineLowering& lowering) {
  return lower_selection(node, lowering, {node.get_int("axis")}, false);
}
Status lower_index(Node& node, EngineLowering& lowering) {
  return lower_selection(node, lowering, node.get_ints("axes"), true);
}

Status lower_index_put(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "index_put");
  for (int i = 1; i < node.num_operands(); ++i) {
    step.inputs.push_back(lowering.view(node.operand(i)));
  }
  step.outputs.push_back(lowering.allocate_update(node));
  set_index_params(step, "index_put", node.get_ints("axes"), true);
  step.params.set("accumulate", node.get_bool("accumulate"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_gather(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "gather");
  step.inputs = {lowering.view(node.operand(0)), lowering.view(node.operand(1))};
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("axis", node.get_int("axis"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_scatter(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "scatter");
  step.inputs = {lowering.view(node.operand(1)), lowering.view(node.operand(2))};
  step.outputs.push_back(lowering.allocate_update(node));
  step.params.set("axis", node.get_int("axis"));
  step.params.set("reduce", node.get_string("reduce"));
  step.params.set("include_self", node.get_bool("include_self"));
  lowering.emit(std::move(step));
  return {};
}

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider() {
  return kiln::make_indexing_provider("indexing", {lower_embedding, lower_index_select, lower_index,
                                                 lower_index_put, lower_gather, lower_scatter});
}

}  // namespace kiln
