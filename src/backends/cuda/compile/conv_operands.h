// Operands of own kernels of convolutions.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/runtime/kernel_window.h"
#include "fusion/engine_lowering.h"
#include "ir/graph.h"
#include "ops/window.h"

namespace kiln::cuda {

KernelWindow kernel_window(const Window& window);

// Whether indices need 64 bits: for offsets into the views, or for positions of windows. `bias` may
// be null.
bool conv_is_wide(const Window& window, const PlanView& x, const PlanView& weight,
                  const PlanView* bias, const PlanView& y, const SymbolRanges& symbols);

// The weight: a constant in this memory order, where one is wished (not empty).
PlanView conv_weight(Value* weight, const std::vector<int>& order, EngineLowering& lowering);

}  // namespace kiln::cuda
