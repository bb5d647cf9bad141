// Reading and writing at positions that tensors give: embedding, index_select, index, index_put,
// gather, scatter.
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/indexing_provider.h"

namespace kiln {
namespace {

Status complete_index(StepDesc& step, Node& node, const IndexedAxes& indexed, EngineLowering&) {
  step.params.set("op", node.op_name());
  step.params.set("axes", Json(indexed.axes));
  step.params.set("at", indexed.at);
  step.params.set("negative", indexed.negative);
  if (node.is("index_put")) step.params.set("accumulate", node.get_bool("accumulate"));
  return {};
}

Status complete_gather(StepDesc& step, Node& node, EngineLowering&) {
  step.params.set("axis", node.get_int("axis"));
  return {};
}

Status complete_scatter(StepDesc& step, Node& node, EngineLowering&) {
  step.params.set("axis", node.get_int("axis"));
  step.params.set("reduce", node.get_string("reduce"));
  step.params.set("include_self", node.get_bool("include_self"));
  return {};
}

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider() {
  return kiln::make_indexing_provider("indexing",
                                      {"", complete_index, complete_gather, complete_scatter});
}

}  // namespace kiln
