// full: one number everywhere.
#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  const Shape& shape = ctx.get_dims("shape");
  for (const DimExpr& dim : shape) {
    if (dim.is_constant() && dim.value() < 0)
      return refuse(ctx, "K2205", "negative size in shape: " + shape_to_text(shape));
  }
  return std::vector<Type>{Type(ctx.get_dtype("dtype"), shape)};
}

Status verify(const OpContext& ctx) {
  const bool floats = is_float(ctx.get_dtype("dtype"));
  if (floats && ctx.get_int("int_value") != 0)
    return refuse(ctx, "K2205", "a float tensor is filled by value, not by int_value");
  if (!floats && ctx.get_float("value") != 0)
    return refuse(ctx, "K2205", "an integer or bool tensor is filled by int_value, not by value");
  return {};
}

Status reference(const ReferenceContext& ctx) {
  HostTensor& y = ctx.out();
  for (int64_t i = 0; i < y.num_elements(); ++i) {
    if (is_float(y.dtype())) {
      y.set_double(i, ctx.node->get_float("value"));
    } else {
      y.set_int(i, ctx.node->get_int("int_value"));
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const DType dtype = node.get_dtype("dtype");
  CallArg fill = is_float(dtype)         ? CallArg(node.get_float("value"))
                 : dtype == DType::kBool ? CallArg(node.get_int("int_value") != 0)
                                         : CallArg(node.get_int("int_value"));
  return aten.call("aten::full", "",
                   {dims_arg(node.get_dims("shape")), std::move(fill), dtype, none_arg(),
                    node.result()->tensor().device, false},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, Attr value) {
    const char* field = is_float(dtype) ? "value" : "int_value";
    samples.push_back(make_sample(std::move(why), {},
                                  {{"shape", std::move(shape)}, {"dtype", dtype}, {field, value}}));
    samples.back().tolerance = 0;
  };
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16})
    add("rounds, " + std::string(dtype_name(dtype)), dtype, {3, 5}, 0.1);
  for (DType dtype : {DType::kI8, DType::kU8, DType::kI16, DType::kI32})
    add("integer, " + std::string(dtype_name(dtype)), dtype, {3, 5}, int64_t{7});
  add("an integer that no double holds", DType::kI64, {2}, int64_t{9007199254740993});
  add("bool", DType::kBool, {7}, int64_t{1});
  add("rank 0", DType::kF32, {}, -2.5);
  add("no elements", DType::kF32, {0, 3}, 1.0);
  add("symbolic sizes", DType::kF32, {DimExpr::symbol("s0"), DimExpr::symbol("s1") + 1}, 1.0);
  return samples;
}

}  // namespace

KILN_OP(full) {
  OpDef def;
  def.formula = "y[i] = value (float dtypes) or int_value (integers, bool)";
  def.traits = kSource | kCheap;
  def.min_operands = def.max_operands = 0;
  def.fields = {required_dims("shape", "shape of the result"),
                required_dtype("dtype", "element type of the result"),
                float_field("value", 0, "the number, for float dtypes"),
                int_field("int_value", 0, "the number, exact, for integer dtypes and bool")};
  def.infer = infer;
  def.verify = verify;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
