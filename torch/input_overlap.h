// Do arguments share memory? A program reads its inputs as they are when it starts, so one that
// writes an input must not be given another input over the same memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "base/status.h"
#include "runtime/plan.h"

namespace kiln {

// Whether some element of `a` lies in memory of an element of `b`. Tensors of very many separate
// pieces are taken to share when their ranges do.
bool share_elements(const at::Tensor& a, const at::Tensor& b);

// K4125 when an input that the plan writes shares memory with another one. Undefined tensors stand
// for inputs that are no tensors.
Status check_written_inputs(const EnginePlan& plan, const std::vector<at::Tensor>& inputs);

}  // namespace kiln
