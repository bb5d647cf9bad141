// where: elementwise choice between two tensors.
#include "ops/aten_args.h"
#include "ops/broadcast.h"
#include "ops/dtype_class.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  if (ctx.tensor(0).dtype != DType::kBool)
    return refuse(
        ctx, "K2203",
        "dtype of condition must be bool, is " + std::string(dtype_name(ctx.tensor(0).dtype)));
  KILN_RETURN_IF_ERROR(check_same_dtype(ctx, 2, 1));
  KILN_ASSIGN_OR_RETURN(Shape shape, broadcast_shapes(ctx, {0, 1, 2}));
  return std::vector<Type>{tensor_like(ctx, 1, ctx.tensor(1).dtype, std::move(shape))};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& condition = ctx.in(0);
  HostTensor& out = ctx.out();
  std::vector<std::vector<int64_t>> strides;
  for (int i = 0; i < 3; ++i) strides.push_back(broadcast_strides(ctx.in(i).shape(), out.shape()));
  strided_walk(out.shape(), strides, [&](int64_t flat, const int64_t* at) {
    const int chosen = condition.get_int(at[0]) != 0 ? 1 : 2;
    copy_element(ctx.in(chosen), at[chosen], out, flat);
  });
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::where", "self", {node.operand(0), node.operand(1), node.operand(2)},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape c, Shape x, Shape y) {
    samples.push_back(make_sample(std::move(why),
                                  {tensor_of(DType::kBool, std::move(c)),
                                   tensor_of(dtype, std::move(x)), tensor_of(dtype, std::move(y))},
                                  {}, {Fill::kBool}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  for (DType dtype : dtypes_of(DTypeClass::kAny))
    add("odd sizes, " + std::string(dtype_name(dtype)), dtype, {9, 15, 17}, {9, 15, 17},
        {9, 15, 17});
  add("attention mask: condition repeats over heads", DType::kF32, {2, 1, 1, 5}, {2, 3, 4, 5}, {});
  add("all three broadcast", DType::kF32, {5, 1, 1}, {1, 3, 1}, {1, 1, 7});
  add("a scalar condition", DType::kF32, {}, {2, 3}, {3});
  add("rank 0", DType::kF32, {}, {}, {});
  add("no elements", DType::kF32, {0, 1}, {1, 3}, {0, 3});
  add("symbolic sizes", DType::kF32, {s0, 1, s1}, {s0, 4, s1}, {1});
  return samples;
}

}  // namespace

KILN_OP(where) {
  OpDef def;
  def.formula = "z = condition ? x : y";
  def.traits = kElementwise | kCheap;
  def.min_operands = def.max_operands = 3;
  def.operand_names = {"condition", "x", "y"};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
