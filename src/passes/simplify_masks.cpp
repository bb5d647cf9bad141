// simplify-masks: masks that can be read off the expression are not computed.
//
//   %0 = iota() {length=?s, dtype=i64} : i64[?s]
//   %1 = reshape(%0) {shape=[1,1,?s,1]} : i64[1,1,?s,1]
//   %2 = reshape(%0) {shape=[1,1,1,?s]} : i64[1,1,1,?s]
//   %3 = le(%2, %1) : bool[1,1,?s,?s]
//   %4 = attention(%q, %k, %v, %3) : f32[?b,12,?s,64]
// becomes
//   %0 = attention(%q, %k, %v) {is_causal=true} : f32[?b,12,?s,64]
//
// A mask that is true everywhere goes; of an "and" of masks, what is causal or true everywhere
// goes, which leaves a padding mask over keys what it was. Comparisons that are true everywhere or
// nowhere become `full`, which canonicalize drops from an "and". Proofs are those of index_form.h:
// they hold for every size in the ranges of the symbols; an attention mask that starts at an offset
// is not causal.
#include "ir/op_def.h"
#include "passes/index_form.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// Takes the known part of the mask away, which leaves `rest`, null for none.
void replace_mask(Node& node, MaskKind known, Value* rest) {
  Value* mask = node.operand(3);
  node.set_operand(3, rest);
  if (known == MaskKind::kCausal) node.set_attr("is_causal", true);
  if (mask->producer() != nullptr && is_dead(*mask->producer())) {
    erase_with_producers(mask->producer());
  }
}

bool attention_mask(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("attention") || !node.has_operand(3)) return false;
  Shape scores = node.operand(0)->shape();
  const Shape& keys = node.operand(1)->shape();
  scores.back() = keys[keys.size() - 2];
  const auto known = [&](Value* mask) {
    const MaskKind kind = mask_kind(r.module(), mask, scores);
    return kind == MaskKind::kAllTrue || kind == MaskKind::kCausal ? kind : MaskKind::kUnknown;
  };
  Value* mask = node.operand(3);
  if (const MaskKind kind = known(mask); kind != MaskKind::kUnknown) {
    if (!r.allowed()) return false;
    replace_mask(node, kind, nullptr);
    return true;
  }
  Node* both = producer_of(mask, "bitwise_and");
  if (both == nullptr || mask->dtype() != DType::kBool) return false;
  for (const size_t i : {0, 1}) {
    const MaskKind kind = known(both->operand(i));
    if (kind == MaskKind::kUnknown) continue;
    if (!r.allowed()) return false;
    replace_mask(node, kind, both->operand(1 - i));
    return true;
  }
  return false;
}

bool decided_comparison(Rewriter& r) {
  Node& node = r.node();
  if (node.num_operands() != 2 || node.num_results() != 1 || !node.op->has(kElementwise)) {
    return false;
  }
  if (!node.result()->type.is_tensor() || node.result()->dtype() != DType::kBool ||
      node.operand(0)->dtype() == DType::kBool) {
    return false;
  }
  const Shape& shape = node.result()->shape();
  const MaskKind kind = mask_kind(r.module(), node.result(), shape);
  if (kind != MaskKind::kAllTrue && kind != MaskKind::kAllFalse) return false;
  if (!node.result()->tensor().layout.is_contiguous() || !r.allowed()) return false;
  return r.replace(r.create("full", {},
                            {{"shape", shape},
                             {"dtype", DType::kBool},
                             {"int_value", int64_t{kind == MaskKind::kAllTrue}}}));
}

}  // namespace

KILN_PASS(simplify_masks, "causal and full attention masks are not computed") {
  return rewrite_all(module, context, {attention_mask, decided_comparison});
}

}  // namespace kiln
