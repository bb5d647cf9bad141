// Axes and whole shapes in fields: range checks and the shapes that follow.
#pragma once

#include <string>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

// K2205 unless every axis is in [0, rank) and none is repeated. Importers normalise negative ones.
Status check_axes(const OpContext& ctx, const std::vector<int64_t>& axes, int rank);
// K2204 unless the shape of operand i, when present, is provably `shape`.
Status check_shape(const OpContext& ctx, int i, const Shape& shape);

// The shape after reducing `axes`; kept as 1 with `keepdim`.
Shape reduced_shape(const Shape& shape, const std::vector<int64_t>& axes, bool keepdim);

std::string shape_to_text(const Shape& shape);  // "[2,?s0]"

}  // namespace kiln
