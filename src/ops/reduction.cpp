#include "ops/reduction.h"

#include <algorithm>
#include <string>

#include "ops/axes.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {

std::vector<FieldDef> reduction_fields() {
  return {required_ints("axes", "axes that are reduced, each once; empty only for rank 0"),
          bool_field("keepdim", false, "reduced axes stay with size 1")};
}

Result<std::vector<Type>> infer_reduction(const OpContext& ctx, DTypeClass accepts, DType dtype) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, accepts));
  const TensorType& x = ctx.tensor(0);
  const std::vector<int64_t>& axes = ctx.get_ints("axes");
  KILN_RETURN_IF_ERROR(check_axes(ctx, axes, x.rank()));
  if (axes.empty() && x.rank() > 0) return refuse(ctx, "K2205", "axes must not be empty");
  return std::vector<Type>{
      tensor_like(ctx, 0, dtype, reduced_shape(x.shape, axes, ctx.get_bool("keepdim")))};
}

Status check_not_empty(const OpContext& ctx) {
  for (int64_t axis : ctx.get_ints("axes")) {
    if (ctx.tensor(0).shape[static_cast<size_t>(axis)].is_value(0))
      return refuse(ctx, "K2205", "no elements along axis " + std::to_string(axis));
  }
  return {};
}

std::vector<int64_t> reduction_strides(const std::vector<int64_t>& x,
                                       const std::vector<int64_t>& axes) {
  std::vector<int64_t> kept = x;
  for (int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  std::vector<int64_t> strides = row_major_strides(kept);
  for (int64_t axis : axes) strides[static_cast<size_t>(axis)] = 0;
  return strides;
}

std::vector<OpSample> reduction_samples(DTypeClass accepts, OpSample::Fill fill, bool exact,
                                        bool needs_elements, bool one_axis) {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, std::vector<int64_t> axes,
                       bool keepdim) {
    if (one_axis && axes.size() > 1) return;
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"axes", std::move(axes)}, {"keepdim", keepdim}}, {fill}));
    if (exact) samples.back().tolerance = 0;
  };
  const std::vector<DType> dtypes = dtypes_of(accepts);
  const DType first = dtypes.front();
  const DimExpr s0 = DimExpr::symbol("s0"), s1 = DimExpr::symbol("s1");
  for (DType dtype : dtypes)
    add("inner axis, " + std::string(dtype_name(dtype)), dtype, {3, 17}, {1}, false);
  // Two elements, so that some of a truth value's results are true and some are not.
  for (DType dtype : dtypes) {
    if (accepts != DTypeClass::kAny) continue;
    add("short rows, " + std::string(dtype_name(dtype)), dtype, {259, 2}, {1}, false);
    add("short columns, " + std::string(dtype_name(dtype)), dtype, {2, 259}, {0}, false);
  }
  add("outer axis", first, {17, 3}, {0}, false);
  add("middle axis, kept", first, {2, 7, 3}, {1}, true);
  add("global pooling", first, {2, 3, 5, 7}, {2, 3}, true);
  add("two apart, unsorted", first, {2, 7, 3}, {2, 0}, false);
  add("all axes", first, {3, 5}, {0, 1}, false);
  add("all axes, kept", first, {3, 5}, {0, 1}, true);
  add("long rows", first, {2, 1031}, {1}, false);
  add("one element per row", first, {5, 1}, {1}, false);
  if (!one_axis) add("rank 0", first, {}, {}, false);
  add("no rows", first, {0, 3}, {1}, false);
  if (!needs_elements) add("rows without elements", first, {3, 0}, {1}, false);
  add("symbolic rows", first, {s0, 6}, {1}, false);
  add("symbolic reduction", first, {s0, s1, 4}, {1}, false);
  return samples;
}

}  // namespace kiln
