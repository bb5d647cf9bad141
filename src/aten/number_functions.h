// Python's functions of numbers, which graphs of torch.export use for sizes and values that only
// running the program reveals.
#pragma once

#include <vector>

#include "base/status.h"
#include "core/call_arg.h"
#include "ir/type.h"

namespace kiln {

class Value;

// Whether the call is one of "_operator::mul", "math::ceil", "torch::sym_max" and the like.
bool is_number_function(const Call& call);

// The operator of TorchScript that computes the same: "aten::mul.int". Its arguments are those of
// the call, numbers or operands among `operands`; `result` is what the graph says of the number.
// K1128: there is none, for these kinds of numbers.
Result<Call> number_operator(Call function, const std::vector<Value*>& operands,
                             const Type& result);

}  // namespace kiln
