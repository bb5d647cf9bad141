#include "ops/adaptive_window.h"

#include "ops/dtype_class.h"
#include "ops/operand_checks.h"

namespace kiln {

Result<Shape> adaptive_pool_shape(const OpContext& c) {
  const Shape& size = c.get_dims("output_size");
  const int rank = static_cast<int>(size.size());
  if (rank < 1 || rank > 3) {
    return refuse(c, "K2205", "output_size has not one to three axes: " + std::to_string(rank));
  }
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  KILN_RETURN_IF_ERROR(check_rank(c, 0, rank + 1, rank + 2));
  const Shape& x = c.tensor(0).shape;
  for (int axis = 0; axis < rank; ++axis) {
    const DimExpr& output = size[static_cast<size_t>(axis)];
    if (output.is_constant() && output.value() < 1) {
      return refuse(c, "K2205", "output_size is not positive: " + output.to_string());
    }
    if (x[x.size() - static_cast<size_t>(rank - axis)].is_value(0)) {
      return refuse(c, "K2204", "pooled axis is empty: " + std::to_string(axis));
    }
  }
  Shape shape(x.begin(), x.end() - rank);
  shape.insert(shape.end(), size.begin(), size.end());
  return shape;
}

}  // namespace kiln
