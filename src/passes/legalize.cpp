// legalize: nodes that the backend refuses go back to PyTorch.
//
//   %0 = erf(%x) : f32[2,3]                          the backend: K2711 no kernel for erf
//   %1 = relu(%0) : f32[2,3]
// becomes
//   %0 = aten.call(%x) {call=aten::erf(%0)} : f32[2,3]
//   %1 = relu(%0) : f32[2,3]
//
// With min_block_size N, native runs (of the order that partition will choose) with fewer than N
// ops go back too; views and literals do not count. Each node that goes back is recorded with its
// reason. Init nodes that are refused are computed in the main graph, by PyTorch, at every run.
//
// Services: BackendSupport (without one everything is supported), BuildWishes, FallbackLog.
// Error: K2701 a node has neither kernel nor ATen form.
#include <map>
#include <set>

#include "ir/op_def.h"
#include "ops/effects.h"
#include "passes/aten_emission.h"
#include "passes/backend_support.h"
#include "passes/partition.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

class Legalizer {
 public:
  Legalizer(Module& module, PassContext& context)
      : module_(module),
        context_(context),
        backend_(context.service<BackendSupport>()),
        log_(context.service<FallbackLog>()) {
    if (const auto* wishes = context.service<BuildWishes>()) wishes_ = *wishes;
  }

  Result<bool> run() {
    if (backend_ != nullptr) {
      free_init();
      KILN_RETURN_IF_ERROR(refuse_unsupported());
    }
    if (wishes_.min_block_size > 1) KILN_RETURN_IF_ERROR(refuse_small_runs());
    return changed_;
  }

 private:
  // Refused init nodes and all that depend on them move to the start of the main graph.
  void free_init() {
    std::set<Value*> refused;  // lookups only
    std::vector<Node*> nodes;
    for (Node* node : module_.init.snapshot()) {
      bool moves = !backend_->supports(*node).ok();
      for (Value* operand : node->operands()) moves = moves || refused.contains(operand);
      if (!moves) continue;
      if (nodes.empty() && !context_.should_rewrite()) return;
      nodes.push_back(node);
      for (int i = 0; i < node->num_results(); ++i) refused.insert(node->result(i));
    }
    if (nodes.empty()) return;
    changed_ = true;
    Node* first = module_.main.empty() ? nullptr : module_.main.nodes().front().get();
    std::map<Value*, Value*> copies;  // lookups only
    for (Node* node : nodes) {
      std::vector<Value*> operands;
      for (Value* operand : node->operands()) {
        if (operand == nullptr)
          operands.push_back(nullptr);
        else if (refused.contains(operand))
          operands.push_back(copies.at(operand));
        else
          operands.push_back(module_.constant_for(operand));
      }
      std::vector<Type> types;
      for (int i = 0; i < node->num_results(); ++i) types.push_back(node->result(i)->type);
      Node* copy = module_.main.create_unchecked(*node->op, std::move(operands), node->attrs(),
                                                 std::move(types), first, node->origin);
      for (int i = 0; i < node->num_results(); ++i) copies[node->result(i)] = copy->result(i);
    }
    for (Value* constant : module_.main.constants()) {
      const auto copy = copies.find(module_.init_value(constant));
      if (copy != copies.end()) module_.main.replace_all_uses(constant, copy->second);
    }
    module_.prune();
  }

  Status refuse_unsupported() {
    for (Node* node : module_.main.snapshot()) {
      if (node->is("aten.call") || is_dead(*node)) continue;
      const Status status = backend_->supports(*node);
      if (status.ok()) continue;
      if (!context_.should_rewrite()) return {};
      KILN_RETURN_IF_ERROR(go_back(node, status.code(), status.message()));
    }
    return {};
  }

  Status refuse_small_runs() {
    const std::string reason = "block of fewer than " + std::to_string(wishes_.min_block_size) +
                               " native ops (min_block_size)";
    for (const std::vector<Node*>& run : native_runs(partition_order(module_.main))) {
      int ops = 0;
      for (Node* node : run) ops += node->op->has(kView) || node->op->has(kSource) ? 0 : 1;
      if (ops >= wishes_.min_block_size) continue;
      for (Node* node : run) {
        if (!context_.should_rewrite()) return {};
        const Status status = go_back(node, "K2712", reason);
        // What has no ATen form (a literal of unequal elements) is no worse off in a run of its
        // own.
        if (!status.ok() && status.code() != "K2701") return status;
      }
    }
    return {};
  }

  static std::string describe(Node& node) {
    std::string text = node.op->name;
    if (!node.origin.empty()) text += " at " + node.origin.to_string();
    return text;
  }

  Status go_back(Node* node, const std::string& code, const std::string& reason) {
    FallbackLog::Entry fallback{node->op->name, "", code, reason, node->origin};
    Result<std::string> calls = replace_by_aten(node);
    if (!calls.ok()) {
      return Status::error("K2701", "op runs neither natively nor in PyTorch: " + describe(*node) +
                                        ": " + reason + "; " + calls.status().message());
    }
    fallback.aten = *calls;
    if (log_ != nullptr) log_->entries.push_back(std::move(fallback));
    changed_ = true;
    return {};
  }

  Module& module_;
  PassContext& context_;
  BackendSupport* backend_;
  FallbackLog* log_;
  BuildWishes wishes_;
  bool changed_ = false;
};

}  // namespace

KILN_PASS(legalize, "nodes that the backend refuses go back to PyTorch") {
  return Legalizer(module, context).run();
}

}  // namespace kiln
