// Local rewrites: how most passes are written.
//
//   bool drop_double_neg(Rewriter& r) {
//     Node* inner = producer_of(r.node().operand(0), "neg");
//     if (!r.node().is("neg") || inner == nullptr || !r.allowed()) return false;
//     return r.replace(inner->operand(0));
//   }
//   KILN_PASS(...) { return rewrite_all(module, context, {drop_double_neg}); }
//
// Rules are asked at every node of the init graph and of the main graph, in order, again and again
// until none of them fires; so a second run of the pass finds nothing, and the order of nodes does
// not matter where rules do not compete.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "ir/module.h"
#include "passes/pass_manager.h"

namespace kiln {

class Rewriter {
 public:
  Rewriter(Module& module, PassContext& context, Node* node)
      : module_(module), context_(context), node_(node) {}

  Module& module() { return module_; }
  Node& node() { return *node_; }
  Graph& graph() { return *node_->graph(); }
  bool in_main() { return node_->graph() == &module_.main; }
  // PassContext::should_rewrite(): ask when everything else is settled.
  bool allowed() { return context_.should_rewrite(); }

  // First result of a new node before this one, with its origin. Refused types are a bug.
  Value* create(std::string_view op, std::vector<Value*> operands, AttrList attrs = {});
  // A node with the op, fields and origin of `model` on other operands.
  Value* create_like(Node& model, std::vector<Value*> operands);
  // A 0-d constant.
  Value* scalar(DType dtype, double number);
  Value* reshape(Value* value, const Shape& shape);  // the value itself when it has the shape

  // Uses of the node's only result become uses of `value`, which must be of the same type; the
  // node goes, with what only it used. Always true.
  bool replace(Value* value);
  // Whether replace() would accept the value: same dtype, shape, layout, device.
  bool same_type(Value* value) { return value->type == node_->result()->type; }

 private:
  Module& module_;
  PassContext& context_;
  Node* node_;
};

using RewriteRule = bool (*)(Rewriter&);

// True when any rule fired. Rules that never end are a bug.
Result<bool> rewrite_all(Module& module, PassContext& context,
                         std::initializer_list<RewriteRule> rules);

// The fields of a node, for a copy of it on other operands.
AttrList attrs_of(Node& node);

// Erases the node and then those of its producers that nobody uses any more. Precondition: no uses.
void erase_with_producers(Node* node);
// Nobody uses a result, and the node has no effect.
bool is_dead(Node& node);

// As Graph::create() for what a pass knows to be right: a refusal is a bug.
Node* create_node(Graph& graph, std::string_view op, std::vector<Value*> operands, AttrList attrs,
                  Node* before, const Origin& origin);

}  // namespace kiln
