// merge-linears: linears that share their input become one, as query, key and value projections do.
//
//   %0 = linear(%x, %c0, %c1) : f32[2,5,8]
//   %1 = linear(%x, %c2) : f32[2,5,8]
// becomes
//   init { %c0 = concat(wq, wk) {axis=0}; %c1 = concat(bq, zeros) {axis=0} }
//   %0 = linear(%x, %c0, %c1) : f32[2,5,16]
//   %1 = slice(%0) {axis=2, start=0, end=8} : f32[2,5,8]
//   %2 = slice(%0) {axis=2, start=8, end=16} : f32[2,5,8]
//
// Weights and biases must be constants that nobody else uses (they would be kept twice). Above
// kMaxOutputs columns one product fills the machine alone and slices only cost.
#include <algorithm>
#include <map>
#include <set>

#include "ir/op_def.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

constexpr int64_t kMaxOutputs = 16384;

bool is_candidate(Node& node) {
  if (!node.is("linear") || is_dead(node)) return false;
  Value* weight = node.operand(1);
  if (!weight->is_constant_argument() || !weight->has_one_use()) return false;
  return !node.has_operand(2) || node.operand(2)->is_constant_argument();
}

class LinearMerger {
 public:
  LinearMerger(Module& module, std::vector<Node*> group, Node* first)
      : module_(module), group_(std::move(group)), first_(first) {}

  void run() {
    Value* weight = concat(1);
    Value* bias = nullptr;
    for (Node* node : group_) {
      if (node->has_operand(2)) bias = concat(2);
    }
    Graph& main = module_.main;
    Value* x = first_->operand(0);
    Value* all =
        create_node(main, "linear", {x, weight, bias}, {}, first_, first_->origin)->result();
    const auto axis = static_cast<int64_t>(all->tensor().rank() - 1);
    DimExpr at;
    for (Node* node : group_) {
      const DimExpr end = at + node->operand(1)->shape()[0];
      // Next to the merged one, because a linear may be used before the last of its group stands.
      Value* part = create_node(main, "slice", {all}, {{"axis", axis}, {"start", at}, {"end", end}},
                                first_, node->origin)
                        ->result();
      main.replace_all_uses(node->result(), part);
      at = end;
    }
    for (Node* node : group_) main.erase(node);
  }

 private:
  Value* emit(std::string_view op, std::vector<Value*> operands, AttrList attrs) {
    return create_node(module_.init, op, std::move(operands), std::move(attrs), nullptr,
                       first_->origin)
        ->result();
  }

  // Operand i of all linears, one below the other; zeros where there is none.
  Value* concat(int i) {
    std::vector<Value*> parts;
    for (Node* node : group_) {
      if (node->has_operand(i)) {
        parts.push_back(module_.init_value(node->operand(i)));
      } else {
        parts.push_back(emit(
            "full", {},
            {{"shape", Shape{node->operand(1)->shape()[0]}}, {"dtype", node->result()->dtype()}}));
      }
    }
    return module_.constant_for(emit("concat", parts, {{"axis", int64_t{0}}}));
  }

  Module& module_;
  std::vector<Node*> group_;
  Node* first_;  // of the group, in graph order
};

}  // namespace

KILN_PASS(merge_linears, "linears that share their input become one with slices") {
  bool changed = false;
  std::set<Node*> done;  // lookups only
  for (Node* node : module.main.snapshot()) {
    if (done.contains(node) || !is_candidate(*node)) continue;
    std::vector<Node*> group;
    int64_t outputs = 0;
    // In the order of uses, which moving nodes does not change.
    for (const Use& use : node->operand(0)->uses()) {
      if (use.operand != 0 || !is_candidate(*use.node)) continue;
      group.push_back(use.node);
      outputs += use.node->operand(1)->shape()[0].value();
    }
    done.insert(group.begin(), group.end());
    if (group.size() < 2 || outputs > kMaxOutputs || !context.should_rewrite()) continue;
    LinearMerger(module, std::move(group), node).run();
    changed = true;
  }
  return changed;
}

}  // namespace kiln
