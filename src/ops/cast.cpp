// cast: change of element type.
#include <cmath>
#include <limits>

#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  return std::vector<Type>{tensor_like(ctx, 0, ctx.get_dtype("dtype"), ctx.tensor(0).shape)};
}

// What no int64 can hold becomes the smallest one, as the x86 instruction does; C++ leaves it open.
int64_t truncate(double x) {
  constexpr double kLimit = 9223372036854775808.0;
  if (!(x >= -kLimit && x < kLimit)) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(x);
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  HostTensor& y = ctx.out();
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    if (is_float(x.dtype())) {
      const double value = x.get_double(i);
      if (is_integer(y.dtype())) {
        y.set_int(i, truncate(value));
      } else {
        y.set_double(i, value);
      }
    } else if (y.dtype() == DType::kF64) {
      y.set_double(i, static_cast<double>(x.get_int(i)));
    } else if (is_float(y.dtype())) {
      y.set_double(i, static_cast<float>(x.get_int(i)));  // one rounding to fp32, not two
    } else {
      y.set_int(i, x.get_int(i));
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  return aten.call("aten::_to_copy", "",
                   {node.operand(0), node.get_dtype("dtype"), none_arg(), none_arg(), none_arg(),
                    false, none_arg()},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType from, DType to, Shape shape, Fill fill) {
    samples.push_back(
        make_sample(std::move(why), {tensor_of(from, std::move(shape))}, {{"dtype", to}}, {fill}));
    samples.back().tolerance = 0;
  };
  const DType all[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,
                       DType::kU8,  DType::kI16, DType::kI32, DType::kI64,  DType::kBool};
  for (DType from : all) {
    for (DType to : all) {
      // Negative floats to u8 are left open by C++ and differ between machines.
      const Fill fill = is_float(from) && to == DType::kU8 ? Fill::kPositive : Fill::kNormal;
      add("rounds or truncates, " + std::string(dtype_name(from)) + " to " +
              std::string(dtype_name(to)),
          from, to, {3, 11}, fill);
    }
  }
  add("rank 0", DType::kF32, DType::kBF16, {}, Fill::kNormal);
  add("no elements", DType::kF32, DType::kI64, {4, 0}, Fill::kNormal);
  add("symbolic size", DType::kI64, DType::kF32, {DimExpr::symbol("s0"), 3}, Fill::kNormal);
  return samples;
}

}  // namespace

KILN_OP(cast) {
  OpDef def;
  def.formula =
      "y = x as dtype: floats round to nearest even, float to integer truncates, to bool "
      "is x != 0";
  def.traits = kElementwise | kCheap | kIdempotent;
  def.operand_names = {"x"};
  def.fields = {required_dtype("dtype", "element type of the result")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
