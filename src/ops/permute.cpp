// permute: axes in another order.
#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  const TensorType& x = ctx.tensor(0);
  const std::vector<int64_t>& order = ctx.get_ints("order");
  KILN_RETURN_IF_ERROR(check_axes(ctx, order, x.rank()));
  if (static_cast<int>(order.size()) != x.rank())
    return refuse(ctx, "K2205",
                  "order must name every axis: " + std::to_string(order.size()) + " of " +
                      std::to_string(x.rank()));
  Shape shape;
  for (int64_t axis : order) shape.push_back(x.shape[static_cast<size_t>(axis)]);
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, std::move(shape))};
}

Status reference(const ReferenceContext& ctx) {
  const std::vector<int64_t> own = row_major_strides(ctx.in(0).shape());
  std::vector<int64_t> strides;
  for (int64_t axis : ctx.node->get_ints("order"))
    strides.push_back(own[static_cast<size_t>(axis)]);
  gather_strided(ctx.in(0), 0, strides, ctx.out());
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::permute", "", {node.operand(0), ints_arg(node.get_ints("order"))},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, std::vector<int64_t> order) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"order", std::move(order)}}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  for (DType dtype :
       {DType::kF32, DType::kF64, DType::kBF16, DType::kI8, DType::kI64, DType::kBool})
    add("matrix transpose, " + std::string(dtype_name(dtype)), dtype, {5, 7}, {1, 0});
  add("to channels last", DType::kF32, {2, 3, 5, 7}, {0, 2, 3, 1});
  add("attention heads", DType::kF32, {2, 5, 3, 4}, {0, 2, 1, 3});
  add("a cycle of three", DType::kF32, {2, 3, 5}, {2, 0, 1});
  add("large enough for tiles", DType::kF32, {67, 131}, {1, 0});
  add("identity", DType::kF32, {2, 3}, {0, 1});
  add("rank 0", DType::kF32, {}, {});
  add("no elements", DType::kF32, {3, 0, 2}, {2, 1, 0});
  add("symbolic sizes", DType::kF32, {s0, s1, 3}, {1, 0, 2});
  return samples;
}

}  // namespace

KILN_OP(permute) {
  OpDef def;
  def.formula = "y[i[order[0]], i[order[1]], ...] = x[i[0], i[1], ...]";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {required_ints("order", "axis of x that becomes axis 0, 1, ... of the result")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
