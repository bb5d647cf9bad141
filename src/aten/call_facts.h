// What the name and the arguments of a call say about what it does to memory.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "core/call_arg.h"

namespace kiln {

// The rule's name for what an in-place operator computes.
std::string functional_twin(const Call& call);
// K1304 for in-place operators that write no elements but change which ones a tensor sees; their
// schemas say that they write.
Status check_in_place(const Call& call);
// The operands of one argument: of a tensor, or of a list.
std::vector<int> operands_of(const CallArg& arg);
bool is_training_dropout(const Call& call);
bool is_random(const Call& call);

}  // namespace kiln
