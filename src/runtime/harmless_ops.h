// Operators that a file from a stranger may call without the user's leave.
#pragma once

#include "core/call_arg.h"

namespace kiln {

// Functional operators of ATen on tensors and numbers: no strings, no views with free strides, no
// resizing, no files, no unchecked indices.
bool is_harmless_op(const Call& call);

}  // namespace kiln
