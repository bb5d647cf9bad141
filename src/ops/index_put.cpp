// index_put: x with the elements x[indices] replaced by, or increased by, values.
#include "ops/advanced_index.h"
#include "ops/broadcast.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  KILN_ASSIGN_OR_RETURN(const Shape shape, advanced_index_shape(c, 2));
  if (!broadcasts_to(c.tensor(1).shape, shape)) {
    return refuse(c, "K2204", "values do not broadcast to the indexed elements");
  }
  if (c.get_bool("accumulate") && c.tensor(0).dtype == DType::kBool) {
    return refuse(c, "K2203", "accumulate of bool elements");
  }
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, c.tensor(0).shape)};
}

Status reference(const ReferenceContext& c) {
  std::vector<int64_t> shape;
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> positions,
                        advanced_index_positions(c, 2, &shape));
  const HostTensor& values = c.in(1);
  HostTensor& y = c.out();
  y = c.in(0);
  const bool accumulate = c.node->get_bool("accumulate");
  const std::vector<int64_t> strides = broadcast_strides(values.shape(), shape);
  std::vector<double> sums;
  if (accumulate && is_float(y.dtype())) sums = doubles_of(y);
  for (IndexWalk at(shape); !at.done(); at.next()) {
    int64_t from = 0;
    for (size_t i = 0; i < shape.size(); ++i) from += at[static_cast<int>(i)] * strides[i];
    const int64_t to = positions[static_cast<size_t>(at.flat())];
    if (!accumulate) {
      copy_element(values, from, y, to);
    } else if (is_float(y.dtype())) {
      sums[static_cast<size_t>(to)] += values.get_double(from);
    } else {
      y.set_int(to, static_cast<int64_t>(static_cast<uint64_t>(y.get_int(to)) +
                                         static_cast<uint64_t>(values.get_int(from))));
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) y.set_double(static_cast<int64_t>(i), sums[i]);
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call(
      "aten::index_put", "",
      {node.operand(0), advanced_index_list(node, 2), node.operand(1), node.get_bool("accumulate")},
      {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape x, Shape values, std::vector<int64_t> axes,
                     std::vector<Shape> indices, bool accumulate) {
    std::vector<std::optional<Type>> operands{tensor_of(dtype, x), tensor_of(dtype, values)};
    OpSample sample;
    sample.fill.assign(
        2, dtype == DType::kBool ? OpSample::Fill::kBool : OpSample::Fill::kSmallIntegers);
    sample.index_limit = {0, 0};
    for (size_t k = 0; k < axes.size(); ++k) {
      operands.push_back(tensor_of(DType::kI64, indices[k]));
      sample.fill.push_back(OpSample::Fill::kIndices);
      sample.index_limit.push_back(x[static_cast<size_t>(axes[k])].value());
    }
    sample.why = std::move(why);
    sample.operands = std::move(operands);
    sample.attrs = {{"axes", std::move(axes)}, {"accumulate", accumulate}};
    sample.tolerance = 0;  // small integers add exactly
    list.push_back(std::move(sample));
  };
  const DimExpr batch = DimExpr::symbol("b");
  add("one row replaced", DType::kF32, {7, 5}, {1, 5}, {0}, {{1}}, false);
  add("one element replaced by a scalar", DType::kF32, {7, 5}, Shape{}, {0, 1}, {{1}, {1}}, false);
  add("equal values: duplicates cannot disagree", DType::kF32, {7, 5}, Shape{}, {0}, {{9}}, false);
  add("a cache slot in a middle axis, dynamic batch", DType::kF32, {batch, 12, 4}, {batch, 1, 4},
      {1}, {{1}}, false);
  add("accumulate with duplicates", DType::kF32, {3, 5}, {11, 5}, {0}, {{11}}, true);
  add("accumulate, values broadcast", DType::kF32, {6, 5}, {5}, {0}, {{4}}, true);
  add("axes apart, accumulate", DType::kF32, {4, 3, 5}, {7, 3}, {0, 2}, {{7}, {7}}, true);
  add("index tensors broadcast, accumulate", DType::kF32, {4, 5, 2}, {3, 4, 2}, {0, 1},
      {{3, 1}, {4}}, true);
  add("no elements", DType::kF32, {4, 5}, {0, 5}, {0}, {{0}}, false);
  add("dtype i64, accumulate", DType::kI64, {4, 3}, {9, 3}, {0}, {{9}}, true);
  add("dtype f64, accumulate", DType::kF64, {4, 3}, {9, 3}, {0}, {{9}}, true);
  add("dtype bf16", DType::kBF16, {6, 3}, {1, 3}, {0}, {{1}}, false);
  add("dtype bool", DType::kBool, {6, 3}, {1, 3}, {0}, {{1}}, false);
  return list;
}

}  // namespace

KILN_OP(index_put) {
  OpDef def;
  def.formula = "y = x; y[..., index0, ...] = values, or += with accumulate";
  def.traits = kUpdate;
  def.min_operands = 3;
  def.max_operands = -1;
  def.operand_names = {"x", "values", "index"};
  def.fields = {
      required_ints("axes",
                    "axis of x that each index tensor indexes, ascending; negative indices "
                    "count from the end"),
      bool_field("accumulate", false,
                 "add to what is there, duplicates one after another; otherwise, of duplicates, "
                 "the last in row-major order stays"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
