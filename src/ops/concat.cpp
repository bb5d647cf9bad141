// concat: tensors joined along one axis.
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
  const TensorType& first = ctx.tensor(0);
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(ctx, "axis", first.rank(), &axis));
  const auto joined = static_cast<size_t>(axis);
  Shape shape = first.shape;
  for (int i = 1; i < ctx.num_operands(); ++i) {
    if (!ctx.has(i)) return refuse(ctx, "K2202", "operand is absent " + operand_name(ctx, i));
    KILN_RETURN_IF_ERROR(check_same_dtype(ctx, i, 0));
    Shape other = first.shape;
    if (ctx.tensor(i).rank() == first.rank()) other[joined] = ctx.tensor(i).shape[joined];
    KILN_RETURN_IF_ERROR(check_shape(ctx, i, other));
    shape[joined] += ctx.tensor(i).shape[joined];
  }
  return std::vector<Type>{tensor_like(ctx, 0, first.dtype, std::move(shape))};
}

Status reference(const ReferenceContext& ctx) {
  HostTensor& out = ctx.out();
  const auto axis = static_cast<size_t>(ctx.node->get_int("axis"));
  const std::vector<int64_t> strides = row_major_strides(out.shape());
  int64_t base = 0;
  for (const HostTensor* x : ctx.operands) {
    strided_walk(x->shape(), {strides}, [&](int64_t flat, const int64_t* at) {
      copy_element(*x, flat, out, base + at[0]);
    });
    base += x->shape()[axis] * strides[axis];
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::cat", "", {node.operands(), node.get_int("axis")}, {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, std::vector<Shape> shapes, int64_t axis) {
    std::vector<std::optional<Type>> operands;
    for (Shape& shape : shapes) operands.push_back(tensor_of(dtype, std::move(shape)));
    samples.push_back(make_sample(std::move(why), std::move(operands), {{"axis", axis}}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  for (DType dtype :
       {DType::kF32, DType::kF64, DType::kBF16, DType::kI8, DType::kI64, DType::kBool})
    add("outer axis, " + std::string(dtype_name(dtype)), dtype, {{3, 5}, {2, 5}}, 0);
  add("channels of three branches", DType::kF32, {{2, 3, 5, 5}, {2, 1, 5, 5}, {2, 4, 5, 5}}, 1);
  add("inner axis of odd widths", DType::kF32, {{3, 1}, {3, 7}, {3, 2}}, 1);
  add("one operand", DType::kF32, {{3, 2}}, 0);
  add("one is empty", DType::kF32, {{3, 2}, {0, 2}, {1, 2}}, 0);
  add("no elements", DType::kF32, {{0, 2}, {0, 3}}, 1);
  add("class token before symbolic tokens", DType::kF32, {{s0, 1, 4}, {s0, s1, 4}}, 1);
  return samples;
}

}  // namespace

KILN_OP(concat) {
  OpDef def;
  def.formula = "y = x0, x1, ... one after the other along axis";
  def.traits = kCheap;
  def.min_operands = 1;
  def.max_operands = -1;
  def.operand_names = {"x"};
  def.fields = {required_int("axis", "axis along which the operands follow one another")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
