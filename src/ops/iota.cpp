// iota: an arithmetic progression (arange, linspace, position ids).
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  const DimExpr& length = ctx.get_dim("length");
  if (length.is_constant() && length.value() < 0)
    return refuse(ctx, "K2205", "length must not be negative, is " + length.to_string());
  return std::vector<Type>{Type(ctx.get_dtype("dtype"), {length})};
}

Status verify(const OpContext& ctx) {
  const DType dtype = ctx.get_dtype("dtype");
  if (dtype == DType::kBool) return refuse(ctx, "K2203", "dtype must be float or integer, is bool");
  if (ctx.get_dim("step").is_value(0)) return refuse(ctx, "K2205", "step must not be zero");
  if (!is_float(dtype) && (ctx.get_float("scale") != 1 || ctx.get_float("offset") != 0))
    return refuse(ctx, "K2205", "scale and offset need a float dtype");
  return {};
}

Status reference(const ReferenceContext& ctx) {
  HostTensor& y = ctx.out();
  KILN_ASSIGN_OR_RETURN(const int64_t start, ctx.dim("start"));
  KILN_ASSIGN_OR_RETURN(const int64_t step, ctx.dim("step"));
  const double scale = ctx.node->get_float("scale"), offset = ctx.node->get_float("offset");
  for (int64_t i = 0; i < y.num_elements(); ++i) {
    // Modulo 2^64, as torch's integers wrap.
    const auto n = static_cast<int64_t>(static_cast<uint64_t>(start) +
                                        static_cast<uint64_t>(i) * static_cast<uint64_t>(step));
    if (is_float(y.dtype())) {
      y.set_double(i, offset + scale * static_cast<double>(n));
    } else {
      y.set_int(i, n);
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const DimExpr &start = node.get_dim("start"), &step = node.get_dim("step");
  const double scale = node.get_float("scale"), offset = node.get_float("offset");
  const Type& type = node.result()->type;
  const bool plain = scale == 1 && offset == 0;
  const auto typed = [&](DType dtype) {
    TensorType result = type.tensor();
    result.dtype = dtype;
    return Type(result);
  };
  const auto arange = [&](DType dtype) {
    return aten.call("aten::arange", "start_step",
                     {start, start + step * node.get_dim("length"), step, dtype, none_arg(),
                      type.tensor().device, false},
                     {typed(dtype)});
  };
  if (plain) return arange(node.get_dtype("dtype"));
  // In fp64, rounded once, as the formula says.
  std::vector<Value*> y = arange(DType::kF64);
  y = aten.call("aten::mul", "Scalar", {y[0], scale}, {typed(DType::kF64)});
  y = aten.call("aten::add", "Scalar", {y[0], offset, 1}, {typed(DType::kF64)});
  return aten.call(
      "aten::_to_copy", "",
      {y[0], node.get_dtype("dtype"), none_arg(), none_arg(), none_arg(), false, none_arg()},
      {type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, DimExpr length, AttrList attrs) {
    attrs.insert(attrs.begin(), {{"length", std::move(length)}, {"dtype", dtype}});
    samples.push_back(make_sample(std::move(why), {}, std::move(attrs)));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0");
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8, DType::kU8,
                      DType::kI16, DType::kI32, DType::kI64})
    add("counts from zero, " + std::string(dtype_name(dtype)), dtype, 13, {});
  add("start and step", DType::kI64, 7, {{"start", DimExpr(5)}, {"step", DimExpr(3)}});
  add("downwards", DType::kI64, 7, {{"start", DimExpr(5)}, {"step", DimExpr(-2)}});
  add("fractions", DType::kF32, 9, {{"scale", 0.1}, {"offset", -0.5}});
  add("one", DType::kI64, 1, {});
  add("no elements", DType::kI64, 0, {});
  add("position ids of a symbolic length", DType::kI64, s0, {});
  add("symbolic start", DType::kI64, 4, {{"start", s0}});
  return samples;
}

}  // namespace

KILN_OP(iota) {
  OpDef def;
  def.formula = "y[i] = offset + scale * (start + i * step)";
  def.traits = kSource | kCheap;
  def.min_operands = def.max_operands = 0;
  def.fields = {required_dim("length", "elements of the result"),
                required_dtype("dtype", "element type of the result; not bool"),
                dim_field("start", 0, "first number before scale and offset"),
                dim_field("step", 1, "distance of neighbours before scale; not zero"),
                float_field("scale", 1, "factor, for float dtypes; fp64"),
                float_field("offset", 0, "summand, for float dtypes; fp64")};
  def.infer = infer;
  def.verify = verify;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
