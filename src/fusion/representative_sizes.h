// Sizes for questions to libraries about programs whose sizes are not known.
#pragma once

#include <vector>

#include "base/status.h"
#include "core/dim.h"

namespace kiln {

// Values for the symbols of the shapes: batch (symbols of dim 0 alone) small, others of a usual
// image's size, such that no size is below 1. K2410 when there are none.
Result<SymbolValues> representative_symbols(const std::vector<Shape>& shapes);
// Constant dims below 1.
bool has_empty_dim(const Shape& shape);

}  // namespace kiln
