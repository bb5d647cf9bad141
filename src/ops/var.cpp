// var: variance over axes.
#include <algorithm>

#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reduction.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  return infer_reduction(ctx, DTypeClass::kFloat, ctx.tensor(0).dtype);
}

// Two passes: the mean, then the squared deviations.
Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  HostTensor& y = ctx.out();
  const std::vector<int64_t>& axes = ctx.node->get_ints("axes");
  double count = 1;
  for (int64_t axis : axes) count *= static_cast<double>(x.shape()[static_cast<size_t>(axis)]);
  const std::vector<std::vector<int64_t>> strides = {reduction_strides(x.shape(), axes)};
  const auto results = static_cast<size_t>(y.num_elements());
  std::vector<double> mean(results, 0), squares(results, 0);
  strided_walk(x.shape(), strides, [&](int64_t flat, const int64_t* at) {
    mean[static_cast<size_t>(at[0])] += x.get_double(flat);
  });
  for (double& m : mean) m /= count;
  strided_walk(x.shape(), strides, [&](int64_t flat, const int64_t* at) {
    const double d = x.get_double(flat) - mean[static_cast<size_t>(at[0])];
    squares[static_cast<size_t>(at[0])] += d * d;
  });
  const double divisor = std::max(0.0, count - ctx.node->get_float("correction"));
  for (size_t i = 0; i < results; ++i) y.set_double(static_cast<int64_t>(i), squares[i] / divisor);
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::var", "correction",
                   {node.operand(0), ints_arg(node.get_ints("axes")), node.get_float("correction"),
                    node.get_bool("keepdim")},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples =
      reduction_samples(DTypeClass::kFloat, OpSample::Fill::kNormal, false, false, false);
  const auto add = [&](std::string why, Shape shape, double correction) {
    samples.push_back(make_sample(std::move(why), {tensor_of(DType::kF32, std::move(shape))},
                                  {{"axes", std::vector<int64_t>{1}}, {"correction", correction}}));
  };
  add("population variance", {3, 7}, 0);
  add("correction above the count gives infinity", {3, 2}, 5);
  return samples;
}

}  // namespace

KILN_OP(var) {
  OpDef def;
  def.formula = "y = sum of (x - mean)^2 over axes / max(0, number of elements - correction)";
  def.traits = kReduction | kSensitive;
  def.operand_names = {"x"};
  def.fields = reduction_fields();
  def.fields.push_back(float_field("correction", 1, "1: sample variance; 0: population variance"));
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
