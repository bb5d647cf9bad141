#include "passes/permute_rules.h"

#include <vector>

#include "ir/op_def.h"
#include "passes/match.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

bool only_used_by(Value* value, Node& node) {
  for (const Use& use : value->uses()) {
    if (use.node != &node) return false;
  }
  return !node.graph()->is_output(value);
}

// What stands in front of the permute, for a result whose axes are not permuted yet.
//   permute(x) by the same order -> x
//   few elements, known or spread over one axis -> the axes in their old places
bool can_unpermute(Value* value, const Shape& to, const Ints& order, Node& user) {
  Node* permute = producer_of(value, "permute");
  if (permute != nullptr && permute->get_ints("order") == order) return only_used_by(value, user);
  if (value->shape() == to && !has_one_element(value)) return false;
  int wide = 0;
  for (const DimExpr& dim : value->shape()) wide += dim.is_value(1) ? 0 : 1;
  return wide <= 1 || value->is_constant_argument();
}

Value* unpermute(Rewriter& r, Value* value, const Ints& order) {
  Node* permute = producer_of(value, "permute");
  if (permute != nullptr && permute->get_ints("order") == order) return permute->operand(0);
  if (value->shape().empty()) return value;
  Shape full(order.size() - value->shape().size(), DimExpr(1));
  full.insert(full.end(), value->shape().begin(), value->shape().end());
  Ints inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  }
  return r.create("permute", {r.reshape(value, full)}, {{"order", inverse}});
}

}  // namespace

bool permute_below_elementwise(Rewriter& r) {
  Node& node = r.node();
  if (!node.op->has(kElementwise) || node.num_results() != 1) return false;
  const TensorType& type = node.result()->tensor();
  if (!type.layout.is_contiguous()) return false;
  for (Value* candidate : node.operands()) {
    Node* permute = producer_of(candidate, "permute");
    if (permute == nullptr || !(candidate->shape() == type.shape)) continue;
    const Ints order = permute->get_ints("order");
    bool fits = true;
    for (Value* operand : node.operands()) {
      fits = fits && operand != nullptr && can_unpermute(operand, type.shape, order, node);
    }
    if (!fits) continue;
    if (!r.allowed()) return false;
    std::vector<Value*> operands;
    for (Value* operand : node.operands()) operands.push_back(unpermute(r, operand, order));
    Value* y = r.create_like(node, operands);
    return r.replace(r.create("permute", {y}, {{"order", order}}));
  }
  return false;
}

}  // namespace kiln
