// Strides of tensors whose sizes are symbolic, in elements.
#pragma once

#include <vector>

#include "core/dim.h"

namespace kiln {

using SymbolicStrides = std::vector<DimExpr>;

// Of a dense tensor stored in `order` (outermost first; empty: contiguous).
SymbolicStrides dense_strides(const Shape& dims, const std::vector<int>& order);
bool are_contiguous(const Shape& dims, const SymbolicStrides& strides);
// Those of a view with other dims over the same elements in the same logical order; false where
// strides cannot say it. After torch's computeStride.
bool reshape_strides(const Shape& dims, const SymbolicStrides& strides, const Shape& to,
                     SymbolicStrides* out);

}  // namespace kiln
