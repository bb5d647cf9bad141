// lower-precision: f32 nodes compute on 16-bit storage, where the user asked for it.
//
//   %0 = linear(%x, %c0) : f32[4,8]
//   %1 = relu(%0) : f32[4,8]
//   %2 = exp(%1) : f32[4,8]
//   return %2
// becomes
//   %0 = cast(%x) {dtype=bf16} : bf16[4,16]
//   %1 = linear(%0, %c1) : bf16[4,8]
//   %2 = relu(%1) : bf16[4,8]
//   %3 = cast(%2) {dtype=f32} : f32[4,8]
//   %4 = exp(%3) : f32[4,8]
//   return %4
//
// Products and convolutions are lowered wherever the backend has them in that dtype, attention
// where its values were. Other nodes follow when all their f32 operands are 16-bit by then,
// or could be: constants, and what is made of them. Nodes that small errors grow in, or that leave
// the range of 16 bits (trait kSensitive), stay f32, and so does what meets f32 operands. Kernels
// add up in f32 whatever the storage. Inputs and outputs keep their dtypes; weights are cast by
// the init graph. Finite constants stay finite.
//
// Services: PrecisionWishes (without one nothing happens), BackendSupport, PrecisionLog.
#include <map>

#include "ir/op_def.h"
#include "ops/effects.h"
#include "passes/rewriter.h"
#include "passes/storage_rewrite.h"

namespace kiln {
namespace {

// What a value can be without rounding what the program computes from its inputs.
enum class Storage : uint8_t {
  kF32,     // f32 it stays
  kEither,  // a constant, or made of constants: as its users like
  k16       // 16-bit
};

class PrecisionLowering {
 public:
  PrecisionLowering(Module& module, PassContext& context, DType storage)
      : graph_(module.main),
        context_(context),
        rewrite_(module, module.main, DType::kF32, storage),
        backend_(context.service<BackendSupport>()),
        dtype_(storage) {}

  // Anchors that could be lowered.
  int count_anchors() {
    int count = 0;
    for (Node* node : graph_.snapshot()) {
      if (leads(*node) && is_candidate(*node)) {
        count += rewrite_.ask(*node, backend_).ok() ? 1 : 0;
      }
    }
    return count;
  }

  bool run(PrecisionLog* log) {
    log_ = log;
    for (Node* node : graph_.snapshot()) {
      if (is_dead(*node)) continue;
      const Storage storage = decide(*node);
      if (storage == Storage::kF32) continue;
      values_[node->result()] = storage;
      if (storage == Storage::k16) rewrite_.choose(node);
    }
    // What is made of constants follows its users.
    const std::vector<Node*> nodes = graph_.snapshot();
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
      if (is_wanted(**node)) rewrite_.choose(*node);
    }
    return rewrite_.apply(context_);
  }

 private:
  static bool is_candidate(Node& node) {
    return node.num_results() == 1 && node.result()->type.is_tensor() &&
           node.result()->dtype() == DType::kF32 && !node.is("aten.call") && !has_effect(node) &&
           node.bodies.empty();
  }

  Storage storage_of(Value* value) {
    if (value->is_constant_argument()) return Storage::kEither;
    const auto found = values_.find(value);
    return found == values_.end() ? Storage::kF32 : found->second;
  }

  Storage decide(Node& node) {
    if (!is_candidate(node)) return Storage::kF32;
    // Positions and counts have more digits than a 16-bit float.
    if (node.is("cast")) {
      return node.operand(0)->dtype() == DType::kBool ? Storage::kEither : Storage::kF32;
    }
    if (node.op->has(kSource)) return node.is("iota") ? Storage::kF32 : Storage::kEither;
    if (!rewrite_.is_convertible(node)) return Storage::kF32;
    int wide = -1;
    bool half = false, any = false;
    for (int i = 0; i < node.num_operands(); ++i) {
      if (!rewrite_.converts(node, i)) continue;
      any = true;
      const Storage storage = storage_of(node.operand(i));
      if (storage == Storage::kF32 && wide < 0) wide = i;
      half = half || storage == Storage::k16;
    }
    if (!any) return Storage::kF32;
    if (!leads(node)) {
      if (!half) return wide < 0 && !node.op->has(kSensitive) ? Storage::kEither : Storage::kF32;
      if (node.op->has(kSensitive)) return stays(node, "small errors grow in it");
      // Of attention the values count: queries and keys may come through f32 positions, a cache of
      // f32 state had better not be cast at every run.
      const bool follows = node.op->has(kAnchor) ? storage_of(node.operand(2)) == Storage::k16
                                                 : wide < 0;
      if (!follows) return stays(node, "another operand is f32");
    }
    const Status status = rewrite_.ask(node, backend_);
    return status.ok() ? Storage::k16 : stays(node, status.message());
  }

  Storage stays(Node& node, std::string reason) {
    if (log_ != nullptr) {
      log_->stays.push_back({node.op->name, dtype_, std::move(reason), node.origin});
    }
    return Storage::kF32;
  }

  // All users of what could be either are 16-bit. (Sources and constants are cast in any case.)
  bool is_wanted(Node& node) {
    if (rewrite_.is_chosen(&node) || !is_candidate(node) || node.op->has(kSource)) return false;
    Value* result = node.result();
    if (storage_of(result) != Storage::kEither || result->uses().empty()) return false;
    if (graph_.is_output(result)) return false;
    for (const Use& use : result->uses()) {
      if (!rewrite_.is_chosen(use.node) || !rewrite_.converts(*use.node, use.operand)) return false;
    }
    return rewrite_.ask(node, backend_).ok();
  }

  Graph& graph_;
  PassContext& context_;
  StorageRewrite rewrite_;
  BackendSupport* backend_;
  DType dtype_;
  PrecisionLog* log_ = nullptr;
  std::map<Value*, Storage> values_;  // of nodes, but kF32; lookups only
};

}  // namespace

KILN_PASS(lower_precision, "f32 nodes compute on 16-bit storage, where it was asked for") {
  const auto* wishes = context.service<PrecisionWishes>();
  if (wishes == nullptr || wishes->storage.empty()) return false;
  DType best = wishes->storage[0];
  int most = 0;
  for (size_t i = 0; i < wishes->storage.size() && wishes->storage.size() > 1; ++i) {
    const int count =
        PrecisionLowering(module, context, wishes->storage[i]).count_anchors();
    if (count <= most) continue;
    most = count;
    best = wishes->storage[i];
  }
  auto* log = context.service<PrecisionLog>();
  if (log != nullptr) log->storage = best;
  return PrecisionLowering(module, context, best).run(log);
}

}  // namespace kiln
