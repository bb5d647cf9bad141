#include "runtime/plan_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>

#include "base/parallel_for.h"
#include "runtime/device_runtime.h"
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

RunArgs place_step(const ShapePlan::RunStep& step, RunBuffers& buffers) {
  RunArgs args;
  args.inputs = buffers.inputs.data();
  args.outputs = buffers.outputs.data();
  args.scratch = buffers.scratch;
  args.stream = buffers.stream;
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
  return args;
}

void finish_step(const ShapePlan::RunStep& step, RunBuffers& buffers) {
  if (step.host) {
    for (const ShapePlan::Address& output : step.outputs) {
      const auto slot = static_cast<size_t>(output.slot);
      if (buffers.objects[slot]) buffers.bases[slot] = buffers.objects[slot]->view.data;
    }
  }
  for (int slot : step.released) buffers.objects[static_cast<size_t>(slot)].reset();
}

Status run_plan(const ShapePlan& shape, RunBuffers& buffers, std::vector<double>* step_seconds,
                DeviceRuntime* device) {
  using Clock = std::chrono::steady_clock;
  if (step_seconds == nullptr) device = nullptr;
  if (device != nullptr) KILN_RETURN_IF_ERROR(device->synchronize(buffers.stream));
  for (size_t k = 0; k < shape.steps.size(); ++k) {
    const ShapePlan::RunStep& step = shape.steps[k];
    const auto begin = step_seconds != nullptr ? Clock::now() : Clock::time_point();
    KILN_RETURN_IF_ERROR(step.step->run(place_step(step, buffers)));
    if (device != nullptr) KILN_RETURN_IF_ERROR(device->synchronize(buffers.stream));
    if (step_seconds != nullptr) {
      (*step_seconds)[k] = std::chrono::duration<double>(Clock::now() - begin).count();
    }
    finish_step(step, buffers);
  }
  return {};
}

std::vector<int> plan_chains(const Plan& plan) {
  // Steps that touch one slot belong together; a forest over steps.
  std::vector<int> parent(plan.steps.size());
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](int step) {
    while (parent[static_cast<size_t>(step)] != step) {
      int& up = parent[static_cast<size_t>(step)];
      step = up = parent[static_cast<size_t>(up)];
    }
    return step;
  };
  std::vector<int> user(plan.slots.size(), -1);
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const auto touch = [&](const PlanView& view) {
      const auto slot = static_cast<size_t>(view.slot);
      if (plan.slots[slot].kind == SlotKind::kInput) return;
      const int step = static_cast<int>(k);
      if (user[slot] >= 0) parent[static_cast<size_t>(root(user[slot]))] = root(step);
      user[slot] = step;
    };
    std::for_each(plan.steps[k].inputs.begin(), plan.steps[k].inputs.end(), touch);
    std::for_each(plan.steps[k].outputs.begin(), plan.steps[k].outputs.end(), touch);
  }
  std::vector<int> chains, number(plan.steps.size(), -1);
  int next = 0;
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    int& chain = number[static_cast<size_t>(root(static_cast<int>(k)))];
    if (chain < 0) chain = next++;
    chains.push_back(chain);
  }
  return chains;
}

namespace {
size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }
}  // namespace

size_t chains_block_bytes(const ShapePlan& shape, int threads) {
  return static_cast<size_t>(threads) *
             (rounded(static_cast<size_t>(shape.arena_bytes)) + rounded(shape.scratch_bytes)) +
         64;
}

Status run_chains(const ShapePlan& shape, const std::vector<std::vector<size_t>>& chains,
                  const std::vector<void*>& bases, void* block, int threads) {
  const size_t arena_bytes = rounded(static_cast<size_t>(shape.arena_bytes));
  std::vector<RunBuffers> buffers(static_cast<size_t>(threads));
  auto* memory = static_cast<char*>(block);
  for (RunBuffers& own : buffers) {
    own.resize(bases.size(), shape.max_views);
    own.bases = bases;
    for (size_t i = 0; i < bases.size(); ++i) {
      if (shape.temp_offset[i] >= 0) own.bases[i] = memory + shape.temp_offset[i];
    }
    own.scratch = memory + arena_bytes;
    memory += arena_bytes + rounded(shape.scratch_bytes);
  }
  // Largest first, so that the threads end together. What a chain takes is what it reads.
  struct Work {
    const std::vector<size_t>* steps;
    double bytes;
  };
  std::vector<Work> work;
  double total = 0;
  for (const std::vector<size_t>& chain : chains) {
    double bytes = 0;
    for (size_t k : chain) {
      for (const ShapePlan::Address& input : shape.steps[k].inputs) {
        bytes += static_cast<double>(shape.slot_bytes[static_cast<size_t>(input.slot)]);
      }
    }
    work.push_back({&chain, bytes});
    total += bytes;
  }
  std::stable_sort(work.begin(), work.end(),
                   [](const Work& a, const Work& b) { return a.bytes > b.bytes; });
  const auto run = [&](const Work& chain, RunBuffers& own) -> Status {
    for (size_t k : *chain.steps) {
      const ShapePlan::RunStep& step = shape.steps[k];
      KILN_RETURN_IF_ERROR(step.step->run(place_step(step, own)));
    }
    return {};
  };
  size_t first = 0;
  while (first < work.size() && work[first].bytes * threads > total) {
    KILN_RETURN_IF_ERROR(run(work[first], buffers[0]));
    total -= work[first++].bytes;
  }
  if (first == work.size()) return {};  // waking the threads would be all
  std::mutex mutex;
  Status first_error;
  std::atomic<size_t> next{first};
  parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (size_t i = next++; i < work.size(); i = next++) {
        Status status = run(work[i], buffers[static_cast<size_t>(t)]);
        if (status.ok()) continue;
        std::lock_guard lock(mutex);
        if (first_error.ok()) first_error = std::move(status);
      }
    }
  });
  return first_error;
}

}  // namespace kiln
