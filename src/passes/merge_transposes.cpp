// merge-transposes: permutes move behind elementwise ops, into the flags of matmul and out of
// products with constant matrices.
//
//   %0 = permute(%k) {order=[0,2,3,1]} : f32[2,4,8,5]       k: [2,5,4,8]
//   %1 = matmul(%q, %0) : f32[2,4,5,5]
//   %2 = matmul(%x, %c0) : f32[2,5,16]                      c0: a weight [8,16]
// becomes
//   %0 = permute(%k) {order=[0,2,1,3]} : f32[2,4,5,8]
//   %1 = matmul(%q, %0) {transpose_b=true} : f32[2,4,5,5]
//   %2 = permute(%c0) {order=[1,0]} : f32[16,8]             fold-constants moves it to init
//   %3 = linear(%x, %2) : f32[2,5,16]
//
// A permute with other users stays where it is: it would be computed twice.
#include <algorithm>

#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/permute_rules.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

// The last two axes in the order in which they are stored, the flag says the rest.
bool into_matmul(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("matmul")) return false;
  for (int i : {0, 1}) {
    Node* permute = producer_of(node.operand(i), "permute");
    if (permute == nullptr) continue;
    Ints order = permute->get_ints("order");
    const size_t rank = order.size();
    if (order[rank - 2] < order[rank - 1]) continue;
    if (!r.allowed()) return false;
    std::swap(order[rank - 2], order[rank - 1]);
    Value* source = permute->operand(0);
    if (!std::is_sorted(order.begin(), order.end())) {
      source = r.create("permute", {source}, {{"order", order}});
    }
    const char* flag = i == 0 ? "transpose_a" : "transpose_b";
    AttrList attrs = attrs_of(node);
    for (auto& [name, value] : attrs) {
      if (name == flag) value = !node.get_bool(flag);
    }
    std::vector<Value*> operands = node.operands();
    operands[static_cast<size_t>(i)] = source;
    return r.replace(r.create("matmul", operands, std::move(attrs)));
  }
  return false;
}

// A product with a constant matrix is a linear, whose weight is stored [outputs, inputs].
bool matmul_to_linear(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("matmul") || !r.in_main() || node.get_bool("transpose_a")) return false;
  Value* matrix = node.operand(1);
  if (!matrix->is_constant_argument() || matrix->tensor().rank() != 2) return false;
  if (node.operand(0)->is_constant_argument() || !is_float(matrix->dtype())) return false;
  if (!r.allowed()) return false;
  if (!node.get_bool("transpose_b")) {
    matrix = r.create("permute", {matrix}, {{"order", Ints{1, 0}}});
  }
  return r.replace(r.create("linear", {node.operand(0), matrix}));
}

}  // namespace

KILN_PASS(merge_transposes, "permutes go behind elementwise ops and into matmul's flags") {
  return rewrite_all(module, context, {permute_below_elementwise, into_matmul, matmul_to_linear});
}

}  // namespace kiln
