// logsumexp: logarithm of a sum of exponentials, without overflow.
#include <cmath>
#include <limits>

#include "ops/aten_args.h"
#include "ops/operand_checks.h"
#include "ops/reduction.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  return infer_reduction(ctx, DTypeClass::kFloat, ctx.tensor(0).dtype);
}

// max + ln(sum of exp(x - max)); an infinite maximum counts as 0, as in torch.
Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  HostTensor& y = ctx.out();
  const std::vector<std::vector<int64_t>> strides = {
      reduction_strides(x.shape(), ctx.node->get_ints("axes"))};
  const auto results = static_cast<size_t>(y.num_elements());
  std::vector<double> top(results, -std::numeric_limits<double>::infinity()), total(results, 0);
  strided_walk(x.shape(), strides, [&](int64_t flat, const int64_t* at) {
    double& t = top[static_cast<size_t>(at[0])];
    t = std::fmax(t, x.get_double(flat));
  });
  for (double& t : top) {
    if (std::isinf(t)) t = 0;
  }
  strided_walk(x.shape(), strides, [&](int64_t flat, const int64_t* at) {
    const auto i = static_cast<size_t>(at[0]);
    total[i] += std::exp(x.get_double(flat) - top[i]);
  });
  for (size_t i = 0; i < results; ++i)
    y.set_double(static_cast<int64_t>(i), top[i] + std::log(total[i]));
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::logsumexp", "",
                   {node.operand(0), ints_arg(node.get_ints("axes")), node.get_bool("keepdim")},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  return reduction_samples(DTypeClass::kFloat, OpSample::Fill::kNormal, false, false, false);
}

}  // namespace

KILN_OP(logsumexp) {
  OpDef def;
  def.formula = "y = ln(sum of exp(x) over axes)";
  def.traits = kReduction | kSensitive;
  def.operand_names = {"x"};
  def.fields = reduction_fields();
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
