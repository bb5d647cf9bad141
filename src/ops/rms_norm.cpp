// rms_norm: unit mean square over the last axes, then scale.
#include <cmath>

#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/normalization.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Shape normalized_shape(const Shape& x, int64_t num_axes) {
  return Shape(x.end() - static_cast<std::ptrdiff_t>(num_axes), x.end());
}

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, DTypeClass::kFloat));
  const TensorType& x = ctx.tensor(0);
  const int64_t num_axes = ctx.get_int("num_axes");
  if (num_axes < 1 || num_axes > x.rank())
    return refuse(ctx, "K2205",
                  "num_axes must be between 1 and the rank of x: " + std::to_string(num_axes) +
                      " for rank " + std::to_string(x.rank()));
  // Torch promotes where the dtypes differ, so no mixed mode here.
  KILN_RETURN_IF_ERROR(check_same_dtype(ctx, 1, 0));
  KILN_RETURN_IF_ERROR(check_shape(ctx, 1, normalized_shape(x.shape, num_axes)));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, x.shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  int64_t width = 1;
  for (int64_t i = 0; i < ctx.node->get_int("num_axes"); ++i)
    width *= x.size(x.rank() - 1 - static_cast<int>(i));
  for (int64_t begin = 0; begin < x.num_elements(); begin += width) {
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += std::pow(x.get_double(begin + i), 2);
    const double mean = squares / static_cast<double>(width);
    const double factor = 1 / std::sqrt(mean + ctx.node->get_float("eps"));
    for (int64_t i = 0; i < width; ++i)
      ctx.out().set_double(begin + i,
                           x.get_double(begin + i) * factor * parameter_or(ctx, 1, i, 1));
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::rms_norm", "",
                   {node.operand(0),
                    dims_arg(normalized_shape(node.operand(0)->shape(), node.get_int("num_axes"))),
                    optional_arg(node, 1), node.get_float("eps")},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape x, int64_t num_axes, bool weight) {
    const std::optional<Type> parameter = tensor_of(dtype, normalized_shape(x, num_axes));
    samples.push_back(make_sample(
        std::move(why), {tensor_of(dtype, std::move(x)), weight ? parameter : std::nullopt},
        {{"num_axes", num_axes}, {"eps", 1e-6}}));
  };
  for (DType dtype : dtypes_of(DTypeClass::kFloat))
    add("one axis, " + std::string(dtype_name(dtype)), dtype, {2, 3, 17}, 1, true);
  add("two axes", DType::kF32, {3, 5, 4}, 2, true);
  add("no weight", DType::kF32, {5, 9}, 1, false);
  add("long rows", DType::kF32, {2, 1031}, 1, true);
  add("no rows", DType::kF32, {0, 5}, 1, true);
  add("symbolic rows", DType::kF32, {DimExpr::symbol("s0"), DimExpr::symbol("s1"), 12}, 1, true);
  return samples;
}

}  // namespace

KILN_OP(rms_norm) {
  OpDef def;
  def.formula = "y = x / sqrt(mean of x^2 + eps) * weight, mean over the last axes";
  def.traits = kRowwise;
  def.min_operands = 1;
  def.max_operands = 2;
  def.operand_names = {"x", "weight"};
  def.fields = {int_field("num_axes", 1, "how many of the last axes are normalised together"),
                required_float("eps", "added to the mean square")};
  def.infer = infer;
  def.verify = check_eps;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
