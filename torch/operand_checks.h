// What PyTorch's operators do not check before they use memory or divide. A caller in Python cannot
// get them wrong easily; a file from a stranger can.
#pragma once

#include <ATen/core/operator_name.h>
#include <ATen/core/stack.h>

namespace kiln {

// Throws a c10::Error where the operator would read or write beyond its operands, or end the
// process.
using OperandCheck = void (*)(const torch::jit::Stack& arguments);

// Null for operators that check everything themselves.
OperandCheck operand_check(const c10::OperatorName& name);

}  // namespace kiln
