// Runs the steps of a bound plan.
#pragma once

#include <memory>
#include <vector>

#include "runtime/shape_plan.h"
#include "runtime/step.h"

namespace kiln {

struct HostObject;

// Memory that run_plan needs and that is kept between runs, so that running allocates nothing.
struct RunBuffers {
  std::vector<void*> bases;                          // per slot
  std::vector<std::shared_ptr<HostObject>> objects;  // per slot
  std::vector<void*> inputs, outputs;                // ShapePlan::max_views each
  std::vector<std::shared_ptr<HostObject>*> input_objects, output_objects;
  void* scratch = nullptr;
  void* stream = nullptr;  // of the device (device_runtime.h)

  void resize(size_t slots, size_t max_views);
};

// The addresses of one step's views, in the buffers' own tables: good until the next call.
RunArgs place_step(const ShapePlan::RunStep& step, RunBuffers& buffers);
// Takes in the results of step k when a host gave them, and releases what it used last.
void finish_step(const ShapePlan::RunStep& step, RunBuffers& buffers);

// `bases` has the address of every input, output and constant slot; temp slots must be set too.
// `step_seconds`, when given, receives the duration of each step of `shape.steps`; `device` is
// waited for then.
Status run_plan(const ShapePlan& shape, RunBuffers& buffers,
                std::vector<double>* step_seconds = nullptr, DeviceRuntime* device = nullptr);

// The steps of a plan without host steps in chains that have nothing in common but what they read:
// a number per step. Chains run in any order, or at the same time.
std::vector<int> plan_chains(const Plan& plan);

// For init plans: runs chains side by side, each on one thread, its steps one after the other, so
// that what one step writes is still in the caches when the next one reads it, and one fork and
// join is enough. A chain that is more than a thread's share runs by itself on all threads.
//
// `chains`: steps of each, by position in `shape.steps`, bound for `threads` threads and with the
// numbers of plan_chains() given to ShapePlan::make. `block` holds, for each thread, the arena and
// the scratch, each rounded up to 64 bytes.
size_t chains_block_bytes(const ShapePlan& shape, int threads);
Status run_chains(const ShapePlan& shape, const std::vector<std::vector<size_t>>& chains,
                  const std::vector<void*>& bases, void* block, int threads);

}  // namespace kiln
