// decompose-batch-norm: what fold-batch-norm left becomes a multiplication and an addition.
//
//   %0 = batch_norm(%x, %c0, %c1, %c2, %c3) {eps=1e-05} : f32[1,8,5,5]
// becomes
//   init { factor = weight / sqrt(var + eps); shift = bias - mean * factor; as [8,1,1] }
//   %0 = mul(%x, %c0) : f32[1,8,5,5]
//   %1 = add(%0, %c1) : f32[1,8,5,5]
//
// For f32 and f64: in 16 bits the product would be rounded before the addition.
#include "ir/op_def.h"
#include "passes/batch_norm_constants.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

bool decompose(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("batch_norm") || !r.in_main() || !has_constant_statistics(node)) return false;
  const TensorType type = node.result()->tensor();
  if ((type.dtype != DType::kF32 && type.dtype != DType::kF64) || !r.allowed()) return false;
  const BatchNormConstants constants = batch_norm_constants(r.module(), node);
  Shape column(static_cast<size_t>(type.rank() - 1), DimExpr(1));
  column[0] = type.shape[1];
  const auto constant = [&](Value* value) {
    Graph& init = r.module().init;
    const auto emit = [&](std::string_view op, AttrList attrs) {
      value = create_node(init, op, {value}, std::move(attrs), nullptr, node.origin)->result();
    };
    if (value->dtype() != type.dtype) emit("cast", {{"dtype", type.dtype}});
    if (!(value->shape() == column)) emit("reshape", {{"shape", column}});
    return r.module().constant_for(value);
  };
  Value* scaled = r.create("mul", {node.operand(0), constant(constants.factor)});
  return r.replace(r.create("add", {scaled, constant(constants.shift)}));
}

}  // namespace

KILN_PASS(decompose_batch_norm, "batch norms that stand alone become a product and a sum") {
  return rewrite_all(module, context, {decompose});
}

}  // namespace kiln
