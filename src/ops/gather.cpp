// gather: one element of an axis for each element of an index tensor (torch.gather).
#include "ops/fields.h"
#include "ops/index_value.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  const TensorType& x = c.tensor(0);
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 1, -1));
  KILN_RETURN_IF_ERROR(check_rank(c, 1, x.rank(), x.rank()));
  KILN_RETURN_IF_ERROR(check_index_dtype(c, 1));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(c, "axis", x.rank(), &axis));
  const Shape& index = c.tensor(1).shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (i == axis) continue;
    KILN_RETURN_IF_ERROR(check_le_dims(c, "index and x along axis " + std::to_string(i),
                                       index[static_cast<size_t>(i)],
                                       x.shape[static_cast<size_t>(i)]));
  }
  return std::vector<Type>{tensor_like(c, 0, x.dtype, index)};
}

Status reference(const ReferenceContext& c) {
  const auto axis = static_cast<int>(c.node->get_int("axis"));
  const HostTensor& x = c.in(0);
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  for (IndexWalk at(c.in(1).shape()); !at.done(); at.next()) {
    KILN_ASSIGN_OR_RETURN(const int64_t picked,
                          checked_index("gather", c.in(1).get_int(at.flat()), x.size(axis)));
    int64_t from = picked * strides[static_cast<size_t>(axis)];
    for (int i = 0; i < x.rank(); ++i) {
      if (i != axis) from += at[i] * strides[static_cast<size_t>(i)];
    }
    copy_element(x, from, c.out(), at.flat());
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call("aten::gather", "",
                   {node.operand(0), node.get_int("axis"), node.operand(1), false},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape x, int64_t axis, Shape index,
                     DType index_dtype = DType::kI64) {
    OpSample sample =
        make_sample(std::move(why), {tensor_of(dtype, x), tensor_of(index_dtype, index)},
                    {{"axis", axis}}, {OpSample::Fill::kNormal, OpSample::Fill::kIndices});
    if (!is_float(dtype)) sample.fill[0] = OpSample::Fill::kSmallIntegers;
    sample.index_limit = {0, x[static_cast<size_t>(axis)].value()};
    sample.tolerance = 0;
    list.push_back(std::move(sample));
  };
  add("one class of each row", DType::kF32, {6, 9}, 1, {6, 1});
  add("along the first axis", DType::kF32, {6, 9}, 0, {4, 9});
  add("a middle axis, index smaller in the others", DType::kF32, {4, 6, 5}, 1, {2, 3, 5});
  add("index larger along the axis", DType::kF32, {3, 4}, 1, {3, 11});
  add("a vector", DType::kF32, {7}, 0, {3});
  add("no elements", DType::kF32, {5, 7}, 1, {0, 3});
  add("i32 indices", DType::kF32, {5, 7}, 1, {5, 2}, DType::kI32);
  add("relative positions of disentangled attention, dynamic batch", DType::kF32,
      {DimExpr::symbol("b"), 5, 9}, 2, {DimExpr::symbol("b"), 5, 5});
  add("dtype bf16", DType::kBF16, {5, 7}, 1, {5, 3});
  add("dtype i32", DType::kI32, {5, 7}, 1, {5, 3});
  return list;
}

}  // namespace

KILN_OP(gather) {
  OpDef def;
  def.formula = "y[..., i, ...] = x[..., index[..., i, ...], ...] along axis";
  def.min_operands = 2;
  def.max_operands = 2;
  def.operand_names = {"x", "index"};
  def.fields = {required_int(
      "axis",
      "axis of x that is indexed; an index outside [0, size) is an error. Along the other "
      "axes the index may be smaller than x")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
