// log_softmax: logarithm of softmax, without computing small probabilities.
#include <cmath>
#include <limits>

#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, DTypeClass::kFloat));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(ctx, "axis", ctx.tensor(0).rank(), &axis));
  return std::vector<Type>{tensor_like(ctx, 0, ctx.tensor(0).dtype, ctx.tensor(0).shape)};
}

// A row of -inf only gives NaN, as in torch.
Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  const AxisSplit split = split_at(x.shape(), static_cast<int>(ctx.node->get_int("axis")));
  for (int64_t o = 0; o < split.outer; ++o) {
    for (int64_t n = 0; n < split.inner; ++n) {
      const auto at = [&](int64_t i) { return (o * split.extent + i) * split.inner + n; };
      double top = -std::numeric_limits<double>::infinity(), total = 0;
      for (int64_t i = 0; i < split.extent; ++i) top = std::fmax(top, x.get_double(at(i)));
      for (int64_t i = 0; i < split.extent; ++i) total += std::exp(x.get_double(at(i)) - top);
      for (int64_t i = 0; i < split.extent; ++i)
        ctx.out().set_double(at(i), x.get_double(at(i)) - top - std::log(total));
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::log_softmax", "int", {node.operand(0), node.get_int("axis"), none_arg()},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, int64_t axis) {
    samples.push_back(
        make_sample(std::move(why), {tensor_of(dtype, std::move(shape))}, {{"axis", axis}}));
  };
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  for (DType dtype : dtypes_of(DTypeClass::kFloat))
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 17}, 1);
  add("attention scores", DType::kF32, {2, 3, 5, 5}, 3);
  add("channels of an image", DType::kF32, {2, 7, 3, 3}, 1);
  add("outer axis", DType::kF32, {17, 3}, 0);
  add("long rows", DType::kF32, {2, 1031}, 1);
  add("one element per row", DType::kF32, {5, 1}, 1);
  add("no rows", DType::kF32, {0, 3}, 1);
  add("rows without elements", DType::kF32, {3, 0}, 1);
  add("symbolic rows of symbolic length", DType::kF32, {s0, 2, s1}, 2);
  return samples;
}

}  // namespace

KILN_OP(log_softmax) {
  OpDef def;
  def.formula = "y[..., i] = x[..., i] - ln(sum_j exp(x[..., j]))";
  def.traits = kRowwise | kSensitive;
  def.operand_names = {"x"};
  def.fields = {required_int("axis", "axis along which the exponentials are summed")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
