// Operators that write arguments without saying so in their schemas.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "core/call_arg.h"
#include "ir/type.h"

namespace kiln {

// In training, batch_norm updates its running statistics. Such a call becomes one of the operator
// whose schema says so: `results` gets the types of that one's further results, and the new schema
// is returned ("" where nothing is hidden). K1304 for instance_norm, which has no such twin.
Result<std::string> expose_hidden_writes(Call& call, std::vector<Type>& results);

}  // namespace kiln
