// group_norm: zero mean and unit variance over each group of channels of each image, then scale and
// shift by channel. instance_norm is the case of one channel per group.
#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/normalization.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, DTypeClass::kFloat));
  KILN_RETURN_IF_ERROR(check_rank(ctx, 0, 2, -1));
  const TensorType& x = ctx.tensor(0);
  const int64_t groups = ctx.get_int("groups");
  DimExpr per_group;
  if (groups < 1 || !DimExpr::divide_exactly(x.shape[1], groups, &per_group))
    return refuse(ctx, "K2205",
                  "groups do not divide the channels: " + std::to_string(groups) + " of " +
                      x.shape[1].to_string());
  KILN_RETURN_IF_ERROR(check_parameters(ctx, 1, 2, {x.shape[1]}));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, x.shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  if (x.num_elements() == 0) return {};
  const int64_t channels = x.size(1), groups = ctx.node->get_int("groups");
  const int64_t pixels = x.num_elements() / (x.size(0) * channels);
  const int64_t width = channels / groups * pixels;
  for (int64_t begin = 0; begin < x.num_elements(); begin += width) {
    const Moments m = moments_of(x, begin, width, ctx.node->get_float("eps"));
    for (int64_t i = begin; i < begin + width; ++i) {
      const int64_t channel = i / pixels % channels;
      const double normal = (x.get_double(i) - m.mean) * m.inverse_deviation;
      ctx.out().set_double(
          i, normal * parameter_or(ctx, 1, channel, 1) + parameter_or(ctx, 2, channel, 0));
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::group_norm", "",
                   {node.operand(0), node.get_int("groups"), optional_arg(node, 1),
                    optional_arg(node, 2), node.get_float("eps"), true},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape x, int64_t groups, bool weight,
                       bool bias, DType parameters) {
    const std::optional<Type> parameter = tensor_of(parameters, {x[1]});
    samples.push_back(
        make_sample(std::move(why),
                    {tensor_of(dtype, std::move(x)), weight ? parameter : std::nullopt,
                     bias ? parameter : std::nullopt},
                    {{"groups", groups}, {"eps", 1e-5}}));
  };
  for (DType dtype : dtypes_of(DTypeClass::kFloat))
    add("image, " + std::string(dtype_name(dtype)), dtype, {2, 6, 5, 3}, 3, true, true, dtype);
  add("f32 parameters beside bf16", DType::kBF16, {2, 6, 5, 3}, 2, true, true, DType::kF32);
  add("one group", DType::kF32, {2, 5, 7}, 1, true, true, DType::kF32);
  add("a group per channel", DType::kF32, {2, 5, 7}, 5, true, true, DType::kF32);
  add("no pixels axes", DType::kF32, {3, 8}, 2, true, true, DType::kF32);
  add("no parameters", DType::kF32, {2, 6, 5}, 3, false, false, DType::kF32);
  add("no images", DType::kF32, {0, 6, 5}, 3, true, true, DType::kF32);
  add("symbolic batch and size", DType::kF32, {DimExpr::symbol("s0"), 6, DimExpr::symbol("s1")}, 3,
      true, true, DType::kF32);
  return samples;
}

}  // namespace

KILN_OP(group_norm) {
  OpDef def;
  def.formula =
      "y = (x - mean) / sqrt(variance + eps) * weight[c] + bias[c], moments over the "
      "channels of a group and all pixels";
  def.traits = kRowwise;
  def.min_operands = 1;
  def.max_operands = 3;
  def.operand_names = {"x", "weight", "bias"};
  def.fields = {required_int("groups", "groups of neighbouring channels; divides the channels"),
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
