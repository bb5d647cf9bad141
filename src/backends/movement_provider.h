// What the providers of data movement share: the ops, and what is refused.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/step_tactic.h"
#include "core/host_tensor.h"

namespace kiln {

struct MovementLowerings {
  LowerFunction reorder, flip, roll, pad, scan, sort, iota, constant;
};

// Refuses results in blocked or packed layouts, and constants that are too large for a plan.
std::unique_ptr<KernelProvider> make_movement_provider(std::string name,
                                                       const MovementLowerings& lowerings);

// The view read backwards along these axes.
PlanView flipped(PlanView view, const std::vector<int64_t>& axes);
// A literal as the text in which it travels in plans.
std::string hex_of(const HostTensor& value);

}  // namespace kiln
