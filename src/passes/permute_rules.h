// Rules about permutes that more than one pass has.
#pragma once

#include "passes/rewriter.h"

namespace kiln {

// f(permute(x), permute(y)) -> permute(f(x, y)), for elementwise f and permutes alike; operands
// that broadcast along all axes but one, and constants, are permuted back. A permute with other
// users stays where it is: it would be computed twice.
bool permute_below_elementwise(Rewriter& r);

}  // namespace kiln
