// Shapes of a program's results where sizes may be symbolic: what torch's tracers ask for.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include <kiln/status.h>

#include "runtime/plan.h"

namespace kiln {

// Tensors on the meta device for the results of `plan` that are fresh tensors, by position; the
// others stay undefined. `inputs` holds one tensor per input of the plan, undefined for numbers.
// Sizes and strides are the plan's expressions over the symbolic sizes of the inputs. What the plan
// demands of the inputs' sizes becomes a guard where it is not known to hold.
// K4101, K4102, K4104; K4121 for a result whose shape only running the program reveals.
Result<std::vector<at::Tensor>> meta_outputs(const EnginePlan& plan,
                                             const std::vector<at::Tensor>& inputs);

}  // namespace kiln
