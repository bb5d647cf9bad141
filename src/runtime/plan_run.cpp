#include "runtime/plan_run.h"

#include <chrono>

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

Status run_plan(const ShapePlan& shape, RunBuffers& buffers, std::vector<double>* step_seconds) {
  using Clock = std::chrono::steady_clock;
  RunArgs args;
  args.inputs = buffers.inputs.data();
  args.outputs = buffers.outputs.data();
  args.scratch = buffers.scratch;
  args.input_objects = buffers.input_objects.data();
  args.output_objects = buffers.output_objects.data();
  void* const* bases = buffers.bases.data();
  for (size_t k = 0; k < shape.steps.size(); ++k) {
    const ShapePlan::RunStep& step = shape.steps[k];
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
    const auto begin = step_seconds != nullptr ? Clock::now() : Clock::time_point();
    KILN_RETURN_IF_ERROR(step.step->run(args));
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

Status run_plan_once(const ShapePlan& shape, const Plan& plan, std::vector<void*> bases,
                     void* block) {
  RunBuffers buffers;
  buffers.resize(plan.slots.size(), shape.max_views);
  buffers.bases = std::move(bases);
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    if (shape.temp_offset[i] >= 0) buffers.bases[i] = static_cast<char*>(block) + shape.temp_offset[i];
  }
  buffers.scratch = static_cast<char*>(block) + (shape.arena_bytes + 63) / 64 * 64;
  return run_plan(shape, buffers);
}

}  // namespace kiln
