// clamp: bounds from below, above or both. NaN stays NaN; with min > max the result is max.
#include <cmath>

#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, DTypeClass::kNumeric));
  return std::vector<Type>{tensor_like(ctx, 0, ctx.tensor(0).dtype, ctx.tensor(0).shape)};
}

Status verify(const OpContext& ctx) {
  if (!ctx.get_bool("has_min") && !ctx.get_bool("has_max"))
    return refuse(ctx, "K2205", "neither has_min nor has_max is set");
  if (is_float(ctx.tensor(0).dtype)) return {};
  constexpr double kExact = 9007199254740992.0;  // 2^53: a double holds every integer below
  for (const char* bound : {"min", "max"}) {
    const double value = ctx.get_float(bound);
    if (!(std::fabs(value) <= kExact) || value != std::floor(value))
      return refuse(ctx, "K2205",
                    std::string(bound) + " of an integer clamp must be an integer below 2^53, is " +
                        std::to_string(value));
  }
  return {};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  HostTensor& y = ctx.out();
  const bool has_min = ctx.node->get_bool("has_min"), has_max = ctx.node->get_bool("has_max");
  const double low = ctx.node->get_float("min"), high = ctx.node->get_float("max");
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    if (is_float(x.dtype())) {
      double value = x.get_double(i);
      if (has_min && value < low) value = low;
      if (has_max && value > high) value = high;
      // A NaN bound makes every result NaN, as in torch.
      if (has_min && std::isnan(low)) value = low;
      if (has_max && std::isnan(high)) value = high;
      y.set_double(i, value);
    } else {
      int64_t value = x.get_int(i);
      if (has_min && value < static_cast<int64_t>(low)) value = static_cast<int64_t>(low);
      if (has_max && value > static_cast<int64_t>(high)) value = static_cast<int64_t>(high);
      y.set_int(i, value);
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const DType dtype = node.operand(0)->dtype();
  const auto bound = [&](const char* has, const char* value) {
    return node.get_bool(has) ? scalar_arg(dtype, node.get_float(value)) : none_arg();
  };
  return aten.call("aten::clamp", "",
                   {node.operand(0), bound("has_min", "min"), bound("has_max", "max")},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, AttrList attrs) {
    samples.push_back(
        make_sample(std::move(why), {tensor_of(dtype, std::move(shape))}, std::move(attrs)));
    samples.back().tolerance = 0;
  };
  const AttrList both = {{"has_min", true}, {"has_max", true}, {"min", -1.0}, {"max", 2.0}};
  for (DType dtype : dtypes_of(DTypeClass::kNumeric)) {
    AttrList attrs = both;
    if (dtype == DType::kU8) attrs[2].second = 1.0;
    add("both bounds, " + std::string(dtype_name(dtype)), dtype, {3, 5, 7}, attrs);
  }
  add("from below only", DType::kF32, {17}, {{"has_min", true}, {"min", 0.25}});
  add("from above only", DType::kF32, {17}, {{"has_max", true}, {"max", 0.25}});
  add("min above max gives max", DType::kF32, {17},
      {{"has_min", true}, {"has_max", true}, {"min", 1.0}, {"max", -1.0}});
  add("rank 0", DType::kF32, {}, both);
  add("no elements", DType::kF32, {0}, both);
  add("symbolic size", DType::kF32, {DimExpr::symbol("s0"), 5}, both);
  return samples;
}

}  // namespace

KILN_OP(clamp) {
  OpDef def;
  def.formula = "y = min(max(x, min), max)";
  def.traits = kElementwise | kCheap | kIdempotent;
  def.operand_names = {"x"};
  def.fields = {bool_field("has_min", false, "bound from below"),
                bool_field("has_max", false, "bound from above"),
                float_field("min", 0, "lower bound; an integer for integer x"),
                float_field("max", 0, "upper bound; an integer for integer x")};
  def.infer = infer;
  def.verify = verify;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
