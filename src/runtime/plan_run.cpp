#include "runtime/plan_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>

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

// Have two views of a slot no element in common, as far as the expressions say? True for views with
// the same strides that take other intervals along some dim (parts of a concat) and for views
// whose elements lie one after the other.
bool lie_apart(const PlanView& a, const PlanView& b) {
  const DimExpr gap = b.offset - a.offset;
  if (!gap.is_constant()) return false;
  auto constants = [](const PlanView& view) {
    const auto constant = [](const DimExpr& dim) { return dim.is_constant(); };
    return std::all_of(view.dims.begin(), view.dims.end(), constant) &&
           std::all_of(view.strides.begin(), view.strides.end(), [&](const DimExpr& stride) {
             return constant(stride) && stride.value() >= 0;
           });
  };
  if (!constants(a) || !constants(b)) return false;
  auto reach = [](const PlanView& view) {  // distance of the last element
    int64_t total = 0;
    for (size_t i = 0; i < view.dims.size(); ++i) {
      int64_t part = 0;
      if (view.dims[i].value() < 1) return int64_t{-1};
      if (__builtin_mul_overflow(view.dims[i].value() - 1, view.strides[i].value(), &part) ||
          __builtin_add_overflow(total, part, &total)) {
        return std::numeric_limits<int64_t>::max();
      }
    }
    return total;
  };
  const int64_t distance = gap.value();
  if (distance >= 0 ? reach(a) < distance : reach(b) < -distance) return true;
  // Parts of one tensor that take other intervals along dim d: two elements at one address would
  // differ in their steps along d, which neither inner dims (too short) nor outer ones (too far
  // apart) can make up for.
  if (a.strides != b.strides) return false;
  for (size_t d = 0; d < a.strides.size(); ++d) {
    const int64_t stride = a.strides[d].value();
    if (stride == 0 || distance % stride != 0) continue;
    const int64_t steps = distance / stride;
    if (steps >= 0 ? a.dims[d].value() > steps : b.dims[d].value() > -steps) continue;
    const int64_t high = steps >= 0 ? steps + b.dims[d].value() : -steps + a.dims[d].value();
    int64_t span = 0, inner = 0, outer = 0;
    bool fits = !__builtin_mul_overflow(high, stride, &span);
    for (size_t e = 0; fits && e < a.strides.size(); ++e) {
      const int64_t longest = std::max(a.dims[e].value(), b.dims[e].value());
      if (e == d || longest == 1) continue;
      if (const int64_t other = a.strides[e].value(); other >= stride) {
        outer = std::gcd(outer, other);
      } else {
        int64_t part = 0;
        fits = !__builtin_mul_overflow(longest - 1, other, &part) &&
               !__builtin_add_overflow(inner, part, &inner);
      }
    }
    if (fits && inner < stride && (outer == 0 || outer >= span)) return true;
  }
  return false;
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
  struct Access {
    const PlanView* view;
    int stage;
    bool write;
  };
  // Comparing all pairs would take too long where a slot is used very often; the uses so far then
  // count as one that everything must wait for.
  constexpr size_t kMaxAccesses = 64;
  std::vector<std::vector<Access>> accesses(plan.slots.size());
  std::vector<int> wait(plan.slots.size(), 0);
  for (const StepDesc& step : plan.steps) {
    int stage = 0;
    auto look = [&](const PlanView& view, bool write) {
      stage = std::max(stage, wait[static_cast<size_t>(view.slot)]);
      for (const Access& other : accesses[static_cast<size_t>(view.slot)]) {
        if (other.stage < stage || !(write || other.write)) continue;
        // Parts of one slot that lie apart may be written at the same time.
        if (write && other.write && lie_apart(view, *other.view)) continue;
        stage = other.stage + 1;
      }
    };
    for (const PlanView& view : step.inputs) look(view, false);
    for (const PlanView& view : step.outputs) look(view, true);
    auto note = [&](const PlanView& view, bool write) {
      std::vector<Access>& known = accesses[static_cast<size_t>(view.slot)];
      known.push_back({&view, stage, write});
      if (known.size() < kMaxAccesses) return;
      for (const Access& access : known) {
        int& first = wait[static_cast<size_t>(view.slot)];
        first = std::max(first, access.stage + 1);
      }
      known.clear();
    };
    for (const PlanView& view : step.inputs) note(view, false);
    for (const PlanView& view : step.outputs) note(view, true);
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
