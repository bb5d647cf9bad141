// flip: reversed order along axes.
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
  KILN_RETURN_IF_ERROR(check_axes(ctx, ctx.get_ints("axes"), x.rank()));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, x.shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  std::vector<int64_t> strides = row_major_strides(x.shape());
  int64_t base = 0;
  for (int64_t axis : ctx.node->get_ints("axes")) {
    const auto i = static_cast<size_t>(axis);
    base += (x.shape()[i] - 1) * strides[i];
    strides[i] = -strides[i];
  }
  gather_strided(x, base, strides, ctx.out());
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::flip", "", {node.operand(0), ints_arg(node.get_ints("axes"))},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, std::vector<int64_t> axes) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"axes", std::move(axes)}}));
    samples.back().tolerance = 0;
  };
  for (DType dtype : {DType::kF32, DType::kF16, DType::kI8, DType::kI64, DType::kBool})
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 7}, {1});
  add("outer axis", DType::kF32, {3, 7}, {0});
  add("two of three axes, unsorted", DType::kF32, {2, 3, 5}, {2, 0});
  add("no axis", DType::kF32, {2, 3}, {});
  add("rank 0", DType::kF32, {}, {});
  add("no elements", DType::kF32, {0, 3}, {0, 1});
  add("symbolic size", DType::kF32, {DimExpr::symbol("s0"), 3}, {0});
  return samples;
}

}  // namespace

KILN_OP(flip) {
  OpDef def;
  def.formula = "y[..., i, ...] = x[..., size - 1 - i, ...] along each axis";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {required_ints("axes", "axes that are reversed, each once")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
