// Runs the steps of a bound plan.
#pragma once

#include <memory>
#include <vector>

#include "runtime/shape_plan.h"

namespace kiln {

struct HostObject;

// Memory that run_plan needs and that is kept between runs, so that running allocates nothing.
struct RunBuffers {
  std::vector<void*> bases;                           // per slot
  std::vector<std::shared_ptr<HostObject>> objects;   // per slot
  std::vector<void*> inputs, outputs;                 // ShapePlan::max_views each
  std::vector<std::shared_ptr<HostObject>*> input_objects, output_objects;
  void* scratch = nullptr;

  void resize(size_t slots, size_t max_views);
};

// `bases` has the address of every input, output and constant slot; temp slots must be set too.
// `step_seconds`, when given, receives the duration of each step of `shape.steps`.
Status run_plan(const ShapePlan& shape, RunBuffers& buffers,
                std::vector<double>* step_seconds = nullptr);

// Stages of a plan without host steps: steps of one stage do not depend on each other.
std::vector<int> plan_stages(const Plan& plan);

// For init plans: runs the steps of a stage at the same time, each on one thread, because packing
// many weights side by side needs one fork and join where packing each in parallel needs many.
// Steps that are not `wanted` (by position in the plan) are left out. The steps must be bound for
// one thread, with `stages` given to ShapePlan::make. `block` holds the arena and then `threads`
// times the scratch, each rounded up to 64 bytes.
size_t staged_block_bytes(const ShapePlan& shape, int threads);
Status run_plan_staged(const ShapePlan& shape, const Plan& plan, const std::vector<int>& stages,
                       const std::vector<bool>& wanted, const std::vector<void*>& bases,
                       void* block, int threads);

}  // namespace kiln
