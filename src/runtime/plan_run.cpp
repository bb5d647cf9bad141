#include "runtime/plan_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>

#include "base/parallel_for.h"
#include "runtime/host.h"

namespace kiln {

void RunBuffers::resize(size_t slots, size_t max_views) {
  bases.assign(slots, nullptr);
  objects.resize(slots);  // objects of the caller may be there already
  inputs.assign(max_views, nullptr);
  outputs.assign(max_views, nullptr);
  input_objects.assign(max_views, nullptr);
  output_objects.assign(max_views, nullptr);
}

namespace {

// Sets the addresses of one step's views and runs it.
Status run_step(const ShapePlan::RunStep& step, RunBuffers& buffers) {
  RunArgs args;
  args.inputs = buffers.inputs.data();
  args.outputs = buffers.outputs.data();
  args.scratch = buffers.scratch;
  args.input_objects = buffers.input_objects.data();
  args.output_objects = buffers.output_objects.data();
  void* const* bases = buffers.bases.data();
  auto address = [&](const ShapePlan::Address& a) -> void* {
    void* base = bases[a.slot];
    return base == nullptr ? nullptr : static_cast<char*>(base) + a.byte_offset;
  };
  for (size_t i = 0; i < step.inputs.size(); ++i) buffers.inputs[i] = address(step.inputs[i]);
  for (size_t i = 0; i < step.outputs.size(); ++i) buffers.outputs[i] = address(step.outputs[i]);
  if (step.host) {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      buffers.input_objects[i] = &buffers.objects[static_cast<size_t>(step.inputs[i].slot)];
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      buffers.output_objects[i] = &buffers.objects[static_cast<size_t>(step.outputs[i].slot)];
    }
  }
  return step.step->run(args);
}

}  // namespace

Status run_plan(const ShapePlan& shape, RunBuffers& buffers, std::vector<double>* step_seconds) {
  using Clock = std::chrono::steady_clock;
  for (size_t k = 0; k < shape.steps.size(); ++k) {
    const ShapePlan::RunStep& step = shape.steps[k];
    const auto begin = step_seconds != nullptr ? Clock::now() : Clock::time_point();
    KILN_RETURN_IF_ERROR(run_step(step, buffers));
    if (step_seconds != nullptr) {
      (*step_seconds)[k] = std::chrono::duration<double>(Clock::now() - begin).count();
    }
    if (step.host) {
      for (const ShapePlan::Address& output : step.outputs) {
        const auto slot = static_cast<size_t>(output.slot);
        if (buffers.objects[slot]) buffers.bases[slot] = buffers.objects[slot]->view.data;
      }
    }
    for (int slot : step.released) buffers.objects[static_cast<size_t>(slot)].reset();
  }
  return {};
}

std::vector<int> plan_stages(const Plan& plan) {
  std::vector<int> stages;
  std::vector<int> ready(plan.slots.size(), 0);  // first stage that sees the slot written
  for (const StepDesc& step : plan.steps) {
    int stage = 0;
    for (const PlanView& view : step.inputs) {
      stage = std::max(stage, ready[static_cast<size_t>(view.slot)]);
    }
    // Writers of parts of one slot may run together; a plan never writes what it has read.
    for (const PlanView& view : step.outputs) {
      int& slot = ready[static_cast<size_t>(view.slot)];
      slot = std::max(slot, stage + 1);
    }
    stages.push_back(stage);
  }
  return stages;
}

namespace {
size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }
}  // namespace

size_t staged_block_bytes(const ShapePlan& shape, int threads) {
  return rounded(static_cast<size_t>(shape.arena_bytes)) +
         static_cast<size_t>(threads) * rounded(shape.scratch_bytes) + 64;
}

Status run_plan_staged(const ShapePlan& shape, const Plan& plan, const std::vector<int>& stages,
                       const std::vector<bool>& wanted, const std::vector<void*>& bases,
                       void* block, int threads) {
  auto* arena = static_cast<char*>(block);
  char* scratch = arena + rounded(static_cast<size_t>(shape.arena_bytes));
  std::vector<RunBuffers> buffers(static_cast<size_t>(threads));
  for (size_t t = 0; t < buffers.size(); ++t) {
    buffers[t].resize(plan.slots.size(), shape.max_views);
    buffers[t].bases = bases;
    for (size_t i = 0; i < plan.slots.size(); ++i) {
      if (shape.temp_offset[i] >= 0) buffers[t].bases[i] = arena + shape.temp_offset[i];
    }
    buffers[t].scratch = scratch + t * rounded(shape.scratch_bytes);
  }
  std::map<int, std::vector<size_t>> by_stage;
  for (size_t k = 0; k < shape.steps.size(); ++k) {
    const auto index = static_cast<size_t>(shape.steps[k].index);
    if (wanted[index]) by_stage[stages[index]].push_back(k);
  }
  std::mutex mutex;
  Status first_error;
  for (const auto& [stage, steps] : by_stage) {
    std::atomic<size_t> next{0};
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        RunBuffers& mine = buffers[static_cast<size_t>(t)];
        for (size_t i = next++; i < steps.size(); i = next++) {
          Status status = run_step(shape.steps[steps[i]], mine);
          if (status.ok()) continue;
          std::lock_guard lock(mutex);
          if (first_error.ok()) first_error = std::move(status);
        }
      }
    });
    if (!first_error.ok()) return first_error;
  }
  return {};
}

}  // namespace kiln
