// fold-bias: a constant added per output channel becomes the bias of the convolution or linear.
//
//   %0 = linear(%x, %c0) : f32[2,5,16]
//   %1 = add(%0, %c1) : f32[2,5,16]           c1: [16]
// becomes
//   %0 = linear(%x, %c0, %c1) : f32[2,5,16]
#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// Varies along `axis` of a tensor of the given rank only.
bool is_channel_vector(Value* value, int axis, int rank, const DimExpr& channels) {
  const Shape& shape = value->shape();
  const int at = axis - (rank - static_cast<int>(shape.size()));
  if (at < 0 || !(shape[static_cast<size_t>(at)] == channels)) return false;
  for (int i = 0; i < static_cast<int>(shape.size()); ++i) {
    if (i != at && !shape[static_cast<size_t>(i)].is_value(1)) return false;
  }
  return true;
}

bool fold(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("add") || !r.in_main()) return false;
  for (int i : {0, 1}) {
    Value* y = node.operand(i);
    Value* bias = node.operand(1 - i);
    Node* anchor = y->producer();
    if (anchor == nullptr || !bias->is_constant_argument() || !y->has_one_use()) continue;
    const bool is_conv = anchor->is("conv") || anchor->is("conv_transpose");
    if ((!is_conv && !anchor->is("linear")) || anchor->has_operand(2) || !r.same_type(y)) continue;
    const int rank = y->tensor().rank();
    const int axis = is_conv ? 1 : rank - 1;
    const DimExpr channels = y->shape()[static_cast<size_t>(axis)];
    if (!is_channel_vector(bias, axis, rank, channels) || !r.allowed()) continue;
    bias = r.reshape(bias, {channels});
    return r.replace(r.create_like(*anchor, {anchor->operand(0), anchor->operand(1), bias}));
  }
  return false;
}

}  // namespace

KILN_PASS(fold_bias, "a constant added per channel becomes the bias of a convolution or linear") {
  return rewrite_all(module, context, {fold});
}

}  // namespace kiln
