// cumsum: running sums along one axis.
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
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, DTypeClass::kNumeric));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(ctx, "axis", ctx.tensor(0).rank(), &axis));
  return std::vector<Type>{tensor_like(ctx, 0, ctx.tensor(0).dtype, ctx.tensor(0).shape)};
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  const AxisSplit split = split_at(x.shape(), static_cast<int>(ctx.node->get_int("axis")));
  for (int64_t o = 0; o < split.outer; ++o) {
    for (int64_t n = 0; n < split.inner; ++n) {
      double total = 0;
      uint64_t whole = 0;  // integers modulo 2^64
      for (int64_t i = 0; i < split.extent; ++i) {
        const int64_t at = (o * split.extent + i) * split.inner + n;
        if (is_float(x.dtype())) {
          total += x.get_double(at);
          ctx.out().set_double(at, total);
        } else {
          whole += static_cast<uint64_t>(x.get_int(at));
          ctx.out().set_int(at, static_cast<int64_t>(whole));
        }
      }
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::cumsum", "",
                   {node.operand(0), node.get_int("axis"), node.result()->dtype()},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, int64_t axis) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"axis", axis}}, {OpSample::Fill::kSmallIntegers}));
  };
  for (DType dtype : dtypes_of(DTypeClass::kNumeric))
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 17}, 1);
  add("outer axis", DType::kF32, {17, 3}, 0);
  add("middle axis", DType::kF32, {2, 7, 3}, 1);
  add("one element per row", DType::kF32, {5, 1}, 1);
  add("no elements", DType::kF32, {3, 0}, 1);
  add("position ids of a symbolic length", DType::kI64, {2, DimExpr::symbol("s0")}, 1);
  return samples;
}

}  // namespace

KILN_OP(cumsum) {
  OpDef def;
  def.formula = "y[..., i] = sum of x[..., j] for j <= i; integers modulo 2^bits";
  def.traits = kSensitive;
  def.operand_names = {"x"};
  def.fields = {required_int("axis", "axis along which the sums run")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
