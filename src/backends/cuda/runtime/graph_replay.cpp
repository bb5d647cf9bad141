#include "backends/cuda/runtime/graph_replay.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

// Is the memory of this slot the same at each run?
bool is_fixed(const Slot& slot) {
  return slot.kind == SlotKind::kTemp || slot.kind == SlotKind::kConstant;
}

// A stream to record on: the caller's may be the default one, which cannot be recorded.
class RecordingStream {
 public:
  explicit RecordingStream(const Driver& driver) : driver_(driver) {}
  ~RecordingStream() {
    if (stream_ != nullptr) driver_.StreamDestroy(stream_);
  }
  RecordingStream(const RecordingStream&) = delete;
  RecordingStream& operator=(const RecordingStream&) = delete;
  Status begin() {
    KILN_CUDA_RETURN_IF_ERROR(driver_, StreamCreate, &stream_, kStreamNonBlocking);
    KILN_CUDA_RETURN_IF_ERROR(driver_, StreamBeginCapture, stream_, kCaptureThreadLocal);
    return {};
  }
  CUstream get() const { return stream_; }

 private:
  const Driver& driver_;
  CUstream stream_ = nullptr;
};

CUdeviceptr address_of(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

}  // namespace

GraphReplay::GraphReplay(const Driver& driver, DeviceRuntime& device, const Plan& plan,
                         const ShapePlan& shape)
    : driver_(driver), device_(device), plan_(plan), shape_(shape) {
  staging_.resize(plan.slots.size());
  own_.assign(plan.slots.size(), nullptr);
  auto may_record = [](const ShapePlan::RunStep& step) {
    return !step.host && step.step->replay() != BoundStep::Replay::kNever;
  };
  auto launches_of = [](const ShapePlan::RunStep& step) -> size_t {
    const auto* own = dynamic_cast<const BoundLaunches*>(step.step.get());
    return own != nullptr ? own->launches().size() : 1;
  };
  for (size_t k = 0; k < shape.steps.size();) {
    Span span;
    span.first = k;
    const bool record = may_record(shape.steps[k]);
    size_t launches = 0;
    for (; k < shape.steps.size() && may_record(shape.steps[k]) == record; ++k) {
      span.last = k;
      launches += launches_of(shape.steps[k]);
      if (!record) {
        ++k;
        break;  // each for itself, with its own reason
      }
    }
    if (!record) {
      span.plain = shape.steps[span.first].host
                       ? "a call of the host: " + shape.steps[span.first].step->implementation()
                       : "cannot be recorded: " + shape.steps[span.first].step->implementation();
    } else if (launches < 2) {
      span.plain = "a single kernel";
    } else {
      find_slots(span);
    }
    report_.spans.push_back(
        {static_cast<int>(span.first), static_cast<int>(span.last), span.plain});
    spans_.push_back(std::move(span));
  }
}

GraphReplay::~GraphReplay() {
  ScopedDevice scope(device_);
  for (Span& span : spans_) drop(span);
  for (const Staging& staging : staging_) {
    if (staging.memory == nullptr || staging.stream == stream_) continue;
    // Its stream must not use it before the last run has; a failure means that the device is lost.
    static_cast<void>(device_.order(stream_, staging.stream).ok());
  }
}

void GraphReplay::drop(Span& span) {
  // The driver keeps what runs until it has run.
  if (span.exec != nullptr) driver_.GraphExecDestroy(span.exec);
  if (span.graph != nullptr) driver_.GraphDestroy(span.graph);
  span.exec = nullptr;
  span.graph = nullptr;
  span.patches.clear();
}

void GraphReplay::find_slots(Span& span) {
  std::vector<bool> written_before(plan_.slots.size(), false);
  for (size_t k = 0; k < span.first; ++k) {
    for (const auto& output : shape_.steps[k].outputs) {
      written_before[static_cast<size_t>(output.slot)] = true;
    }
  }
  std::vector<bool> seen(plan_.slots.size(), false);
  for (size_t k = span.first; k <= span.last; ++k) {
    const ShapePlan::RunStep& step = shape_.steps[k];
    const bool opaque = dynamic_cast<const BoundLaunches*>(step.step.get()) == nullptr ||
                        step.step->replay() != BoundStep::Replay::kOtherAddresses;
    auto note = [&](const ShapePlan::Address& address, bool written) {
      const auto slot = static_cast<size_t>(address.slot);
      if (is_fixed(plan_.slots[slot])) {
        if (!seen[slot]) span.fixed.push_back(address.slot);
        seen[slot] = true;
        return;
      }
      auto found = std::find_if(span.externals.begin(), span.externals.end(),
                                [&](const External& e) { return e.slot == address.slot; });
      if (found == span.externals.end()) {
        External external;
        external.slot = address.slot;
        external.copy_in = plan_.slots[slot].kind != SlotKind::kOutput || written_before[slot];
        found = span.externals.insert(span.externals.end(), external);
      }
      found->written = found->written || written;
      if (opaque && found->opaque.empty()) found->opaque = step.step->implementation();
    };
    for (const auto& input : step.inputs) note(input, false);
    for (const auto& output : step.outputs) note(output, true);
  }
}

Status GraphReplay::run_steps(const Span& span, RunBuffers& buffers) {
  for (size_t k = span.first; k <= span.last; ++k) {
    const ShapePlan::RunStep& step = shape_.steps[k];
    KILN_RETURN_IF_ERROR(step.step->run(place_step(step, buffers)));
    finish_step(step, buffers);
  }
  return {};
}

Status GraphReplay::run(RunBuffers& buffers) {
  // The first run tells apart what happens once from what happens often, and libraries and kernels
  // are loaded in it, which a recording cannot hold.
  stream_ = buffers.stream;
  const bool foreign = device_.is_recording(buffers.stream);
  if (foreign || !warm_) {
    warm_ = warm_ || !foreign;
    ++report_.plain_runs;
    return run_plan(shape_, buffers);
  }
  for (Span& span : spans_) {
    KILN_RETURN_IF_ERROR(span.plain.empty() ? replay(span, buffers) : run_steps(span, buffers));
  }
  return {};
}

// Marks slots that must be staged from now on.
bool GraphReplay::must_record(Span& span, const RunBuffers& buffers) {
  bool result = span.exec == nullptr || span.scratch_at != buffers.scratch;
  for (size_t i = 0; !result && i < span.fixed.size(); ++i) {
    result = span.fixed_at[i] != buffers.bases[static_cast<size_t>(span.fixed[i])];
  }
  if (span.exec == nullptr) return true;
  for (External& external : span.externals) {
    if (external.staged || external.opaque.empty() ||
        external.recorded == buffers.bases[static_cast<size_t>(external.slot)]) {
      continue;
    }
    external.staged = true;
    report_.staged.push_back({external.slot, external.opaque});
    result = true;
  }
  return result;
}

// Puts the addresses of staged slots into the buffers and copies what is read.
Status GraphReplay::stage(Span& span, RunBuffers& buffers) {
  for (External& external : span.externals) {
    if (!external.staged) continue;
    const auto slot = static_cast<size_t>(external.slot);
    const auto bytes = static_cast<size_t>(shape_.slot_bytes[slot]);
    Staging& staging = staging_[slot];
    if (staging.memory == nullptr) {
      staging = {device_.allocate(bytes, buffers.stream), buffers.stream};
      if (staging.memory == nullptr) {
        return Status::error("K4501", "out of memory for a copy of an input or output");
      }
    }
    own_[slot] = std::exchange(buffers.bases[slot], staging.memory.get());
    if (!external.copy_in || bytes == 0) continue;
    KILN_CUDA_RETURN_IF_ERROR(driver_, MemcpyAsync, address_of(staging.memory.get()),
                              address_of(own_[slot]), bytes, static_cast<CUstream>(buffers.stream));
  }
  return {};
}

Status GraphReplay::replay(Span& span, RunBuffers& buffers) {
  const bool again = must_record(span, buffers);
  KILN_RETURN_IF_ERROR(stage(span, buffers));
  if (again) {
    drop(span);
    Status recorded = record(span, buffers);
    if (!recorded.ok()) {
      drop(span);
      KILN_LOG(kRuntime, kWarning) << "a span of steps is not recorded: " << recorded.to_string();
      span.plain = recorded.message();
      for (size_t i = 0; i < spans_.size(); ++i) report_.spans[i].plain = spans_[i].plain;
    }
  } else if (Status patched = patch(span, buffers); !patched.ok()) {
    drop(span);  // some of its nodes have new addresses
    return patched;
  }
  if (span.exec != nullptr) {
    KILN_CUDA_RETURN_IF_ERROR(driver_, GraphLaunch, span.exec,
                              static_cast<CUstream>(buffers.stream));
    ++report_.replays;
    for (size_t k = span.first; k <= span.last; ++k) finish_step(shape_.steps[k], buffers);
  } else {
    KILN_RETURN_IF_ERROR(run_steps(span, buffers));
  }
  for (const External& external : span.externals) {
    if (!external.staged) continue;
    const auto slot = static_cast<size_t>(external.slot);
    const auto bytes = static_cast<size_t>(shape_.slot_bytes[slot]);
    buffers.bases[slot] = own_[slot];
    if (!external.written || bytes == 0) continue;
    KILN_CUDA_RETURN_IF_ERROR(driver_, MemcpyAsync, address_of(own_[slot]),
                              address_of(staging_[slot].memory.get()), bytes,
                              static_cast<CUstream>(buffers.stream));
  }
  return {};
}

Status GraphReplay::record_steps(Span& span, RunBuffers& buffers) {
  const auto stream = static_cast<CUstream>(buffers.stream);
  for (size_t k = span.first; k <= span.last; ++k) {
    const ShapePlan::RunStep& step = shape_.steps[k];
    const RunArgs args = place_step(step, buffers);
    auto* own = dynamic_cast<BoundLaunches*>(step.step.get());
    if (own == nullptr) {
      KILN_RETURN_IF_ERROR(step.step->run(args));
      continue;
    }
    for (size_t i = 0; i < own->launches().size(); ++i) {
      KILN_RETURN_IF_ERROR(own->run_launch(args, i));
      Patch patch;
      patch.step = k;
      patch.launch = i;
      for (const Argument& argument : own->launches()[i].arguments) {
        if (argument.kind != Argument::Kind::kInput && argument.kind != Argument::Kind::kOutput) {
          continue;
        }
        const auto& views = argument.kind == Argument::Kind::kInput ? step.inputs : step.outputs;
        const int slot = views[static_cast<size_t>(argument.view)].slot;
        for (size_t e = 0; e < span.externals.size(); ++e) {
          if (span.externals[e].slot == slot && !span.externals[e].staged) {
            patch.externals.push_back(e);
          }
        }
      }
      if (patch.externals.empty()) continue;
      // On one stream, what was recorded last is the one thing that comes next's predecessor.
      int status = kNotCapturing;
      uint64_t id = 0;
      CUgraph graph = nullptr;
      const CUgraphNode* last = nullptr;
      size_t count = 0;
      KILN_CUDA_RETURN_IF_ERROR(driver_, StreamGetCaptureInfo, stream, &status, &id, &graph, &last,
                                &count);
      if (count != 1) {
        return Status::error("K5304", "a recorded kernel has no node of its own");
      }
      patch.node = last[0];
      span.patches.push_back(std::move(patch));
    }
  }
  return {};
}

Status GraphReplay::record(Span& span, RunBuffers& buffers) {
  RecordingStream recording(driver_);
  KILN_RETURN_IF_ERROR(recording.begin());
  void* const stream = std::exchange(buffers.stream, recording.get());
  Status status = record_steps(span, buffers);
  buffers.stream = stream;
  const CUresult ended = driver_.StreamEndCapture(recording.get(), &span.graph);
  KILN_RETURN_IF_ERROR(status);
  KILN_RETURN_IF_ERROR(check(driver_, ended, "cuStreamEndCapture"));
  KILN_CUDA_RETURN_IF_ERROR(driver_, GraphInstantiate, &span.exec, span.graph, 0);
  ++report_.recordings;
  span.scratch_at = buffers.scratch;
  span.fixed_at.clear();
  for (int slot : span.fixed) {
    span.fixed_at.push_back(buffers.bases[static_cast<size_t>(slot)]);
  }
  for (External& external : span.externals) {
    external.recorded = buffers.bases[static_cast<size_t>(external.slot)];
  }
  return {};
}

// Gives the kernels of slots that moved their new addresses.
Status GraphReplay::patch(Span& span, RunBuffers& buffers) {
  bool moved = false;
  for (const External& external : span.externals) {
    moved = moved || external.recorded != buffers.bases[static_cast<size_t>(external.slot)];
  }
  if (!moved) return {};
  for (const Patch& patch : span.patches) {
    const bool touched = std::any_of(patch.externals.begin(), patch.externals.end(), [&](size_t e) {
      const External& external = span.externals[e];
      return external.recorded != buffers.bases[static_cast<size_t>(external.slot)];
    });
    if (!touched) continue;
    const ShapePlan::RunStep& step = shape_.steps[patch.step];
    const auto& own = static_cast<const BoundLaunches&>(*step.step);
    const Launch& launch = own.launches()[patch.launch];
    BoundLaunches::Parameters parameters;
    KILN_RETURN_IF_ERROR(own.fill(launch, place_step(step, buffers), parameters));
    KernelNodeParams node;
    node.function = own.code().kernels[static_cast<size_t>(launch.kernel)].function;
    for (size_t d = 0; d < 3; ++d) {
      node.grid[d] = static_cast<unsigned>(launch.grid[d]);
      node.block[d] = static_cast<unsigned>(launch.block[d]);
    }
    node.shared_bytes = static_cast<unsigned>(launch.shared_bytes);
    node.params = parameters.pointers;
    KILN_CUDA_RETURN_IF_ERROR(driver_, GraphExecKernelNodeSetParams, span.exec, patch.node, &node);
    ++report_.patches;
  }
  for (External& external : span.externals) {
    external.recorded = buffers.bases[static_cast<size_t>(external.slot)];
  }
  return {};
}

}  // namespace kiln::cuda
