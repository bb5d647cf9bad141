// pad: grows (or, with constants, crops) axes at both ends.
#include <algorithm>

#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

bool negative(const DimExpr& dim) { return dim.is_constant() && dim.value() < 0; }

// Whether a source axis of `size` can give `amount` elements at one end under the mode.
bool enough(const std::string& mode, int64_t amount, int64_t size) {
  if (mode == "constant" || amount == 0) return true;
  if (amount < 0) return false;
  if (mode == "reflect") return amount < size;
  if (mode == "circular") return amount <= size;
  return size > 0;
}

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  const TensorType& x = ctx.tensor(0);
  const std::vector<DimExpr>&low = ctx.get_dims("low"), &high = ctx.get_dims("high");
  const std::string& mode = ctx.get_string("mode");
  if (low.size() != x.shape.size() || high.size() != x.shape.size())
    return refuse(ctx, "K2205",
                  "low and high need one entry per axis: " + std::to_string(low.size()) + " and " +
                      std::to_string(high.size()) + " for rank " + std::to_string(x.rank()));
  if (mode != "constant" && mode != "reflect" && mode != "replicate" && mode != "circular")
    return refuse(ctx, "K2205", "unknown mode: " + mode);
  Shape shape;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    for (const DimExpr& amount : {low[i], high[i]}) {
      if (amount.is_constant() && x.shape[i].is_constant() &&
          !enough(mode, amount.value(), x.shape[i].value()))
        return refuse(ctx, "K2205",
                      "axis is too small for mode " + mode + ": " + amount.to_string() +
                          " beyond " + x.shape[i].to_string());
      if (mode != "constant" && negative(amount))
        return refuse(ctx, "K2205", "negative padding needs mode constant: " + amount.to_string());
    }
    shape.push_back(x.shape[i] + low[i] + high[i]);
    if (negative(shape.back()))
      return refuse(ctx, "K2205", "axis is cropped below nothing: " + shape_to_text(x.shape));
  }
  return std::vector<Type>{tensor_like(ctx, 0, x.dtype, std::move(shape))};
}

// The source index of position i (already shifted by low), or -1 for the constant.
int64_t source_index(const std::string& mode, int64_t i, int64_t size) {
  if (i >= 0 && i < size) return i;
  if (mode == "constant") return -1;
  if (mode == "replicate") return i < 0 ? 0 : size - 1;
  if (mode == "reflect") return i < 0 ? -i : 2 * (size - 1) - i;
  return i < 0 ? i + size : i - size;  // circular
}

Status reference(const ReferenceContext& ctx) {
  const HostTensor& x = ctx.in(0);
  HostTensor& out = ctx.out();
  const std::string& mode = ctx.node->get_string("mode");
  const double value = ctx.node->get_float("value");
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> low, ctx.dims("low"));
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> high, ctx.dims("high"));
  for (size_t axis = 0; axis < low.size(); ++axis) {
    if (!enough(mode, low[axis], x.shape()[axis]) || !enough(mode, high[axis], x.shape()[axis]))
      return Status::error("K4201", "pad: axis is too small for mode " + mode + ": " +
                                        std::to_string(x.shape()[axis]));
  }
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  for (IndexWalk at(out.shape()); !at.done(); at.next()) {
    int64_t from = 0;
    for (size_t axis = 0; axis < low.size() && from >= 0; ++axis) {
      const int64_t i = source_index(mode, at[static_cast<int>(axis)] - low[axis], x.shape()[axis]);
      from = i < 0 ? -1 : from + i * strides[axis];
    }
    if (from >= 0) {
      copy_element(x, from, out, at.flat());
    } else {
      out.set_double(at.flat(), value);
    }
  }
  return {};
}

// Torch lists the pairs from the last axis backwards. Beside mode constant it takes the last one to
// three axes of a tensor with one or two more.
Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const std::vector<DimExpr>&low = node.get_dims("low"), &high = node.get_dims("high");
  const std::string& mode = node.get_string("mode");
  const auto rank = static_cast<int64_t>(low.size());
  int64_t first = 0;  // first padded axis
  while (first < rank && low[static_cast<size_t>(first)].is_value(0) &&
         high[static_cast<size_t>(first)].is_value(0))
    ++first;
  int64_t pairs = rank - first;
  if (mode != "constant") {
    pairs = std::max({pairs, rank - 2, int64_t{1}});
    if (pairs > 3 || pairs > rank - 1)
      return no_aten_form(node, "torch pads the last one to three axes in mode " + mode);
  }
  std::vector<DimExpr> amounts;
  for (int64_t i = 0; i < pairs; ++i) {
    amounts.push_back(low[static_cast<size_t>(rank - 1 - i)]);
    amounts.push_back(high[static_cast<size_t>(rank - 1 - i)]);
  }
  if (mode == "constant")
    return aten.call("aten::constant_pad_nd", "",
                     {node.operand(0), dims_arg(amounts),
                      scalar_arg(node.operand(0)->dtype(), node.get_float("value"))},
                     {node.result()->type});
  return aten.call("aten::pad", "", {node.operand(0), dims_arg(amounts), mode, none_arg()},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, std::vector<DimExpr> low,
                       std::vector<DimExpr> high, std::string mode, double value) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"low", std::move(low)},
                                   {"high", std::move(high)},
                                   {"mode", std::move(mode)},
                                   {"value", value}}));
    samples.back().tolerance = 0;
  };
  const DimExpr s0 = DimExpr::symbol("s0");
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kI8, DType::kI64, DType::kBool})
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 5}, {0, 2}, {0, 1}, "constant",
        1);
  add("image border", DType::kF32, {2, 3, 5, 7}, {0, 0, 1, 2}, {0, 0, 3, 0}, "constant", 0);
  add("minus infinity before a max pool", DType::kF32, {1, 2, 5, 5}, {0, 0, 1, 1}, {0, 0, 1, 1},
      "constant", -1e30);
  add("every axis", DType::kF32, {2, 3}, {1, 2}, {3, 1}, "constant", -0.5);
  add("crop and grow", DType::kF32, {5, 6}, {-1, 2}, {1, -3}, "constant", 2);
  add("rank 0", DType::kF32, {}, {}, {}, "constant", 0);
  add("from no elements", DType::kF32, {0, 3}, {1, 0}, {1, 0}, "constant", 7);
  add("symbolic size and amount", DType::kF32, {s0, 3}, {0, s0}, {DimExpr(8) - s0, 1}, "constant",
      0);
  add("largest reflection", DType::kF32, {2, 3, 4}, {0, 0, 3}, {0, 0, 3}, "reflect", 0);
  add("reflect two axes", DType::kF32, {1, 2, 5, 7}, {0, 0, 2, 1}, {0, 0, 1, 3}, "reflect", 0);
  add("replicate beyond the size", DType::kF32, {1, 2, 3, 2}, {0, 0, 5, 0}, {0, 0, 1, 4},
      "replicate", 0);
  add("whole turn", DType::kF32, {1, 2, 4}, {0, 0, 4}, {0, 0, 3}, "circular", 0);
  add("circular in three axes", DType::kF32, {1, 1, 3, 4, 5}, {0, 0, 1, 2, 0}, {0, 0, 2, 1, 5},
      "circular", 0);
  return samples;
}

}  // namespace

KILN_OP(pad) {
  OpDef def;
  def.formula =
      "y[i] = x[source(i - low)], by mode: constant value, reflected about the edge "
      "element, edge repeated, or wrapped around";
  def.traits = kCheap;
  def.operand_names = {"x"};
  def.fields = {required_dims("low", "elements added before index 0, per axis; negative crops"),
                required_dims("high", "elements added after the end, per axis; negative crops"),
                string_field("mode", "constant", "constant, reflect, replicate or circular"),
                float_field("value", 0, "the constant, rounded to the dtype")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln
