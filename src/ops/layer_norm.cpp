// layer_norm: zero mean and unit variance over the last axes, then scale and shift.
#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/normalization.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

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
  KILN_RETURN_IF_ERROR(check_parameters(ctx, 1, 2, normalized_shape(x.shape, num_axes)));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, x.shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  const double eps = ctx.node->get_float("eps");
  int64_t width = 1;
  for (int64_t i = 0; i < ctx.node->get_int("num_axes"); ++i)
    width *= x.size(x.rank() - 1 - static_cast<int>(i));
  for (int64_t begin = 0; begin < x.num_elements(); begin += width) {
    const Moments m = moments_of(x, begin, width, eps);
    for (int64_t i = 0; i < width; ++i) {
      const double normal = (x.get_double(begin + i) - m.mean) * m.inverse_deviation;
      ctx.out().set_double(begin + i,
                           normal * parameter_or(ctx, 1, i, 1) + parameter_or(ctx, 2, i, 0));
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::layer_norm", "",
                   {node.operand(0),
                    dims_arg(normalized_shape(node.operand(0)->shape(), node.get_int("num_axes"))),
                    optional_arg(node, 1), optional_arg(node, 2), node.get_float("eps"), true},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape x, int64_t num_axes, bool weight,
                       bool bias, DType parameters) {
    const std::optional<Type> parameter = tensor_of(parameters, normalized_shape(x, num_axes));
    samples.push_back(
        make_sample(std::move(why),
                    {tensor_of(dtype, std::move(x)), weight ? parameter : std::nullopt,
                     bias ? parameter : std::nullopt},
                    {{"num_axes", num_axes}, {"eps", 1e-5}}));
  };
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  for (DType dtype : dtypes_of(DTypeClass::kFloat))
    add("one axis, " + std::string(dtype_name(dtype)), dtype, {2, 3, 17}, 1, true, true, dtype);
  add("f32 parameters beside bf16", DType::kBF16, {5, 24}, 1, true, true, DType::kF32);
  add("three axes", DType::kF32, {2, 3, 5, 4}, 3, true, true, DType::kF32);
  add("every axis", DType::kF32, {3, 5}, 2, true, true, DType::kF32);
  add("no parameters", DType::kF32, {5, 9}, 1, false, false, DType::kF32);
  add("weight without bias", DType::kF32, {5, 9}, 1, true, false, DType::kF32);
  add("long rows", DType::kF32, {2, 1031}, 1, true, true, DType::kF32);
  add("no rows", DType::kF32, {0, 5}, 1, true, true, DType::kF32);
  add("symbolic rows", DType::kF32, {s0, s1, 12}, 1, true, true, DType::kF32);
  return samples;
}

}  // namespace

KILN_OP(layer_norm) {
  OpDef def;
  def.formula = "y = (x - mean) / sqrt(variance + eps) * weight + bias, moments over the last axes";
  def.traits = kRowwise;
  def.min_operands = 1;
  def.max_operands = 3;
  def.operand_names = {"x", "weight", "bias"};
  def.fields = {int_field("num_axes", 1, "how many of the last axes are normalised together"),
                required_float("eps", "added to the population variance")};
  def.f32_beside = 1;
  def.infer = infer;
  def.verify = check_eps;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
