#include "passes/rewriter.h"

#include <set>

#include "base/check.h"
#include "ir/op_def.h"
#include "ops/effects.h"

namespace kiln {
namespace {

// A rule may move a node past the whole graph one step at a time; beyond that it runs in circles.
constexpr int kSweepCap = 1000;

bool sweep(Module& module, Graph& graph, PassContext& context,
           std::initializer_list<RewriteRule> rules) {
  bool changed = false;
  for (Node* node : graph.snapshot()) {
    // Rules erase the node they look at and nodes before it, never later ones, so the rest of the
    // snapshot stays good.
    if (is_dead(*node)) continue;
    Rewriter rewriter(module, context, node);
    for (RewriteRule rule : rules) {
      if (!rule(rewriter)) continue;
      changed = true;
      break;  // the node may be gone
    }
  }
  return changed;
}

}  // namespace

Node* create_node(Graph& graph, std::string_view op, std::vector<Value*> operands, AttrList attrs,
                  Node* before, const Origin& origin) {
  Result<Node*> node = graph.create(OpRegistry::global().get(op), std::move(operands),
                                    std::move(attrs), before, origin);
  KILN_CHECK_MSG(node.ok(), node.status().to_string());
  return *node;
}

Value* Rewriter::create(std::string_view op, std::vector<Value*> operands, AttrList attrs) {
  return create_node(graph(), op, std::move(operands), std::move(attrs), node_, node_->origin)
      ->result();
}

Value* Rewriter::create_like(Node& model, std::vector<Value*> operands) {
  return create_node(graph(), model.op_name(), std::move(operands), attrs_of(model), node_,
                     model.origin)
      ->result();
}

Value* Rewriter::scalar(DType dtype, double number) {
  HostTensor value(dtype, {});
  value.set_double(0, number);
  return create("constant", {}, {{"value", std::move(value)}});
}

Value* Rewriter::reshape(Value* value, const Shape& shape) {
  return value->shape() == shape ? value : create("reshape", {value}, {{"shape", shape}});
}

bool Rewriter::replace(Value* value) {
  KILN_CHECK_EQ(node_->num_results(), 1);
  KILN_CHECK_MSG(same_type(value),
                 value->type.to_string() + " vs " + node_->result()->type.to_string());
  graph().replace_all_uses(node_->result(), value);
  erase_with_producers(node_);
  node_ = nullptr;
  return true;
}

AttrList attrs_of(Node& node) {
  AttrList attrs;
  for (size_t i = 0; i < node.attrs().size(); ++i) {
    attrs.emplace_back(node.op->fields[i].name, node.attrs()[i]);
  }
  return attrs;
}

bool is_dead(Node& node) {
  if (has_effect(node)) return false;
  for (int i = 0; i < node.num_results(); ++i) {
    if (!node.result(i)->uses().empty() || node.graph()->is_output(node.result(i))) return false;
  }
  return true;
}

void erase_with_producers(Node* node) {
  // The order of the set does not matter: what is dead in the end is the same.
  std::set<Node*> doubtful{node};
  while (!doubtful.empty()) {
    Node* next = *doubtful.begin();
    doubtful.erase(doubtful.begin());
    if (!is_dead(*next)) continue;
    for (Value* operand : next->operands()) {
      if (operand != nullptr && operand->producer() != nullptr)
        doubtful.insert(operand->producer());
    }
    next->graph()->erase(next);
  }
}

Result<bool> rewrite_all(Module& module, PassContext& context,
                         std::initializer_list<RewriteRule> rules) {
  bool changed = false;
  for (int round = 0;; ++round) {
    KILN_CHECK_MSG(round < kSweepCap, "rewrites do not end");
    const bool init = sweep(module, module.init, context, rules);
    const bool main = sweep(module, module.main, context, rules);
    if (!init && !main) return changed;
    changed = true;
  }
}

}  // namespace kiln
