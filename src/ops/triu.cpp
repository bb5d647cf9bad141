// triu: zero except on and above a diagonal of the last two axes.
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_rank(ctx, 0, 2, -1));
  return std::vector<Type>{tensor_like(ctx, 0, ctx.tensor(0).dtype, ctx.tensor(0).shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  const int64_t diagonal = ctx.node->get_int("diagonal");
  for (IndexWalk at(x.shape()); !at.done(); at.next()) {
    const int64_t row = at[x.rank() - 2], column = at[x.rank() - 1];
    // The rest stays zero: results arrive zero-filled, but a reused tensor may not be.
    if (column - row >= diagonal) {
      copy_element(x, at.flat(), ctx.out(), at.flat());
    } else {
      ctx.out().set_int(at.flat(), 0);
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::triu", "", {node.operand(0), node.get_int("diagonal")},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, int64_t diagonal) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"diagonal", diagonal}}));
    samples.back().tolerance = 0;
  };
  for (DType dtype :
       {DType::kF32, DType::kF64, DType::kBF16, DType::kI8, DType::kI64, DType::kBool})
    add("square, " + std::string(dtype_name(dtype)), dtype, {5, 5}, 0);
  add("above the main diagonal", DType::kF32, {4, 7}, 2);
  add("below the main diagonal, batched", DType::kF32, {2, 3, 7, 4}, -1);
  add("diagonal outside", DType::kF32, {3, 3}, 9);
  add("diagonal outside, other side", DType::kF32, {3, 3}, -9);
  add("no elements", DType::kF32, {0, 3}, 0);
  add("causal mask of symbolic length", DType::kF32, {DimExpr::symbol("s0"), DimExpr::symbol("s0")},
      0);
  return samples;
}

}  // namespace

KILN_OP(triu) {
  OpDef def;
  def.formula = "y[..., i, j] = j - i >= diagonal ? x[..., i, j] : 0";
  def.traits = kCheap | kIdempotent;
  def.operand_names = {"x"};
  def.fields = {int_field("diagonal", 0, "0: the main one; positive: above it")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
