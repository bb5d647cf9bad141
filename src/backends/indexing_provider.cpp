#include "backends/indexing_provider.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "core/dtype.h"

namespace kiln {
namespace {

struct Entry {
  std::string_view op, kind;    // of the node and of its step
  int first_index, last_index;  // which operands are indices; -1: to the last
};
constexpr Entry kEntries[] = {{"embedding", "index", 1, 1},      {"index_select", "index", 1, 1},
                              {"index", "index", 1, -1},         {"gather", "gather", 1, 1},
                              {"index_put", "index_put", 2, -1}, {"scatter", "scatter", 1, 1}};

// NumPy's rule: the joint dims stand where the indexed axes stood if these are neighbours, else
// first.
int64_t joint_position(const std::vector<int64_t>& axes) {
  const bool neighbours = axes.back() - axes.front() + 1 == static_cast<int64_t>(axes.size());
  return neighbours ? axes.front() : 0;
}

IndexedAxes indexed_axes(Node& node) {
  IndexedAxes indexed{{0}, 0, node.is("index") || node.is("index_put")};
  if (indexed.negative) indexed.axes = node.get_ints("axes");
  if (node.is("index_select")) indexed.axes = {node.get_int("axis")};
  indexed.at = joint_position(indexed.axes);
  return indexed;
}

class IndexingTactic : public Tactic {
 public:
  IndexingTactic(const Entry& entry, const IndexingSteps& steps) : entry_(entry), steps_(steps) {}
  std::string name() const override { return std::string(entry_.op); }

  Status lower(Node& node, EngineLowering& lowering) override {
    StepDesc step = step_for(node, steps_.prefix + std::string(entry_.kind));
    const bool updates = entry_.kind == "index_put" || entry_.kind == "scatter";
    for (int i = updates ? 1 : 0; i < node.num_operands(); ++i) {
      step.inputs.push_back(lowering.view(node.operand(i)));
    }
    step.outputs.push_back(updates ? lowering.allocate_update(node)
                                   : lowering.allocate(node.result()));
    KILN_RETURN_IF_ERROR(entry_.kind == "gather" ? steps_.gather(step, node, lowering)
                         : entry_.kind == "scatter"
                             ? steps_.scatter(step, node, lowering)
                             : steps_.index(step, node, indexed_axes(node), lowering));
    lowering.emit(std::move(step));
    return {};
  }

 private:
  Entry entry_;
  IndexingSteps steps_;
};

class IndexingProvider : public KernelProvider {
 public:
  IndexingProvider(std::string name, IndexingSteps steps)
      : name_(std::move(name)), steps_(std::move(steps)) {}
  std::string_view name() const override { return name_; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    const Entry* entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                      [&](const Entry& e) { return e.op == node.op_name(); });
    if (entry == std::end(kEntries)) return;
    const int last = entry->last_index < 0 ? node.num_operands() - 1 : entry->last_index;
    const DType first_dtype = node.operand(entry->first_index)->dtype();
    for (int i = entry->first_index; i <= last; ++i) {
      const DType dtype = node.operand(i)->dtype();
      if (dtype != DType::kI64 && dtype != DType::kI32) {
        out.refusals.push_back({name_, "indices of dtype " + std::string(dtype_name(dtype))});
        return;
      }
      if (dtype != first_dtype) {
        out.refusals.push_back({name_, "index tensors of different dtypes"});
        return;
      }
    }
    out.tactics.push_back(std::make_unique<IndexingTactic>(*entry, steps_));
  }

 private:
  std::string name_;
  IndexingSteps steps_;
};

}  // namespace

std::unique_ptr<KernelProvider> make_indexing_provider(std::string name, IndexingSteps steps) {
  return std::make_unique<IndexingProvider>(std::move(name), std::move(steps));
}

}  // namespace kiln
