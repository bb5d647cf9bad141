// Arguments that an operator writes although its schema does not say so.
#pragma once

#include <vector>

#include "core/call_arg.h"

namespace kiln {

// Indices of the arguments: the running statistics of a normalisation that updates them, empty for
// a call that writes no more than its schema says.
std::vector<size_t> hidden_writes(const Call& call);

}  // namespace kiln
