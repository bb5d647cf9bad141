// roll: rotation along axes.
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
  const std::vector<int64_t>& axes = ctx.get_ints("axes");
  KILN_RETURN_IF_ERROR(check_axes(ctx, axes, x.rank()));
  if (axes.empty() || axes.size() != ctx.get_dims("shifts").size())
    return refuse(ctx, "K2205",
                  "axes and shifts need the same number of entries, at least one: " +
                      std::to_string(axes.size()) + " and " +
                      std::to_string(ctx.get_dims("shifts").size()));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, x.shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> shifts, ctx.dims("shifts"));
  const std::vector<int64_t>& axes = ctx.node->get_ints("axes");
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  for (IndexWalk at(x.shape()); !at.done(); at.next()) {
    std::vector<int64_t> index = at.index();
    for (size_t k = 0; k < axes.size(); ++k) {
      const auto axis = static_cast<size_t>(axes[k]);
      const int64_t size = x.shape()[axis];
      index[axis] = ((index[axis] + shifts[k] % size) % size + size) % size;
    }
    int64_t to = 0;
    for (size_t i = 0; i < index.size(); ++i) to += index[i] * strides[i];
    copy_element(x, at.flat(), ctx.out(), to);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call(
      "aten::roll", "",
      {node.operand(0), dims_arg(node.get_dims("shifts")), ints_arg(node.get_ints("axes"))},
      {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, std::vector<DimExpr> shifts,
                       std::vector<int64_t> axes) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"shifts", std::move(shifts)}, {"axes", std::move(axes)}}));
    samples.back().tolerance = 0;
  };
  for (DType dtype : {DType::kF32, DType::kF16, DType::kI8, DType::kI64, DType::kBool})
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 7}, {2}, {1});
  add("shifted windows", DType::kF32, {2, 7, 7, 3}, {-3, -3}, {1, 2});
  add("more than a turn", DType::kF32, {5, 3}, {13}, {0});
  add("a whole turn", DType::kF32, {5, 3}, {-5}, {0});
  add("no elements", DType::kF32, {0, 3}, {1}, {0});
  add("symbolic size", DType::kF32, {DimExpr::symbol("s0"), 3}, {1, 1}, {0, 1});
  return samples;
}

}  // namespace

KILN_OP(roll) {
  OpDef def;
  def.formula = "y[..., (i + shift) mod size, ...] = x[..., i, ...] along each axis";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {required_dims("shifts", "places that elements move up, per entry of axes"),
                required_ints("axes", "axes that rotate, each once")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
