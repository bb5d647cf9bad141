// Arguments that a capture left out, from the defaults of the schema.
#pragma once

#include "aten/schema.h"
#include "core/call_arg.h"

namespace kiln {

// Appends what `args` lacks. K1124 too many or too few arguments, K1125 a default that is no
// literal.
Status fill_defaults(const Schema& schema, CallArg::List& args);

}  // namespace kiln
