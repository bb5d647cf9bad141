#include "backends/cuda/compile/product_epilogue.h"

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

// Takes one more node behind `y`, whose columns are `column`, in; false when no epilogue has it.
bool absorb(Node& node, Value* y, size_t column, bool has_bias, TakesActivation takes,
            ProductEpilogue& e) {
  if (node.num_results() != 1 || !(node.result()->shape() == y->shape()) ||
      node.result()->dtype() != y->dtype() ||
      e.activation.kind != KernelActivation::Kind::kNone) {
    return false;
  }
  if (node.num_operands() == 1 && node.operand(0) == y) {
    KernelActivation activation;
    if (!activation_of(node, &activation) || !takes(activation, y->dtype())) return false;
    e.activation = activation;
    return true;
  }
  if (node.num_operands() != 2 || node.operand(0) == node.operand(1)) return false;
  const bool reversed = node.operand(1) == y;
  if (!reversed && node.operand(0) != y) return false;
  Value* other = node.operand(reversed ? 0 : 1);
  if (!other->type.is_tensor() || other->dtype() != y->dtype()) return false;
  if (const auto number = number_of(other)) {
    // A factor of the product alone, which is not rounded in between.
    if (has_bias || e.bias != nullptr || e.add != nullptr) return false;
    if (node.is("mul")) {
      e.alpha *= *number;
      return true;
    }
    const auto reciprocal = exact_reciprocal(*number);
    if (!node.is("div") || reversed || !reciprocal) return false;
    e.alpha *= *reciprocal;
    return true;
  }
  if (!node.is("add")) return false;
  const Shape& shape = y->shape();
  const bool full = other->shape() == shape;
  if (!has_bias && e.bias == nullptr && is_per_channel(other, shape, column) &&
      !(full && shape.size() > 1)) {
    e.bias = other;
    return true;
  }
  if (!full || e.add != nullptr) return false;
  e.add = other;
  return true;
}

}  // namespace

void copy_to_place(const PlanView& target, const PlanView& place, const Node& node,
                   EngineLowering& lowering) {
  PlanView result;
  KILN_CHECK(reshape_view(target, place.dims, &result));
  lowering.emit({"copy", {result}, {place}, Json::object(), node.origin.to_string(), "copy"});
}

size_t product_column_dim(Node& anchor) {
  return anchor.is("conv") ? 1 : anchor.result()->shape().size() - 1;
}

ProductEpilogue product_epilogue(Node& anchor, const std::vector<Node*>& nodes,
                                 TakesActivation takes) {
  ProductEpilogue e;
  Value* y = anchor.result();
  for (Node* node : nodes) {
    if (!absorb(*node, y, product_column_dim(anchor), anchor.has_operand(2), takes, e)) break;
    ++e.nodes;
    y = node->result();
  }
  return e;
}

}  // namespace kiln::cuda
