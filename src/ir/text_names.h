// Names that printer and parser of the text form agree on.
#pragma once

#include <string_view>

#include "ir/module.h"

namespace kiln {

// Whether an argument may print under its own name: an identifier that is not one of a0, c0, w0,
// ... or "_".
bool is_argument_name(std::string_view name);

std::string_view weight_kind_name(WeightKind kind);  // "parameter", "buffer", "constant"

}  // namespace kiln
