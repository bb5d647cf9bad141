// sort: elements of one axis in order, and where they came from.
#include <algorithm>
#include <numeric>

#include "ops/aten_args.h"
#include "ops/element_order.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 1, -1));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(c, "axis", c.tensor(0).rank(), &axis));
  const TensorType& x = c.tensor(0);
  return std::vector<Type>{tensor_like(c, 0, x.dtype, x.shape),
                           tensor_like(c, 0, DType::kI64, x.shape)};
}

Status reference(const ReferenceContext& c) {
  const HostTensor& x = c.in(0);
  const AxisSplit split = split_at(x.shape(), static_cast<int>(c.node->get_int("axis")));
  const bool descending = c.node->get_bool("descending");
  std::vector<int64_t> order(static_cast<size_t>(split.extent));
  for (int64_t line = 0; line < split.outer * split.inner; ++line) {
    const int64_t base = line / split.inner * split.extent * split.inner + line % split.inner;
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return stands_before(x, base + i * split.inner, base + j * split.inner, descending);
    });
    for (int64_t i = 0; i < split.extent; ++i) {
      const int64_t from = order[static_cast<size_t>(i)];
      copy_element(x, base + from * split.inner, c.out(0), base + i * split.inner);
      c.out(1).set_int(base + i * split.inner, from);
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call(
      "aten::sort", "stable",
      {node.operand(0), node.get_bool("stable"), node.get_int("axis"), node.get_bool("descending")},
      {node.result(0)->type, node.result(1)->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape x, int64_t axis, bool descending,
                     OpSample::Fill fill = OpSample::Fill::kNormal) {
    list.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(x))},
                               {{"axis", axis}, {"descending", descending}, {"stable", true}},
                               {fill}));
    list.back().tolerance = 0;
  };
  add("ascending along the last axis", DType::kF32, {5, 17}, 1, false);
  add("descending along the first axis", DType::kF32, {9, 4}, 0, true);
  add("a middle axis", DType::kF32, {2, 7, 3}, 1, false);
  add("equal elements keep their places, ascending", DType::kF32, {3, 29}, 1, false,
      OpSample::Fill::kSmallIntegers);
  add("equal elements keep their places, descending", DType::kI64, {2, 701}, 1, true,
      OpSample::Fill::kSmallIntegers);
  add("nothing to sort", DType::kF32, {0, 4}, 0, false);
  add("dynamic batch", DType::kF32, {DimExpr::symbol("b"), 11}, 1, true);
  add("dtype bf16", DType::kBF16, {4, 603}, 1, false);
  add("dtype u8", DType::kU8, {4, 603}, 1, false, OpSample::Fill::kSmallIntegers);
  add("dtype bool", DType::kBool, {4, 603}, 1, false, OpSample::Fill::kBool);
  return list;
}

}  // namespace

KILN_OP(sort) {
  OpDef def;
  def.formula = "values[..., i, ...] = i-th smallest of x along axis; indices: its old place, i64";
  def.operand_names = {"x"};
  def.fields = {
      required_int("axis", "axis that is sorted"),
      bool_field("descending", false, "largest first; NaN counts as the largest either way"),
      bool_field("stable", false,
                 "equal elements must keep their order; otherwise theirs is left open"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
