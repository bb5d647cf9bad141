// In which memory format PyTorch's convolutions give their results.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/stack.h>

namespace kiln::torchscript {

// `result` of a call of an operator with `arguments` (tensors without data), in the format that
// the kernel on `device` would choose: torch's function for tensors without data says contiguous
// whatever it is given. Other operators' results come back as they are.
at::Tensor in_convolution_format(const c10::FunctionSchema& schema,
                                 const std::vector<c10::IValue>& arguments, c10::Device device,
                                 const at::Tensor& result);

}  // namespace kiln::torchscript
