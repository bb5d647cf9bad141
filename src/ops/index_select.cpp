// index_select: slices of one axis, in the order of an index vector.
#include "ops/fields.h"
#include "ops/index_value.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 1, -1));
  KILN_RETURN_IF_ERROR(check_rank(c, 1, 1, 1));
  KILN_RETURN_IF_ERROR(check_index_dtype(c, 1));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(c, "axis", c.tensor(0).rank(), &axis));
  Shape shape = c.tensor(0).shape;
  shape[static_cast<size_t>(axis)] = c.tensor(1).shape[0];
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const AxisSplit x = split_at(c.in(0).shape(), static_cast<int>(c.node->get_int("axis")));
  const int64_t count = c.in(1).num_elements();
  for (int64_t i = 0; i < count; ++i) {
    KILN_ASSIGN_OR_RETURN(const int64_t from,
                          checked_index("index_select", c.in(1).get_int(i), x.extent));
    for (int64_t o = 0; o < x.outer; ++o) {
      for (int64_t n = 0; n < x.inner; ++n) {
        copy_element(c.in(0), (o * x.extent + from) * x.inner + n, c.out(),
                     (o * count + i) * x.inner + n);
      }
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call("aten::index_select", "",
                   {node.operand(0), node.get_int("axis"), node.operand(1)}, {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape x, int64_t axis, DimExpr count,
                     DType index_dtype = DType::kI64) {
    OpSample sample =
        make_sample(std::move(why), {tensor_of(dtype, x), tensor_of(index_dtype, {count})},
                    {{"axis", axis}}, {OpSample::Fill::kNormal, OpSample::Fill::kIndices});
    if (!is_float(dtype)) sample.fill[0] = OpSample::Fill::kSmallIntegers;
    sample.index_limit = {0, x[static_cast<size_t>(axis)].value()};
    sample.tolerance = 0;
    list.push_back(std::move(sample));
  };
  add("rows, with repeats", DType::kF32, {5, 7}, 0, 9);
  add("columns: strided reads", DType::kF32, {5, 7}, 1, 4);
  add("a middle axis", DType::kF32, {2, 6, 5}, 1, 3);
  add("a vector", DType::kF32, {11}, 0, 6);
  add("nothing", DType::kF32, {5, 7}, 0, 0);
  add("i32 indices", DType::kF32, {5, 7}, 0, 3, DType::kI32);
  add("dynamic batch and count", DType::kF32, {DimExpr::symbol("b"), 8, 3}, 1,
      DimExpr::symbol("s"));
  add("dtype f16", DType::kF16, {5, 7}, 1, 3);
  add("dtype i64", DType::kI64, {5, 7}, 0, 3);
  add("dtype u8", DType::kU8, {5, 7}, 0, 3);
  return list;
}

}  // namespace

KILN_OP(index_select) {
  OpDef def;
  def.formula = "y[..., i, ...] = x[..., index[i], ...]; an index outside [0, size) is an error";
  def.min_operands = 2;
  def.max_operands = 2;
  def.operand_names = {"x", "index"};
  def.fields = {required_int("axis", "axis of x that is selected from")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
