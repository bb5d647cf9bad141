// batch_norm: normalisation by stored statistics, as in inference. The channel axis is 1.
#include <cmath>

#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/normalization.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, DTypeClass::kFloat));
  KILN_RETURN_IF_ERROR(check_rank(ctx, 0, 2, -1));
  const TensorType& x = ctx.tensor(0);
  KILN_RETURN_IF_ERROR(check_parameters(ctx, 1, 4, {x.shape[1]}));
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, x.shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  const AxisSplit split = split_at(x.shape(), 1);
  for (int64_t c = 0; c < split.extent; ++c) {
    const double mean = ctx.in(1).get_double(c);
    const double deviation = std::sqrt(ctx.in(2).get_double(c) + ctx.node->get_float("eps"));
    const double weight = parameter_or(ctx, 3, c, 1), bias = parameter_or(ctx, 4, c, 0);
    for (int64_t o = 0; o < split.outer; ++o) {
      for (int64_t n = 0; n < split.inner; ++n) {
        const int64_t at = (o * split.extent + c) * split.inner + n;
        ctx.out().set_double(at, (x.get_double(at) - mean) / deviation * weight + bias);
      }
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::batch_norm", "",
                   {node.operand(0), optional_arg(node, 3), optional_arg(node, 4), node.operand(1),
                    node.operand(2), false, 0.0, node.get_float("eps"), true},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape x, bool weight, bool bias,
                       DType parameters) {
    const std::optional<Type> parameter = tensor_of(parameters, {x[1]});
    samples.push_back(
        make_sample(std::move(why),
                    {tensor_of(dtype, std::move(x)), parameter, parameter,
                     weight ? parameter : std::nullopt, bias ? parameter : std::nullopt},
                    {{"eps", 1e-5}}, {Fill::kNormal, Fill::kNormal, Fill::kPositive}));
  };
  for (DType dtype : dtypes_of(DTypeClass::kFloat))
    add("image, " + std::string(dtype_name(dtype)), dtype, {2, 5, 7, 3}, true, true, dtype);
  add("f32 parameters beside bf16", DType::kBF16, {2, 5, 7, 3}, true, true, DType::kF32);
  add("features without pixels", DType::kF32, {3, 7}, true, true, DType::kF32);
  add("volume", DType::kF32, {1, 3, 2, 3, 5}, true, true, DType::kF32);
  add("statistics only", DType::kF32, {2, 5, 7}, false, false, DType::kF32);
  add("no images", DType::kF32, {0, 5, 7}, true, true, DType::kF32);
  add("symbolic batch", DType::kF32, {DimExpr::symbol("s0"), 5, 4, 4}, true, true, DType::kF32);
  return samples;
}

}  // namespace

KILN_OP(batch_norm) {
  OpDef def;
  def.formula =
      "y = (x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c], c the index of "
      "axis 1";
  def.traits = kCheap;
  def.min_operands = 3;
  def.max_operands = 5;
  def.operand_names = {"x", "mean", "var", "weight", "bias"};
  def.fields = {required_float("eps", "added to var")};
  def.f32_beside = 1;
  def.infer = infer;
  def.verify = check_eps;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
