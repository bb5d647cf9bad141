// Reading and writing at positions that tensors give: embedding, index_select, index, index_put,
// gather, scatter.
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cpu/compile/step_tactic.h"

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

struct Entry {
  std::string_view op;
  LowerFunction lower;
  int first_index, last_index;  // which operands are indices; -1: to the last
};
constexpr Entry kEntries[] = {
    {"embedding", lower_embedding, 1, 1}, {"index_select", lower_index_select, 1, 1},
    {"index", lower_index, 1, -1},        {"index_put", lower_index_put, 2, -1},
    {"gather", lower_gather, 1, 1},       {"scatter", lower_scatter, 1, 1},
};

class IndexingProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "indexing"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    for (const Entry& entry : kEntries) {
      if (entry.op != node.op_name()) continue;
      const int last = entry.last_index < 0 ? node.num_operands() - 1 : entry.last_index;
      const DType first_dtype = node.operand(entry.first_index)->dtype();
      for (int i = entry.first_index; i <= last; ++i) {
        const DType dtype = node.operand(i)->dtype();
        if (dtype != DType::kI64 && dtype != DType::kI32) {
          out.refusals.push_back(
              {"indexing", "indices of dtype " + std::string(dtype_name(dtype))});
          return;
        }
        if (dtype != first_dtype) {
          out.refusals.push_back({"indexing", "index tensors of different dtypes"});
          return;
        }
      }
      out.tactics.push_back(std::make_unique<StepTactic>(std::string(entry.op), entry.lower));
    }
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider() {
  return std::make_unique<IndexingProvider>();
}

}  // namespace kiln
