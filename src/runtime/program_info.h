// A plan as users see it.
#pragma once

#include <vector>

#include <kiln/program.h>

#include "runtime/plan.h"

namespace kiln {

struct ProgramInfo {
  std::vector<TensorInfo> inputs, outputs, state;  // Program::inputs() and so on
  std::vector<WeightInfo> weights;
};
ProgramInfo describe(const EnginePlan& plan);

}  // namespace kiln
