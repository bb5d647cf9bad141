// expand: repeats axes of size 1 and adds leading ones.
#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/broadcast.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  const TensorType& x = ctx.tensor(0);
  const Shape& shape = ctx.get_dims("shape");
  if (!broadcasts_to(x.shape, shape))
    return refuse(
        ctx, "K2204",
        "x does not broadcast to shape: " + shape_to_text(x.shape) + " vs " + shape_to_text(shape));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, shape)};
}

Status reference(const ReferenceContext& ctx) {
  gather_strided(ctx.in(0), 0, broadcast_strides(ctx.in(0).shape(), ctx.out().shape()), ctx.out());
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::expand", "", {node.operand(0), dims_arg(node.get_dims("shape")), false},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape from, Shape to) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(from))},
                                  {{"shape", std::move(to)}}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0");
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kI8, DType::kI64, DType::kBool})
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 1}, {3, 5});
  add("outer axis", DType::kF32, {1, 5}, {3, 5});
  add("new leading axes", DType::kF32, {5}, {2, 3, 5});
  add("middle and leading", DType::kF32, {3, 1, 2}, {4, 3, 5, 2});
  add("from rank 0", DType::kF32, {}, {3, 2});
  add("nothing to do", DType::kF32, {3, 2}, {3, 2});
  add("to no elements", DType::kF32, {1, 3}, {0, 3});
  add("a class token over a symbolic batch", DType::kF32, {1, 1, 7}, {s0, 1, 7});
  return samples;
}

}  // namespace

KILN_OP(expand) {
  OpDef def;
  def.formula = "y[..., i] = x[..., size of that axis of x is 1 ? 0 : i]";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {required_dims("shape", "shape of the result; x broadcasts to it")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
