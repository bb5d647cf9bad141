// Reading and writing at positions that tensors give: embedding, index_select, index, index_put,
// gather, scatter.
#include <utility>

#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/gather_kernel.h"
#include "backends/cuda/runtime/index_kernel.h"
#include "backends/indexing_provider.h"

namespace kiln::cuda {
namespace {

// Where the joint dims of the index tensors stand in the result (NumPy's rule).
int64_t joint_position(const std::vector<int64_t>& axes) {
  const bool neighbours = axes.back() - axes.front() + 1 == static_cast<int64_t>(axes.size());
  return neighbours ? axes.front() : 0;
}

// Completes an "index" or "index_put" step whose operands are set.
Status emit_index(StepDesc step, Node& node, const std::vector<int64_t>& axes, bool negative,
                  EngineLowering& lowering) {
  const bool put = node.is("index_put");
  const PlanView& table = put ? step.outputs[0] : step.inputs[0];
  const PlanView& dense = put ? step.inputs[0] : step.outputs[0];
  const std::vector<PlanView> index(step.inputs.begin() + 1, step.inputs.end());
  IndexKernel kernel;
  kernel.dtype = node.result()->dtype();
  kernel.index = node.operand(put ? 2 : 1)->dtype();
  kernel.axes = axes;
  kernel.at = joint_position(axes);
  kernel.negative = negative;
  kernel.accumulate = put && node.get_bool("accumulate");
  KILN_ASSIGN_OR_RETURN(const IndexGeometry<DimExpr> whole,
                        index_geometry(table, dense, index, axes, kernel.at, put));
  kernel.joint = whole.joint;
  IndexGeometry<DimExpr> geometry = whole;
  const int64_t element = static_cast<int64_t>(dtype_bytes(kernel.dtype));
  for (int64_t width = 16 / element; width > 1 && !kernel.accumulate; width /= 2) {
    if (!divides(width, table.offset) || !divides(width, dense.offset) ||
        !widen_geometry(geometry, kernel.at, width)) {
      continue;
    }
    kernel.width = width;
    break;
  }
  PlanView walked = dense;
  walked.dims = geometry.n;
  walked.strides = geometry.dense;
  kernel.order = memory_order(walked);
  kernel.wide = !all_narrow({&table, &dense, &walked}, lowering.symbols());
  for (const PlanView& tensor : index) {
    kernel.wide = kernel.wide || !all_narrow({&tensor}, lowering.symbols());
  }
  kernel.sizes = KernelSizes(geometry.sizes());
  step.params.set("kernel", lowering.kernel({put ? IndexKernel::kPutFamily : IndexKernel::kFamily,
                                             kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_selection(Node& node, EngineLowering& lowering, const std::vector<int64_t>& axes,
                       bool negative) {
  StepDesc step = step_for(node, "cuda.index");
  for (Value* operand : node.operands()) step.inputs.push_back(lowering.view(operand));
  step.outputs.push_back(lowering.allocate(node.result()));
  return emit_index(std::move(step), node, axes, negative, lowering);
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
  StepDesc step = step_for(node, "cuda.index_put");
  for (int i = 1; i < node.num_operands(); ++i) {
    step.inputs.push_back(lowering.view(node.operand(i)));
  }
  step.outputs.push_back(lowering.allocate_update(node));
  return emit_index(std::move(step), node, node.get_ints("axes"), true, lowering);
}

Status lower_gather(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.gather");
  step.inputs = {lowering.view(node.operand(0)), lowering.view(node.operand(1))};
  step.outputs.push_back(lowering.allocate(node.result()));
  const PlanView& table = step.inputs[0];
  const PlanView& index = step.inputs[1];
  const PlanView& result = step.outputs[0];
  GatherKernel kernel;
  kernel.bytes = static_cast<int64_t>(dtype_bytes(node.result()->dtype()));
  kernel.index = node.operand(1)->dtype();
  kernel.axis = node.get_int("axis");
  kernel.order = memory_order(result);
  kernel.wide = !all_narrow({&table, &index, &result}, lowering.symbols());
  kernel.sizes = KernelSizes(gather_sizes(table, index, result, static_cast<size_t>(kernel.axis)));
  step.params.set("kernel", lowering.kernel({GatherKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_scatter(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.scatter");
  step.inputs = {lowering.view(node.operand(1)), lowering.view(node.operand(2))};
  step.outputs.push_back(lowering.allocate_update(node));
  const PlanView& index = step.inputs[0];
  const PlanView& values = step.inputs[1];
  const PlanView& table = step.outputs[0];
  ScatterKernel kernel;
  kernel.dtype = node.result()->dtype();
  kernel.index = node.operand(1)->dtype();
  kernel.axis = node.get_int("axis");
  kernel.reduce = node.get_string("reduce");
  kernel.include_self = node.get_bool("include_self");
  kernel.order = memory_order(table);
  kernel.wide = !all_narrow({&table, &index, &values}, lowering.symbols());
  kernel.sizes = KernelSizes(gather_sizes(table, index, values, static_cast<size_t>(kernel.axis)));
  step.params.set("kernel", lowering.kernel({ScatterKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider() {
  return kiln::make_indexing_provider(
      "cuda.indexing", {lower_embedding, lower_index_select, lower_index, lower_index_put,
                        lower_gather, lower_scatter});
}

}  // namespace kiln::cuda
