// The one broadcasting rule: shapes are aligned at the last axis; two dims agree when they are
// equal or when one is the constant 1. Symbolic dims are equal only when their expressions are:
// a symbol never broadcasts against another symbol by luck of its run-time value.
#pragma once

#include <vector>

#include "ir/op_def.h"

namespace kiln {

// The joint shape; K2204 with the op's operand names when there is none.
Result<Shape> broadcast_shapes(const OpContext& ctx, const std::vector<int>& operands);
// Two shapes without an op; K2204.
Result<Shape> broadcast_shapes(const Shape& a, const Shape& b);
// True when `from` broadcasts to exactly `to`.
bool broadcasts_to(const Shape& from, const Shape& to);

// Element strides that read a contiguous tensor of shape `from` at indices of `to` (0 along the
// axes that repeat). Precondition: `from` broadcasts to `to`.
std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& from,
                                       const std::vector<int64_t>& to);

}  // namespace kiln
