// topk: the k largest or smallest elements of one axis, and where they stand.
#include <algorithm>
#include <numeric>

#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/element_order.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 1, -1));
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kNumeric));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(c, "axis", c.tensor(0).rank(), &axis));
  const TensorType& x = c.tensor(0);
  const DimExpr& k = c.get_dim("k");
  if (!provably_le(0, k)) return refuse(c, "K2205", "k may be negative: " + k.to_string());
  Shape shape = x.shape;
  KILN_RETURN_IF_ERROR(check_le_dims(c, "k and the axis", k, shape[static_cast<size_t>(axis)]));
  shape[static_cast<size_t>(axis)] = k;
  return std::vector<Type>{tensor_like(c, 0, x.dtype, shape),
                           tensor_like(c, 0, DType::kI64, shape)};
}

// Of equal elements the first is taken, and the result is in order even when it need not be.
Status reference(const ReferenceContext& c) {
  const HostTensor& x = c.in(0);
  const auto axis = static_cast<int>(c.node->get_int("axis"));
  const AxisSplit split = split_at(x.shape(), axis);
  const int64_t k = c.out(0).size(axis);
  const bool largest = c.node->get_bool("largest");
  std::vector<int64_t> order(static_cast<size_t>(split.extent));
  for (int64_t line = 0; line < split.outer * split.inner; ++line) {
    const int64_t outer = line / split.inner;
    const int64_t inner = line % split.inner;
    const int64_t base = outer * split.extent * split.inner + inner;
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return stands_before(x, base + i * split.inner, base + j * split.inner, largest);
    });
    for (int64_t i = 0; i < k; ++i) {
      const int64_t from = order[static_cast<size_t>(i)];
      const int64_t to = (outer * k + i) * split.inner + inner;
      copy_element(x, base + from * split.inner, c.out(0), to);
      c.out(1).set_int(to, from);
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call("aten::topk", "",
                   {node.operand(0), node.get_dim("k"), node.get_int("axis"),
                    node.get_bool("largest"), node.get_bool("sorted")},
                   {node.result(0)->type, node.result(1)->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> list;
  // Normal values hardly ever tie, so that the indices are determined.
  auto add = [&list](std::string why, DType dtype, Shape x, DimExpr k, int64_t axis, bool largest) {
    list.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(x))},
                               {{"k", std::move(k)}, {"axis", axis}, {"largest", largest}}));
    list.back().tolerance = 0;
  };
  add("best classes", DType::kF32, {3, 100}, 5, 1, true);
  add("router of a mixture of experts", DType::kF32, {13, 8}, 2, 1, true);
  add("smallest along the first axis", DType::kF32, {17, 3}, 4, 0, false);
  add("all of them", DType::kF32, {2, 9}, 9, 1, true);
  add("none of them", DType::kF32, {2, 9}, 0, 1, true);
  add("a middle axis", DType::kF32, {2, 7, 3}, 3, 1, true);
  add("a vector", DType::kF32, {31}, 1, 0, true);
  add("dynamic batch", DType::kF32, {DimExpr::symbol("b"), 11}, 3, 1, true);
  add("dtype f64", DType::kF64, {4, 19}, 3, 1, true);
  return list;
}

}  // namespace

KILN_OP(topk) {
  OpDef def;
  def.formula = "values = the k largest (smallest) elements of x along axis; indices: places, i64";
  def.operand_names = {"x"};
  def.fields = {
      required_dim("k", "how many; at most the size of the axis"),
      required_int("axis", "axis that is searched"),
      bool_field("largest", true, "largest rather than smallest; NaN counts as the largest"),
      bool_field("sorted", true, "in order; otherwise the order is left open"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
