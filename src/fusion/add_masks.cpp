// add-masks: a mask of truth values becomes one that is added, where a kernel wants it so.
//
//   %0 = attention(%q, %k, %v, %m) : f16[2,12,?s,64]     %m: bool[2,1,1,?s]
// becomes
//   %0 = constant() {value=0} : f16[]
//   %1 = constant() {value=-inf} : f16[]
//   %2 = where(%m, %0, %1) : f16[2,1,1,?s]
//   %3 = attention(%q, %k, %v, %2) : f16[2,12,?s,64]
//
// The results are equal: a row that sees no key is zero either way. The layers of a model share a
// mask, and so they share what becomes of it, which is mostly fused with what computes the mask.
//
// Service: FusionAdvisor, the backend. Without one masks stay as they are.
#include <limits>
#include <map>
#include <utility>

#include "fusion/fusion_advisor.h"
#include "ir/op_def.h"
#include "passes/pass_manager.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// The mask in front of `node`, the first that needs it.
Value* added(Module& module, PassContext& context, Node& node) {
  Rewriter r(module, context, &node);
  const DType dtype = node.operand(0)->dtype();
  Value* seen = r.scalar(dtype, 0);
  Value* unseen = r.scalar(dtype, -std::numeric_limits<double>::infinity());
  return r.create("where", {node.operand(3), seen, unseen});
}

}  // namespace

KILN_PASS(add_masks, "masks of attention in the form that a kernel adds") {
  auto* advisor = context.service<FusionAdvisor>();
  if (advisor == nullptr) return false;
  bool changed = false;
  std::map<std::pair<Value*, DType>, Value*> known;
  for (Node* node : module.main.snapshot()) {
    if (!node->is("attention") || !node->has_operand(3)) continue;
    Value* mask = node->operand(3);
    if (mask->dtype() != DType::kBool || !advisor->adds_mask(*node) || !context.should_rewrite()) {
      continue;
    }
    Value*& sum = known[{mask, node->operand(0)->dtype()}];
    if (sum == nullptr) sum = added(module, context, *node);
    node->set_operand(3, sum);
    changed = true;
  }
  return changed;
}

}  // namespace kiln
