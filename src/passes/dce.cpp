// dce: drops nodes whose results nobody uses, then constants, init nodes and weights that nothing
// needs any more. Nodes with effects stay.
//
//   main(%x: f32[2]) {                      main(%x: f32[2]) {
//     %0 = exp(%x) : f32[2]            ->     %0 = neg(%x) : f32[2]
//     %1 = neg(%x) : f32[2]                   return %0
//     return %1                             }
//   }
#include "ops/effects.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

bool is_dead(Graph& graph, Node& node) {
  if (has_effect(node)) return false;
  for (int i = 0; i < node.num_results(); ++i) {
    if (!node.result(i)->uses().empty() || graph.is_output(node.result(i))) return false;
  }
  return true;
}

// False as soon as the limit is reached.
bool sweep(Graph& graph, PassContext& context, bool* changed) {
  std::vector<Node*> nodes = graph.snapshot();
  // Backwards, so that a node that only fed dead ones is dead when its turn comes.
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    Node* node = *it;
    if (is_dead(graph, *node)) {
      if (!context.should_rewrite()) return false;
      graph.erase(node);
      *changed = true;
      continue;
    }
    for (const auto& body : node->bodies) {
      if (!sweep(*body, context, changed)) return false;
    }
  }
  return true;
}

}  // namespace

KILN_PASS(dce, "drops nodes, constants and weights that nobody uses") {
  bool changed = false;
  if (!sweep(module.main, context, &changed)) return changed;
  return module.prune() || changed;
}

}  // namespace kiln
