// Shapes of a program's results where sizes may be symbolic: what torch's tracers ask for.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>

#include <vector>

#include <kiln/status.h>

#include "runtime/plan.h"

namespace kiln {

// An input of the plan: a tensor, or the integer that it is.
struct MetaInput {
  at::Tensor tensor;
  c10::SymInt number = 0;
};
using MetaInputs = std::vector<MetaInput>;

// Tensors on the meta device for the results of `plan` that are fresh tensors or numbers (rank 0),
// in their order. Undefined for a result that PyTorch alone understands.
// Sizes and strides are the plan's expressions over the symbolic sizes of the inputs. What the plan
// demands of the inputs' sizes becomes a guard where it is not known to hold; its conditions, which
// say nothing about the results, are left to the run.
// K4101, K4102, K4104.
Result<std::vector<at::Tensor>> meta_outputs(const EnginePlan& plan,
                                             const MetaInputs& inputs);

}  // namespace kiln
