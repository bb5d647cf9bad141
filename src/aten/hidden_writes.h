// Operators that write arguments without saying so in their schemas.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "core/call_arg.h"
#include "ir/type.h"

namespace kiln {

// In training, normalisations update their running statistics. The schema that says so is returned,
// "" where nothing is hidden. A batch_norm becomes a call of the operator with that schema, and
// `results` gets the types of that one's further results; of instance_norm, which has no such twin,
// the host returns what it writes as for any other operator (core/hidden_writes.h).
Result<std::string> expose_hidden_writes(Call& call, std::vector<Type>& results);

}  // namespace kiln
