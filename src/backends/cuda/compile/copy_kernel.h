// Copies as kernels, for the provider and for the copies that EngineLowering makes by itself.
#pragma once

#include "runtime/plan.h"

namespace kiln::cuda {

// What a copy between two views of one shape and dtype comes to: the views, walked as the kernel
// does, for inputs and outputs of a step "cuda.copy", and the kernel.
struct CopyLowering {
  PlanView from, to;
  KernelDesc kernel;
};
CopyLowering lower_copy(const PlanView& from, const PlanView& to, DType dtype,
                        const SymbolRanges& symbols);

// Every step "copy" of the plan becomes "cuda.copy" with a kernel of the plan.
void lower_copies(EnginePlan& plan);

}  // namespace kiln::cuda
