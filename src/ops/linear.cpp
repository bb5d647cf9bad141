// linear: a matrix product with a weight stored [outputs, inputs], plus bias. An op of its own,
// because weight packing and epilogues hang on it.
#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 1, -1));
  KILN_RETURN_IF_ERROR(check_rank(c, 1, 2, 2));
  KILN_RETURN_IF_ERROR(check_rank(c, 2, 1, 1));
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  const Shape& weight = c.tensor(1).shape;
  Shape shape = c.tensor(0).shape;
  KILN_RETURN_IF_ERROR(check_equal_dims(c, "features of x and weight", shape.back(), weight[1]));
  if (c.has(2)) {
    KILN_RETURN_IF_ERROR(
        check_equal_dims(c, "bias and output features", c.tensor(2).shape[0], weight[0]));
  }
  shape.back() = weight[0];
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const std::vector<double> x = doubles_of(c.in(0));
  const std::vector<double> weight = doubles_of(c.in(1));
  const int64_t outputs = c.in(1).size(0);
  const int64_t depth = c.in(1).size(1);
  for (int64_t flat = 0; flat < c.out().num_elements(); ++flat) {
    const int64_t n = flat % outputs;
    const double* row = x.data() + flat / outputs * depth;
    double sum = c.has(2) ? c.in(2).get_double(n) : 0.0;
    for (int64_t k = 0; k < depth; ++k) sum += row[k] * weight[static_cast<size_t>(n * depth + k)];
    c.out().set_double(flat, sum);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call("aten::linear", "", {node.operand(0), node.operand(1), optional_arg(node, 2)},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr length = DimExpr::symbol("s");
  std::vector<OpSample> list{
      make_sample("transformer projection, bias", {f32({2, 5, 64}), f32({96, 64}), f32({96})}),
      make_sample("no bias, odd sizes", {f32({7, 33}), f32({19, 33})}),
      make_sample("a vector", {f32({17}), f32({5, 17}), f32({5})}),
      make_sample("classifier: one row, many outputs",
                  {f32({1, 65}), f32({1000, 65}), f32({1000})}),
      make_sample("one output", {f32({9, 31}), f32({1, 31}), f32({1})}),
      make_sample("no features: the bias alone", {f32({3, 0}), f32({4, 0}), f32({4})}),
      make_sample("empty batch", {f32({0, 8}), f32({4, 8}), f32({4})}),
      make_sample("dynamic batch and sequence",
                  {f32({batch, length, 24}), f32({40, 24}), f32({40})}),
      make_sample("small integers are exact in any order",
                  {f32({21, 48}), f32({35, 48}), f32({35})}, {},
                  {OpSample::Fill::kSmallIntegers, OpSample::Fill::kSmallIntegers,
                   OpSample::Fill::kSmallIntegers}),
  };
  list.back().tolerance = 0;
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample(
        "dtype " + std::string(dtype_name(dtype)),
        {tensor_of(dtype, {6, 80}), tensor_of(dtype, {24, 80}), tensor_of(dtype, {24})}));
  }
  list.push_back(make_sample("f16 of several tiles in all directions",
                             {tensor_of(DType::kF16, {2, 21, 520}),
                              tensor_of(DType::kF16, {72, 520}), tensor_of(DType::kF16, {72})}));
  return list;
}

}  // namespace

KILN_OP(linear) {
  OpDef def;
  def.formula = "y[..., n] = bias[n] + sum_k x[..., k] * weight[n, k]";
  def.traits = kAnchor;
  def.min_operands = 2;
  def.max_operands = 3;
  def.operand_names = {"x", "weight", "bias"};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
