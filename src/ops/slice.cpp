// slice: every step-th index of one axis.
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  const TensorType& x = ctx.tensor(0);
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(ctx, "axis", x.rank(), &axis));
  const DimExpr &start = ctx.get_dim("start"), &end = ctx.get_dim("end"),
                &step = ctx.get_dim("step");
  const DimExpr& size = x.shape[static_cast<size_t>(axis)];
  const auto negative = [](const DimExpr& d) { return d.is_constant() && d.value() < 0; };
  if (negative(start) || negative(end - start) || negative(size - end))
    return refuse(ctx, "K2205",
                  "needs 0 <= start <= end <= size, has start " + start.to_string() + ", end " +
                      end.to_string() + ", size " + size.to_string());
  if (step.is_constant() && step.value() < 1)
    return refuse(ctx, "K2205", "step must be positive, is " + step.to_string());
  Shape shape = x.shape;
  shape[static_cast<size_t>(axis)] =
      step.is_value(1) ? end - start : DimExpr::floordiv(end - start + step - 1, step);
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, std::move(shape))};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  const auto axis = static_cast<size_t>(ctx.node->get_int("axis"));
  KILN_ASSIGN_OR_RETURN(const int64_t start, ctx.dim("start"));
  KILN_ASSIGN_OR_RETURN(const int64_t end, ctx.dim("end"));
  KILN_ASSIGN_OR_RETURN(const int64_t step, ctx.dim("step"));
  if (start < 0 || end < start || end > x.shape()[axis] || step < 1)
    return Status::error("K4201", "slice: bounds are outside the axis: start " +
                                      std::to_string(start) + ", end " + std::to_string(end) +
                                      ", step " + std::to_string(step) + ", size " +
                                      std::to_string(x.shape()[axis]));
  std::vector<int64_t> strides = row_major_strides(x.shape());
  const int64_t base = start * strides[axis];
  strides[axis] *= step;
  gather_strided(x, base, strides, ctx.out());
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::slice", "Tensor",
                   {node.operand(0), node.get_int("axis"), node.get_dim("start"),
                    node.get_dim("end"), node.get_dim("step")},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, int64_t axis, DimExpr start,
                       DimExpr end, DimExpr step) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"axis", axis},
                                   {"start", std::move(start)},
                                   {"end", std::move(end)},
                                   {"step", std::move(step)}}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0");
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kI8, DType::kI64, DType::kBool})
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 11}, 1, 2, 9, 1);
  add("outer axis", DType::kF32, {7, 3}, 0, 1, 5, 1);
  add("middle axis", DType::kF32, {2, 7, 3}, 1, 3, 7, 1);
  add("step, size not a multiple", DType::kF32, {3, 11}, 1, 1, 11, 3);
  add("step above the size", DType::kF32, {5}, 0, 0, 5, 9);
  add("one element", DType::kF32, {5, 4}, 0, 2, 3, 1);
  add("whole axis", DType::kF32, {5, 4}, 1, 0, 4, 1);
  add("no elements", DType::kF32, {5, 4}, 0, 2, 2, 1);
  add("all but the last of a symbolic axis", DType::kF32, {DimExpr(2), s0, 3}, 1, 0, s0 - 1, 1);
  add("last of a symbolic axis", DType::kF32, {s0, 3}, 0, s0 - 1, s0, 1);
  add("every second of a symbolic axis", DType::kF32, {s0, 3}, 0, 0, s0, 2);
  return samples;
}

}  // namespace

KILN_OP(slice) {
  OpDef def;
  def.formula = "y[..., i, ...] = x[..., start + i * step, ...]";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {required_int("axis", "axis that is sliced"),
                required_dim("start", "first index, 0 <= start"),
                required_dim("end", "one past the last index, start <= end <= size"),
                dim_field("step", 1, "distance of indices, positive")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
