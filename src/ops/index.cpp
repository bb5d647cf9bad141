// index: advanced indexing, x[:, i, j].
#include "ops/advanced_index.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_ASSIGN_OR_RETURN(Shape shape, advanced_index_shape(c, 1));
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  std::vector<int64_t> shape;
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> positions,
                        advanced_index_positions(c, 1, &shape));
  for (size_t i = 0; i < positions.size(); ++i) {
    copy_element(c.in(0), positions[i], c.out(), static_cast<int64_t>(i));
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call("aten::index", "Tensor", {node.operand(0), advanced_index_list(node, 1)},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr length = DimExpr::symbol("s");
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape x, std::vector<int64_t> axes,
                     std::vector<Shape> indices, DType index_dtype = DType::kI64) {
    std::vector<std::optional<Type>> operands{tensor_of(dtype, x)};
    OpSample sample;
    sample.fill = {is_float(dtype) ? OpSample::Fill::kNormal
                                   : (dtype == DType::kBool ? OpSample::Fill::kBool
                                                            : OpSample::Fill::kSmallIntegers)};
    sample.index_limit = {0};
    for (size_t k = 0; k < axes.size(); ++k) {
      operands.push_back(tensor_of(index_dtype, indices[k]));
      sample.fill.push_back(OpSample::Fill::kIndices);
      sample.index_limit.push_back(x[static_cast<size_t>(axes[k])].value());
    }
    sample.why = std::move(why);
    sample.operands = std::move(operands);
    sample.attrs = {{"axes", std::move(axes)}};
    sample.tolerance = 0;
    list.push_back(std::move(sample));
  };
  add("rows by one vector", DType::kF32, {7, 5}, {0}, {{4}});
  add("rows by a matrix: rank grows", DType::kF32, {7, 5}, {0}, {{2, 3}});
  add("relative position bias: a middle axis", DType::kF32, {3, 7, 5}, {1}, {{2, 2}});
  add("neighbouring axes: the joint axes take their place", DType::kF32, {2, 5, 6, 3}, {1, 2},
      {{4}, {4}});
  add("axes apart: the joint axes go to the front", DType::kF32, {5, 2, 6, 3}, {0, 2}, {{4}, {4}});
  add("axes apart, not from the first", DType::kF32, {2, 5, 3, 6}, {1, 3}, {{2, 3}, {3}});
  add("index tensors broadcast against each other", DType::kF32, {5, 6, 3}, {0, 1}, {{4, 1}, {3}});
  add("an index without axes drops the axis", DType::kF32, {5, 6}, {1}, {Shape{}});
  add("one element of each row", DType::kF32, {4, 9}, {0, 1}, {{4}, {4}});
  add("no elements", DType::kF32, {5, 6}, {0}, {{0}});
  add("i32 indices", DType::kF32, {5, 6}, {1}, {{3}}, DType::kI32);
  add("dynamic batch and number of indices", DType::kF32, {batch, 12, 4}, {1}, {{length}});
  for (DType dtype : {DType::kF64, DType::kBF16, DType::kI64, DType::kU8, DType::kBool}) {
    add("dtype " + std::string(dtype_name(dtype)), dtype, {6, 5}, {0}, {{4}});
  }
  return list;
}

}  // namespace

KILN_OP(index) {
  OpDef def;
  def.formula = "y = x[..., index0, ...], index tensors on `axes`, NumPy's layout of the result";
  def.min_operands = 2;
  def.max_operands = -1;
  def.operand_names = {"x", "index"};
  def.fields = {required_ints("axes",
                              "axis of x that each index tensor indexes, ascending; "
                              "negative indices count from the end")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
