// assign-layouts: gives every tensor its memory order.
//
//   %2 = conv(%x, %w) : f32[1,64,56,56]        becomes   ... : f32[1,64,56,56]@nhwc
//
// Convolutions and pools are computed channels-last, the fastest order on CPUs
// (docs/performance.md); what follows them elementwise stays so. Attention writes in the order in
// which the permute behind it reads, [batch, length, heads, dim] or [length, batch, heads, dim], so
// that merging the heads moves nothing. What is computed elementwise for an output alone is written
// as that lies. Everything else is contiguous. Nothing is inserted: kernels take strided operands,
// or copy.
#include <algorithm>

#include "ir/op_def.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

bool is_spatial(Node& node) {
  return node.is("conv") || node.is("conv_transpose") || node.is("max_pool") ||
         node.is("avg_pool") || node.is("adaptive_avg_pool") || node.is("adaptive_max_pool") ||
         node.is("resize");
}

// Rows stay rows; what reads them may want them in another order than [batch, length, heads].
Layout layout_of_attention(Node& node) {
  Layout layout;
  layout.order = {0, 2, 1, 3};
  const std::vector<Use>& uses = node.result()->uses();
  if (uses.empty() || !uses[0].node->is("permute")) return layout;
  const std::vector<int64_t>& order = uses[0].node->get_ints("order");
  const bool alike = std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
    return use.node->is("permute") && use.node->get_ints("order") == order;
  });
  if (alike && order.back() == 3) layout.order.assign(order.begin(), order.end());
  return layout;
}

// Of a value that is one output of the program and nothing else.
Layout layout_of_output(Module& module, Value* value) {
  Layout layout;
  if (!value->uses().empty()) return layout;
  int found = 0;
  for (size_t i = 0; i < module.outputs.size(); ++i) {
    if (module.main.outputs()[i] != value) continue;
    ++found;
    if (module.outputs[i].kind == OutputSpec::Kind::kResult) layout.order = module.outputs[i].order;
  }
  return found == 1 ? layout : Layout{};
}

Layout layout_for(Module& module, Node& node, int result) {
  const TensorType& type = node.result(result)->tensor();
  const int rank = type.rank();
  if (is_spatial(node) && rank >= 3 && rank <= 5) return Layout::channels_last(rank);
  if (node.is("attention") && rank == 4) return layout_of_attention(node);
  const bool follows = node.op->has(kElementwise) || node.op->has(kRowwise) ||
                       node.op->has(kReduction) || node.is("batch_norm") || node.is("concat") ||
                       node.is("pad");
  if (!follows) return {};
  for (Value* operand : node.operands()) {
    if (operand == nullptr || !operand->type.is_tensor()) continue;
    const TensorType& source = operand->tensor();
    if (source.rank() != rank || source.layout.order.empty()) continue;
    if (node.op->has(kElementwise) && !(source.shape == type.shape)) continue;
    return source.layout;
  }
  return node.op->has(kElementwise) ? layout_of_output(module, node.result(result)) : Layout{};
}

}  // namespace

KILN_PASS(assign_layouts, "memory order of every tensor") {
  bool changed = false;
  for (Node* node : module.main.snapshot()) {
    if (node->is("reorder") || node->is("aten.call")) continue;
    for (int i = 0; i < node->num_results(); ++i) {
      if (!node->result(i)->type.is_tensor()) continue;
      const Layout layout = layout_for(module, *node, i);
      if (node->result(i)->tensor().layout == layout || !context.should_rewrite()) continue;
      node->result(i)->tensor().layout = layout;
      changed = true;
    }
  }
  return changed;
}

}  // namespace kiln
