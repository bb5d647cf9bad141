// widen: 16-bit nodes that no kernel computes as they stand compute in f32.
//
//   %0 = max_pool(%x) : bf16[1,8,4,4]     the backend: K2711 no kernel for max_pool in bf16
// becomes
//   %0 = cast(%x) {dtype=f32} : f32[1,8,8,8]
//   %1 = max_pool(%0) : f32[1,8,4,4]
//   %2 = cast(%1) {dtype=bf16} : bf16[1,8,4,4]
//
// Nodes whose 16-bit operands are all results of such nodes, or constants, follow (but for products
// and convolutions that have a kernel), so that nothing is rounded in between: a model in a dtype
// that the machine cannot compute in becomes an f32 model between its inputs and outputs. Explicit
// casts keep their meaning. The nodes of the init graph are treated as those of the main graph.
//
// Services: BackendSupport (without one nothing happens), PrecisionLog.
#include <set>

#include "ir/op_def.h"
#include "ops/effects.h"
#include "passes/match.h"
#include "passes/rewriter.h"
#include "passes/storage_rewrite.h"

namespace kiln {
namespace {

class Widening {
 public:
  Widening(Module& module, Graph& graph, PassContext& context, DType dtype)
      : graph_(graph),
        context_(context),
        rewrite_(module, graph, dtype, DType::kF32),
        backend_(context.service<BackendSupport>()),
        log_(context.service<PrecisionLog>()),
        dtype_(dtype) {}

  bool run() {
    for (Node* node : graph_.snapshot()) {
      if (!is_candidate(*node) || !is_wide(*node)) continue;
      rewrite_.choose(node);
      for (int i = 0; i < node->num_results(); ++i) wide_.insert(node->result(i));
    }
    return rewrite_.apply(context_);
  }

 private:
  bool is_candidate(Node& node) {
    if (node.is("aten.call") || node.is("cast") || has_effect(node) || !node.bodies.empty() ||
        is_dead(node) || !rewrite_.is_convertible(node)) {
      return false;
    }
    for (int i = 0; i < node.num_operands(); ++i) {
      if (rewrite_.converts(node, i)) return true;
    }
    return false;
  }

  bool is_wide(Node& node) {
    const Status status = backend_->supports(node);
    if (status.ok() && (leads(node) || !follows(node))) return false;
    if (!rewrite_.ask(node, backend_).ok()) return false;
    if (log_ != nullptr && !status.ok()) {
      log_->wide.push_back({node.op->name, dtype_, status.message(), node.origin});
    }
    return true;
  }

  bool follows(Node& node) {
    bool any = false;
    for (int i = 0; i < node.num_operands(); ++i) {
      if (!rewrite_.converts(node, i)) continue;
      const bool wide = wide_.contains(node.operand(i));
      if (!wide && !is_known(node.operand(i))) return false;
      any = any || wide;
    }
    return any;
  }

  Graph& graph_;
  PassContext& context_;
  StorageRewrite rewrite_;
  BackendSupport* backend_;
  PrecisionLog* log_;
  DType dtype_;
  std::set<Value*> wide_;  // results of chosen nodes; lookups only
};

}  // namespace

KILN_PASS(widen, "16-bit nodes without a kernel compute in f32") {
  if (context.service<BackendSupport>() == nullptr) return false;
  bool changed = false;
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    for (Graph* graph : {&module.init, &module.main}) {
      changed = Widening(module, *graph, context, dtype).run() || changed;
    }
  }
  return changed;
}

}  // namespace kiln
