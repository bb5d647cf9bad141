// What the reductions over axes share: fields, shapes, sample shapes.
#pragma once

#include <vector>

#include "ops/dtype_class.h"

namespace kiln {

// `axes` (required) and `keepdim`.
std::vector<FieldDef> reduction_fields();

// Axes in range, not repeated, at least one unless x has rank 0; operand 0 of the class; the result
// has `dtype`.
Result<std::vector<Type>> infer_reduction(const OpContext& ctx, DTypeClass accepts, DType dtype);

// K2205 when a constant axis that is reduced has no elements.
Status check_not_empty(const OpContext& ctx);

// Element strides that send an index of x to the element of the result it belongs to (0 along the
// reduced axes).
std::vector<int64_t> reduction_strides(const std::vector<int64_t>& x,
                                       const std::vector<int64_t>& axes);

// Samples with `axes` and `keepdim` over odd shapes, rank 0, symbolic sizes, every dtype of the
// class, and no elements unless `needs_elements`. `one_axis`: never more than one.
std::vector<OpSample> reduction_samples(DTypeClass accepts, OpSample::Fill fill, bool exact,
                                        bool needs_elements, bool one_axis);

}  // namespace kiln
