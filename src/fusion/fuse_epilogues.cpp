// fuse-epilogues: elementwise nodes behind an anchor join it, as far as a kernel computes them.
//
//   %2 = conv(%x, %w, %b) ... : f32[1,64,56,56]
//   %3 = add(%2, %shortcut) : f32[1,64,56,56]
//   %4 = relu(%3) : f32[1,64,56,56]
// becomes
//   %2 = fused(%x, %w, %b, %shortcut) {anchor="conv", kind="epilogue"} (%x, %w, %b, %s) { ... }
//
// Service: FusionAdvisor, the backend. Without one nothing is fused.
#include <algorithm>
#include <set>

#include "fusion/fusion_advisor.h"
#include "fusion/outline.h"
#include "ir/op_def.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

// Elementwise consumers of the anchor in a chain of single uses, all of the anchor's shape and
// dtype.
std::vector<Node*> epilogue_chain(Node* anchor) {
  std::vector<Node*> chain;
  Value* value = anchor->result();
  const Shape shape = value->shape();
  const DType dtype = value->dtype();
  while (value->has_one_use() && !value->uses().empty()) {
    Node* user = value->uses()[0].node;
    if (!user->op->has(kElementwise) || user->num_results() != 1) break;
    if (!(user->result()->shape() == shape) || user->result()->dtype() != dtype) break;
    chain.push_back(user);
    value = user->result();
  }
  return chain;
}

}  // namespace

KILN_PASS(fuse_epilogues, "elementwise nodes behind a convolution or matmul join it") {
  auto* advisor = context.service<FusionAdvisor>();
  if (advisor == nullptr) return false;
  bool changed = false;
  for (Graph* graph : {&module.main}) {
    std::set<Node*> gone;  // members of the fusions so far
    for (Node* node : graph->snapshot()) {
      if (gone.contains(node)) continue;
      if (!node->op->has(kAnchor) || node->num_results() != 1) continue;
      std::vector<Node*> chain = epilogue_chain(node);
      chain.resize(static_cast<size_t>(
          std::clamp(advisor->epilogue_length(*node, chain), 0, static_cast<int>(chain.size()))));
      // The operands of the chain must not depend on the anchor through other nodes.
      std::vector<Node*> members = {node};
      for (Node* next : chain) {
        members.push_back(next);
        if (creates_cycle(members, nullptr)) {
          members.pop_back();
          break;
        }
      }
      if (members.size() == 1 || !context.should_rewrite()) continue;
      gone.insert(members.begin(), members.end());
      outline(*graph, members, node->op_name(), "epilogue");
      changed = true;
    }
  }
  return changed;
}

}  // namespace kiln
