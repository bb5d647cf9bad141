// reshape: the same elements in row-major order under another shape.
#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

#include <cstring>

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  const TensorType& x = ctx.tensor(0);
  const Shape& shape = ctx.get_dims("shape");
  for (const DimExpr& dim : shape) {
    if (dim.is_constant() && dim.value() < 0)
      return refuse(ctx, "K2205", "negative size in shape: " + shape_to_text(shape));
  }
  if (!(num_elements(x.shape) == num_elements(shape)))
    return refuse(ctx, "K2204",
                  "element counts are not provably equal: " + shape_to_text(x.shape) + " vs " +
                      shape_to_text(shape));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  if (x.num_elements() != ctx.out().num_elements())
    return Status::error(
        "K4201", "reshape: element counts differ: " + std::to_string(x.num_elements()) + " vs " +
                     std::to_string(ctx.out().num_elements()));
  if (x.num_bytes() > 0) std::memcpy(ctx.out().bytes(), x.bytes(), x.num_bytes());
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::reshape", "", {node.operand(0), dims_arg(node.get_dims("shape"))},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape from, Shape to) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(from))},
                                  {{"shape", std::move(to)}}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  add("split an axis", DType::kF32, {3, 20}, {3, 4, 5});
  add("merge axes", DType::kF32, {3, 4, 5}, {12, 5});
  add("regroup across axes", DType::kF32, {6, 35}, {10, 21});
  add("squeeze and unsqueeze", DType::kF32, {1, 7, 1}, {7, 1, 1});
  add("to rank 0", DType::kF32, {1, 1}, {});
  add("from rank 0", DType::kF32, {}, {1, 1});
  add("no elements", DType::kF32, {0, 3}, {5, 0, 2});
  add("attention heads with symbolic sizes", DType::kF32, {s0, s1, 12}, {s0, s1, 3, 4});
  add("flatten symbolic axes", DType::kF32, {s0, s1, 6}, {s0 * s1, 6});
  for (DType dtype : {DType::kF64, DType::kF16, DType::kI8, DType::kI64, DType::kBool})
    add("element width, " + std::string(dtype_name(dtype)), dtype, {3, 4}, {2, 6});
  return samples;
}

}  // namespace

KILN_OP(reshape) {
  OpDef def;
  def.formula = "y.flat[i] = x.flat[i]";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {required_dims("shape", "shape of the result; no -1")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
