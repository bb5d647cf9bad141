// Runs init plans: constants from weights.
#pragma once

#include <memory>
#include <vector>

#include "runtime/engine.h"
#include "runtime/plan.h"

namespace kiln {

// For an update: constants that depend on no changed weight are taken over from the old ones.
struct ConstantUpdate {
  const ConstantSet* old = nullptr;            // null: everything is computed
  const std::vector<bool>* changed = nullptr;  // parallel to the weights
};

// Checks the sizes of the weights (K3106) and computes the constants, equal ones of the process
// shared (constant_pool.h). The steps of one stage run at the same time.
Result<std::shared_ptr<const ConstantSet>> compute_constants(
    const EnginePlan& plan, const EngineOptions& options, const std::vector<WeightBytes>& weights,
    const ConstantUpdate& update = {});

}  // namespace kiln
