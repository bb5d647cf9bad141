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

// For the init plan: `block` holds the arena and the scratch, in this order.
Status run_plan_once(const ShapePlan& shape, const Plan& plan, std::vector<void*> bases,
                     void* block);

}  // namespace kiln
