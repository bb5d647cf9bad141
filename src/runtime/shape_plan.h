// A plan bound to concrete shapes: evaluated sizes, bound steps, arena layout, pointer table.
// Immutable after make(); shared by all contexts that run these shapes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kiln/tensor.h>

#include "runtime/arena.h"
#include "runtime/plan.h"
#include "runtime/step.h"

namespace kiln {

struct ShapePlan {
  // Address of a view: slot base plus bytes.
  struct Address {
    int slot = 0;
    int64_t byte_offset = 0;
  };
  struct RunStep {
    std::unique_ptr<BoundStep> step;
    int index = 0;  // in Plan::steps
    std::vector<Address> inputs, outputs;
    bool host = false;          // takes and gives host objects
    std::vector<int> released;  // host slots whose last use this step is
  };

  SymbolValues symbols;
  int threads = 1;
  std::vector<int64_t> slot_bytes;   // per slot; 0 for packed and object slots
  std::vector<int64_t> temp_offset;  // per slot, -1 when not in the arena
  int64_t arena_bytes = 0;
  size_t scratch_bytes = 0;
  size_t max_views = 0;        // of any step
  std::vector<RunStep> steps;  // steps whose outputs are all empty are left out

  // `packed` gives the packed constant behind a slot or null. `chains`, when given, has a number
  // per step (plan_chains): each chain has the arena for itself.
  // K4xxx/K32xx errors name the step.
  static Result<std::unique_ptr<ShapePlan>> make(const Plan& plan,
                                                 const std::vector<std::unique_ptr<Step>>& steps,
                                                 SymbolValues symbols, int threads,
                                                 const std::vector<const ConstantData*>& packed,
                                                 const std::vector<int>* chains = nullptr);
};

// Where the scratch begins in a block that holds the arena first. Libraries of GPUs want their
// workspace at a multiple of 256 bytes, which blocks on a device are.
size_t scratch_offset(const ShapePlan& shape);

// Evaluates a view; K3110 when it leaves its slot or overflows.
Result<ConcreteView> concretize(const PlanView& view, const Plan& plan,
                                const std::vector<int64_t>& slot_elements,
                                const SymbolValues& symbols);

}  // namespace kiln
