// cse: equal nodes over equal operands are computed once; equal constants are one constant. Works
// on the init graph, the main graph and bodies, each by itself. Nodes with effects stay apart.
//
//   %0 = exp(%x) : f32[2]                   %0 = exp(%x) : f32[2]
//   %1 = exp(%x) : f32[2]              ->   %1 = add(%0, %0) : f32[2]
//   %2 = add(%0, %1) : f32[2]
#include <map>

#include "base/hash.h"
#include "ir/op_def.h"
#include "ops/effects.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

class Merger {
 public:
  Merger(Graph& graph, PassContext& context) : graph_(graph), context_(context) {
    for (Value* input : graph.inputs()) number(input);
    for (Value* constant : graph.constants()) number(constant);
  }

  // False as soon as the limit is reached.
  bool run(bool* changed) {
    for (Node* node : graph_.snapshot()) {
      for (const auto& body : node->bodies) {
        if (!Merger(*body, context_).run(changed)) return false;
      }
      for (int i = 0; i < node->num_results(); ++i) number(node->result(i));
      if (has_effect(*node)) continue;
      const auto [found, added] = seen_.emplace(key_of(*node), node);
      if (added) continue;
      if (!context_.should_rewrite()) return false;
      for (int i = 0; i < node->num_results(); ++i) {
        graph_.replace_all_uses(node->result(i), found->second->result(i));
      }
      graph_.erase(node);
      *changed = true;
    }
    return true;
  }

 private:
  void number(Value* value) { numbers_.emplace(value, static_cast<int64_t>(numbers_.size())); }

  // All that the results depend on, result types (layouts) included.
  Hash128 key_of(Node& node) {
    Hasher128 hasher;
    hasher.add_text(node.op->name);
    std::vector<int64_t> operands;
    for (Value* operand : node.operands()) {
      operands.push_back(operand == nullptr ? -1 : numbers_.at(operand));
    }
    if (node.op->has(kCommutative) && operands.size() >= 2 && operands[1] >= 0 &&
        operands[1] < operands[0]) {
      std::swap(operands[0], operands[1]);
    }
    hasher.add_int(static_cast<int64_t>(operands.size()));
    for (int64_t operand : operands) hasher.add_int(operand);
    for (const Attr& attr : node.attrs()) hasher.add_text(attr_to_text(attr));
    for (const auto& body : node.bodies) hasher.add_text(fingerprint(*body));
    for (int i = 0; i < node.num_results(); ++i) {
      hasher.add_text(node.result(i)->type.to_string());
    }
    return hasher.finish();
  }

  Graph& graph_;
  PassContext& context_;
  std::map<Value*, int64_t> numbers_;
  std::map<Hash128, Node*> seen_;
};

// Constants that stand for one init value become the first of them.
bool merge_constants(Module& module, PassContext& context, bool* changed) {
  std::map<Value*, Value*> first;
  for (int i = 0; i < static_cast<int>(module.main.constants().size()); ++i) {
    Value* constant = module.main.constants()[static_cast<size_t>(i)];
    const auto [found, added] = first.emplace(module.init_value(constant), constant);
    if (added) continue;
    if (!context.should_rewrite()) return false;
    module.main.replace_all_uses(constant, found->second);
    module.main.erase_constant(i);
    module.init.erase_output(i);
    --i;
    *changed = true;
  }
  return true;
}

}  // namespace

KILN_PASS(cse, "computes equal nodes once") {
  bool changed = false;
  if (!Merger(module.init, context).run(&changed)) return changed;
  if (!merge_constants(module, context, &changed)) return changed;
  Merger(module.main, context).run(&changed);
  return changed;
}

}  // namespace kiln
