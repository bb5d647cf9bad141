// Reading and writing at positions that tensors give: embedding, index_select, index, index_put,
// gather, scatter.
#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/gather_kernel.h"
#include "backends/cuda/runtime/index_kernel.h"
#include "backends/indexing_provider.h"

namespace kiln::cuda {
namespace {

Status complete_index(StepDesc& step, Node& node, const IndexedAxes& indexed,
                      EngineLowering& lowering) {
  const bool put = node.is("index_put");
  const PlanView& table = put ? step.outputs[0] : step.inputs[0];
  const PlanView& dense = put ? step.inputs[0] : step.outputs[0];
  const std::vector<PlanView> index(step.inputs.begin() + 1, step.inputs.end());
  IndexKernel kernel;
  kernel.dtype = node.result()->dtype();
  kernel.index = node.operand(put ? 2 : 1)->dtype();
  kernel.axes = indexed.axes;
  kernel.at = indexed.at;
  kernel.negative = indexed.negative;
  kernel.accumulate = put && node.get_bool("accumulate");
  KILN_ASSIGN_OR_RETURN(const IndexGeometry<DimExpr> whole,
                        index_geometry(table, dense, index, kernel.axes, kernel.at, put));
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
  return {};
}

Status complete_gather(StepDesc& step, Node& node, EngineLowering& lowering) {
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
  return {};
}

Status complete_scatter(StepDesc& step, Node& node, EngineLowering& lowering) {
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
  return {};
}

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider() {
  return kiln::make_indexing_provider("cuda.indexing",
                                      {"cuda.", complete_index, complete_gather, complete_scatter});
}

}  // namespace kiln::cuda
