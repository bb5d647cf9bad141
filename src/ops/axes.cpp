#include "ops/axes.h"

#include <algorithm>

#include "ops/operand_checks.h"

namespace kiln {

Status check_axes(const OpContext& ctx, const std::vector<int64_t>& axes, int rank) {
  std::vector<bool> seen(static_cast<size_t>(rank), false);
  for (int64_t axis : axes) {
    if (axis < 0 || axis >= rank)
      return refuse(
          ctx, "K2205",
          "axis is out of range: " + std::to_string(axis) + " for rank " + std::to_string(rank));
    if (seen[static_cast<size_t>(axis)])
      return refuse(ctx, "K2205", "axis is repeated: " + std::to_string(axis));
    seen[static_cast<size_t>(axis)] = true;
  }
  return {};
}

Status check_shape(const OpContext& ctx, int i, const Shape& shape) {
  if (!ctx.has(i) || ctx.tensor(i).shape == shape) return {};
  return refuse(ctx, "K2204",
                "shape of " + operand_name(ctx, i) + " is " + shape_to_text(ctx.tensor(i).shape) +
                    ", needs " + shape_to_text(shape));
}

Shape reduced_shape(const Shape& shape, const std::vector<int64_t>& axes, bool keepdim) {
  Shape result;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end()) {
      result.push_back(shape[i]);
    } else if (keepdim) {
      result.push_back(DimExpr(1));
    }
  }
  return result;
}

std::string shape_to_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ",";
    text += dim_to_text(shape[i]);
  }
  return text + "]";
}

}  // namespace kiln
