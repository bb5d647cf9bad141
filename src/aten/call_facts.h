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
// Why a call of a module at `path` is to stay in PyTorch: what of `ops` (full or base names) or
// `modules` (paths) names it. Empty where nothing does.
std::string why_kept_in_torch(const Call& call, const std::string& path,
                              const std::vector<std::string>& ops,
                              const std::vector<std::string>& modules);

}  // namespace kiln
