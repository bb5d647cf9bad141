// pad-channels: a convolution over a few channels gets zeros up to as many as kernels want.
//
//   %0 = conv(%x, %w) : f16[1,64,112,112]                    %x: f16[1,3,224,224]
// becomes
//   %0 = pad(%x) {low=[0, 0, 0, 0], high=[0, 5, 0, 0]} : f16[1,8,224,224]@nhwc
//   %1 = conv(%0, %w') : f16[1,64,112,112]
//
// w' is w padded alike by the init graph. The image of a model's first layer has three channels,
// and most often lies contiguous while convolutions are channels-last: the one copy that is needed
// anyway adds the zeros. More channels than the multiple are left alone, since there the
// convolution has kernels enough, and a copy for the zeros alone would cost more than they gain.
//
// Service: FusionAdvisor, the backend. Without one nothing is padded.
#include "fusion/fusion_advisor.h"
#include "ir/op_def.h"
#include "passes/pass_manager.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// Zeros behind dim 1.
AttrList pad_attrs(size_t rank, int64_t zeros) {
  Shape low(rank, DimExpr(0)), high(rank, DimExpr(0));
  high[1] = zeros;
  return {{"low", std::move(low)}, {"high", std::move(high)}};
}

// How many zeros; 0: the node stays as it is.
int64_t zeros_for(Node& node, FusionAdvisor& advisor) {
  if (!node.is("conv") || node.get_int("groups") != 1) return 0;
  if (!node.operand(1)->is_constant_argument()) return 0;
  const DimExpr& channels = node.operand(0)->shape()[1];
  if (!channels.is_constant() || channels.value() < 1) return 0;
  const int64_t multiple = advisor.channel_multiple(node);
  return channels.value() < multiple ? multiple - channels.value() : 0;
}

}  // namespace

KILN_PASS(pad_channels, "zeros beside the few channels of a first convolution") {
  auto* advisor = context.service<FusionAdvisor>();
  if (advisor == nullptr) return false;
  bool changed = false;
  for (Node* node : module.main.snapshot()) {
    const int64_t zeros = zeros_for(*node, *advisor);
    if (zeros == 0 || !context.should_rewrite()) continue;
    const size_t rank = node->operand(0)->shape().size();
    Value* x = create_node(module.main, "pad", {node->operand(0)}, pad_attrs(rank, zeros), node,
                           node->origin)
                   ->result();
    x->tensor().layout = Layout::channels_last(static_cast<int>(rank));
    Value* w = create_node(module.init, "pad", {module.init_value(node->operand(1))},
                           pad_attrs(rank, zeros), nullptr, node->origin)
                   ->result();
    std::vector<Value*> operands = {x, module.constant_for(w)};
    if (node->has_operand(2)) operands.push_back(node->operand(2));
    Node* conv = create_node(module.main, "conv", std::move(operands), attrs_of(*node), node,
                             node->origin);
    conv->result()->tensor().layout = node->result()->tensor().layout;
    module.main.replace_all_uses(node->result(), conv->result());
    module.main.erase(node);
    changed = true;
  }
  if (changed) module.prune();
  return changed;
}

}  // namespace kiln
