#include "runtime/execution.h"

#include <algorithm>

#include "base/border.h"
#include "base/check.h"
#include "base/options.h"
#include "base/parallel_for.h"
#include "runtime/memory_overlap.h"
#include "runtime/state.h"
#include "runtime/strided_copy.h"

namespace kiln {
namespace {

bool has_strides(const TensorView& view, const std::vector<int64_t>& strides) {
  if (view.strides == nullptr) {
    int64_t expected = 1;
    for (int i = view.rank; i-- > 0;) {
      if (view.shape[i] != 1 && strides[static_cast<size_t>(i)] != expected) return false;
      expected *= view.shape[i];
    }
    return true;
  }
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] != 1 && view.strides[i] != strides[static_cast<size_t>(i)]) return false;
  }
  return true;
}

void contiguous_strides(const TensorView& view, int64_t* strides) {
  int64_t stride = 1;
  for (int i = view.rank; i-- > 0;) {
    strides[i] = view.strides != nullptr ? view.strides[i] : stride;
    stride *= view.shape[i];
  }
}

int64_t count(const std::vector<int64_t>& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  int64_t total = 1;
  for (int64_t extent : shape) total *= extent;
  return total;
}

// Strides of no elements mean nothing.
Status check_strides(const TensorView& input, const std::vector<int64_t>& needed,
                     const std::string& name) {
  const int64_t* end = input.shape + input.rank;
  if (needed.empty() || has_strides(input, needed) || std::find(input.shape, end, 0) != end) {
    return {};
  }
  return Status::error(
      "K4115",
      "strides decide what is written, and differ from those at capture: input '" + name + "'",
      "pass a tensor with these strides, or compile with one like this");
}

}  // namespace

ExecutionContext::Impl::Impl(std::shared_ptr<Engine> engine, std::shared_ptr<State> state)
    : engine_(std::move(engine)), device_(engine_->device()), state_(std::move(state)) {
  poison_ = debug_options().poison_arena;
  const EnginePlan& plan = engine_->plan();
  input_slot_.assign(plan.inputs.size(), -1);
  output_slot_.assign(plan.outputs.size(), -1);
  for (size_t i = 0; i < plan.main.slots.size(); ++i) {
    const Slot& slot = plan.main.slots[i];
    if (slot.index < 0) continue;
    const auto index = static_cast<size_t>(slot.index);
    if (slot.kind == SlotKind::kInput) input_slot_[index] = static_cast<int>(i);
    if (slot.kind == SlotKind::kOutput) output_slot_[index] = static_cast<int>(i);
    if (slot.kind != SlotKind::kObject) continue;
    // Objects that nothing writes are inputs.
    if (index < plan.inputs.size() && plan.inputs[index].is_object && input_slot_[index] < 0) {
      input_slot_[index] = static_cast<int>(i);
    } else {
      output_slot_[index] = static_cast<int>(i);
    }
  }
  staging_.resize(plan.inputs.size() + plan.outputs.size());
  spans_.resize(plan.inputs.size() + plan.outputs.size());
  input_written_.assign(plan.inputs.size(), false);
  for (const PlanOutput& output : plan.outputs) {
    if (output.kind == PlanOutput::Kind::kWriteInput) {
      input_written_[static_cast<size_t>(output.target)] = true;
    }
  }
}

bool ExecutionContext::Impl::matches(const Engine::Binding& binding,
                                     const std::vector<TensorView>& inputs, int threads) const {
  if (binding.threads != threads) return false;
  const int64_t* expected = binding.input_dims.data();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorView& input = inputs[i];
    for (int d = 0; d < input.rank; ++d) {
      if (input.shape[d] != *expected++) return false;
    }
  }
  return true;
}

Status ExecutionContext::Impl::prepare(const std::vector<TensorView>& inputs) {
  const EnginePlan& plan = engine_->plan();
  bool plausible = inputs.size() == plan.inputs.size();
  for (size_t i = 0; plausible && i < inputs.size(); ++i) {
    const TensorSignature& signature = plan.inputs[i];
    plausible = signature.is_object ||
                (inputs[i].dtype == signature.dtype &&
                 inputs[i].rank == static_cast<int>(signature.dims.size()) && on_device(inputs[i]));
  }
  if (plausible) {
    const int threads = engine_->options().threads > 0 ? engine_->options().threads : num_threads();
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (!matches(*seen_[i], inputs, threads)) continue;
      if (i != 0)
        std::rotate(seen_.begin(), seen_.begin() + static_cast<int64_t>(i),
                    seen_.begin() + static_cast<int64_t>(i) + 1);
      if (current_ != seen_[0]) current_ = seen_[0];
      return {};
    }
  }
  KILN_ASSIGN_OR_RETURN(auto binding, engine_->bind(inputs));
  if (seen_.size() == Engine::kMaxBindings) seen_.pop_back();
  seen_.insert(seen_.begin(), binding);
  current_ = std::move(binding);
  return {};
}

ExecutionContext::Impl::~Impl() {
  release(block_);
  for (Staging& staging : staging_) release(staging.block);
}

// Memory goes back to the stream that it came from, which must not use it before the last run has.
void ExecutionContext::Impl::release(DeviceBlock& block) {
  if (block.memory != nullptr && ran_ && block.stream != stream_) {
    // Nothing can be done about a failure: the device is lost then.
    static_cast<void>(device_.order(stream_, block.stream).ok());
  }
  block = {};
}

bool ExecutionContext::Impl::grow(DeviceBlock& block, size_t bytes) {
  release(block);
  block.memory = device_.allocate(bytes, stream_);
  if (block.memory == nullptr) return false;
  block.bytes = bytes;
  block.stream = stream_;
  return true;
}

PlanReplay* ExecutionContext::Impl::replay() {
  if (profiling_ || !engine_->options().replay) return nullptr;
  for (size_t i = 0; i < replays_.size(); ++i) {
    if (replays_[i].binding != current_) continue;
    if (i != 0) {
      std::rotate(replays_.begin(), replays_.begin() + static_cast<int64_t>(i),
                  replays_.begin() + static_cast<int64_t>(i) + 1);
    }
    return replays_[0].replay.get();
  }
  auto made = device_.make_replay(engine_->plan().main, *current_->shape);
  if (made == nullptr) return nullptr;
  if (replays_.size() == kMaxReplays) replays_.pop_back();
  replays_.insert(replays_.begin(), {current_, std::move(made)});
  return replays_[0].replay.get();
}

const ReplayReport* ExecutionContext::Impl::replay_report() const {
  for (const BindingReplay& entry : replays_) {
    if (entry.binding == current_) return &entry.replay->report();
  }
  return nullptr;
}

Status ExecutionContext::Impl::activate(std::shared_ptr<const Engine::Binding> binding) {
  const ShapePlan& shape = *binding->shape;
  const size_t arena = scratch_offset(shape);
  const size_t bytes = arena + shape.scratch_bytes + 64;
  if (bytes > block_.bytes) {
    active_.reset();
    if (!grow(block_, bytes)) {
      return Status::error("K4501",
                           "out of memory for activations of bytes " + std::to_string(bytes));
    }
  }
  const Plan& plan = engine_->plan().main;
  if (buffers_.bases.size() != plan.slots.size() || buffers_.inputs.size() < shape.max_views) {
    buffers_.resize(plan.slots.size(), shape.max_views);
  }
  auto* block = static_cast<char*>(block_.memory.get());
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    buffers_.bases[i] = shape.temp_offset[i] >= 0 ? block + shape.temp_offset[i] : nullptr;
  }
  buffers_.scratch = block + arena;
  if (step_seconds_.size() < shape.steps.size()) step_seconds_.resize(shape.steps.size());
  active_ = std::move(binding);
  constants_version_ = 0;
  return {};
}

Result<void*> ExecutionContext::Impl::stage(const TensorView& view, const TensorSpec& expected,
                                            size_t index, bool copy_in, bool separate) {
  Staging& staging = staging_[index];
  staging.used = false;
  const int64_t elements = count(expected.shape);
  if (elements == 0) return view.data;
  const size_t element = dtype_bytes(expected.dtype);
  const bool aligned =
      reinterpret_cast<uintptr_t>(view.data) % std::max(element, device_.alignment()) == 0;
  if (aligned && !separate && has_strides(view, expected.strides)) return view.data;
  const size_t bytes = static_cast<size_t>(elements) * element;
  if (staging.block.bytes < bytes && !grow(staging.block, bytes)) {
    return Status::error("K4501", "out of memory for a copy of an input or output");
  }
  void* memory = staging.block.memory.get();
  staging.used = true;
  if (copy_in) {
    int64_t strides[kMaxRank];
    contiguous_strides(view, strides);
    KILN_RETURN_IF_ERROR(device_.strided_copy(view.data, strides, memory, expected.strides.data(),
                                              view.shape, view.rank, element, stream_));
  }
  return memory;
}

void ExecutionContext::Impl::set_input_object(int input, std::shared_ptr<HostObject> object) {
  const int slot = input_slot_[static_cast<size_t>(input)];
  if (slot < 0) return;
  if (buffers_.objects.size() != engine_->plan().main.slots.size()) {
    buffers_.objects.resize(engine_->plan().main.slots.size());
  }
  buffers_.objects[static_cast<size_t>(slot)] = std::move(object);
}

size_t ExecutionContext::Impl::held_bytes() const {
  size_t bytes = block_.bytes;
  for (const Staging& staging : staging_) bytes += staging.block.bytes;
  return bytes;
}

std::shared_ptr<HostObject> ExecutionContext::Impl::take_output_object(int output) {
  const int slot = output_slot_[static_cast<size_t>(output)];
  return slot < 0 ? nullptr : std::move(buffers_.objects[static_cast<size_t>(slot)]);
}

Status ExecutionContext::Impl::run(const std::vector<TensorView>& inputs,
                                   const std::vector<TensorView>& outputs) {
  const EnginePlan& plan = engine_->plan();
  KILN_CHECK(current_ != nullptr);
  if (outputs.size() != plan.outputs.size()) {
    return Status::error("K4108", "wrong number of outputs: " + std::to_string(outputs.size()) +
                                      ", expected " + std::to_string(plan.outputs.size()));
  }
  ScopedDevice scope(device_);
  KILN_RETURN_IF_ERROR(take_stream());
  if (active_ != current_) KILN_RETURN_IF_ERROR(activate(current_));
  const std::shared_ptr<const ConstantSet> constants = engine_->constants();
  if (constants->version != constants_version_) {
    constants_version_ = constants->version;
    for (size_t i = 0; i < plan.main.slots.size(); ++i) {
      const Slot& slot = plan.main.slots[i];
      if (slot.kind == SlotKind::kConstant) {
        buffers_.bases[i] = constants->constants[static_cast<size_t>(slot.index)].data;
      }
    }
  }
  KILN_RETURN_IF_ERROR(place_inputs(inputs));
  KILN_RETURN_IF_ERROR(place_outputs(outputs));
  // All ones are NaN in every float format.
  if (poison_) {
    KILN_RETURN_IF_ERROR(device_.fill(block_.memory.get(), 0xff, block_.bytes, stream_));
  }
  Status status;
  {
    ScopedNumThreads scope(current_->threads);
    PlanReplay* const replay = this->replay();
    status = replay != nullptr ? replay->run(buffers_)
                               : run_plan(*current_->shape, buffers_,
                                          profiling_ ? &step_seconds_ : nullptr, &device_);
  }
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    if (plan.inputs[i].is_object && input_slot_[i] >= 0) {
      buffers_.objects[static_cast<size_t>(input_slot_[i])].reset();
    }
  }
  if (!status.ok()) {
    for (auto& object : buffers_.objects) object.reset();
    return status;
  }
  KILN_RETURN_IF_ERROR(copy_back(inputs, outputs));
  return device_.take_fault(engine_->code());
}

// Memory of this context is still in use by its last run where that was put on another stream.
Status ExecutionContext::Impl::take_stream() {
  const StreamHandle now = next_stream();
  // A recording cannot wait for work outside of it: whoever records has seen to that.
  if (ran_ && now != stream_ && !device_.is_recording(now)) {
    KILN_RETURN_IF_ERROR(device_.order(stream_, now));
  }
  stream_ = buffers_.stream = now;
  ran_ = true;
  return {};
}

Status ExecutionContext::Impl::place_inputs(const std::vector<TensorView>& inputs) {
  const EnginePlan& plan = engine_->plan();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (plan.inputs[i].is_object) continue;
    spans_[i] = span_of(inputs[i]);
    if (inputs[i].data == nullptr && spans_[i].low != spans_[i].high) {
      return Status::error("K4112", "input has no memory: '" + plan.inputs[i].name + "'");
    }
    KILN_RETURN_IF_ERROR(
        check_strides(inputs[i], current_->needed_strides[i], plan.inputs[i].name));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (plan.inputs[i].is_object || input_slot_[i] < 0) continue;
    // An input that is written while another one lies between its elements.
    bool separate = false;
    for (size_t j = 0; input_written_[i] && j < inputs.size(); ++j) {
      if (j == i || plan.inputs[j].is_object || !spans_[i].overlaps(spans_[j])) continue;
      separate = true;
      // What the other one reads after the write, or writes itself, is not what the program says.
      if (share_memory(inputs[i], inputs[j])) {
        return Status::error("K4118",
                             "a written input shares memory with another one: '" +
                                 plan.inputs[i].name + "' and '" + plan.inputs[j].name + "'",
                             "pass a copy of one of them");
      }
    }
    if (const int dim = input_written_[i] ? repeated_dim(inputs[i]) : -1; dim >= 0) {
      return Status::error("K4118",
                           "elements of a written input share memory: '" + plan.inputs[i].name +
                               "' dim " + std::to_string(dim),
                           "pass a copy, as with .clone()");
    }
    KILN_ASSIGN_OR_RETURN(buffers_.bases[static_cast<size_t>(input_slot_[i])],
                          stage(inputs[i], current_->inputs[i], i, true, separate));
  }
  return {};
}

Status ExecutionContext::Impl::place_outputs(const std::vector<TensorView>& outputs) {
  const EnginePlan& plan = engine_->plan();
  const size_t num_inputs = plan.inputs.size();
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    MemorySpan& span = spans_[num_inputs + i];
    span = {};
    if (output.signature.is_object || output.kind != PlanOutput::Kind::kResult) continue;
    const TensorView& view = outputs[i];
    const TensorSpec& expected = current_->outputs[i];
    if (view.dtype != expected.dtype || view.rank != static_cast<int>(expected.shape.size()) ||
        !std::equal(expected.shape.begin(), expected.shape.end(), view.shape) || !on_device(view)) {
      return Status::error("K4109",
                           "memory given for an output has another dtype, shape or device: "
                           "output " +
                               std::to_string(i));
    }
    span = span_of(view);
    if (span.low == span.high) continue;
    if (view.data == nullptr) {
      return Status::error("K4110", "no memory was given for output " + std::to_string(i));
    }
    for (int d = 0; d < view.rank; ++d) {
      if (view.strides == nullptr || view.strides[d] != 0 || view.shape[d] < 2) continue;
      return Status::error("K4113", "elements of an output share memory: output " +
                                        std::to_string(i) + " dim " + std::to_string(d));
    }
    if (output_slot_[i] < 0) continue;
    // Steps write outputs while inputs and other outputs are still read.
    bool separate = false;
    for (size_t j = 0; j < num_inputs + i; ++j) {
      if (!span.overlaps(spans_[j])) continue;
      separate = true;
      if (j >= num_inputs && outputs[j - num_inputs].data == view.data) {
        return Status::error("K4113", "outputs share memory: outputs " +
                                          std::to_string(j - num_inputs) + " and " +
                                          std::to_string(i));
      }
    }
    KILN_ASSIGN_OR_RETURN(buffers_.bases[static_cast<size_t>(output_slot_[i])],
                          stage(view, expected, num_inputs + i, false, separate));
  }
  return {};
}

Status ExecutionContext::Impl::copy_back(const std::vector<TensorView>& inputs,
                                         const std::vector<TensorView>& outputs) {
  const EnginePlan& plan = engine_->plan();
  int64_t strides[kMaxRank];
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    if (output.signature.is_object || output.kind == PlanOutput::Kind::kViewOfInput ||
        output.kind == PlanOutput::Kind::kViewOfOutput) {
      continue;
    }
    const bool write_back = output.kind == PlanOutput::Kind::kWriteInput;
    const auto target = static_cast<size_t>(output.target);
    const size_t index = write_back ? target : inputs.size() + i;
    if (!staging_[index].used) continue;
    const TensorView& view = write_back ? inputs[target] : outputs[i];
    const TensorSpec& spec = write_back ? current_->inputs[target] : current_->outputs[i];
    contiguous_strides(view, strides);
    KILN_RETURN_IF_ERROR(device_.strided_copy(staging_[index].block.memory.get(),
                                              spec.strides.data(), view.data, strides, view.shape,
                                              view.rank, dtype_bytes(view.dtype), stream_));
  }
  return {};
}

Status ExecutionContext::Impl::place_views(const std::vector<TensorView>& inputs,
                                           const std::vector<TensorView>& outputs, bool wanted) {
  const EnginePlan& plan = engine_->plan();
  views_.resize(plan.outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    const bool of_input = output.kind == PlanOutput::Kind::kViewOfInput;
    if (!of_input && output.kind != PlanOutput::Kind::kViewOfOutput) continue;
    if (output.signature.is_object || (!wanted && outputs[i].data == nullptr)) continue;
    const auto target = static_cast<size_t>(output.target);
    const TensorView& base = of_input ? inputs[target] : outputs[target];
    OutputView& result = views_[i];
    result.window.dims.assign(base.shape, base.shape + base.rank);
    result.window.strides.resize(static_cast<size_t>(base.rank));
    result.window.offset = 0;
    contiguous_strides(base, result.window.strides.data());
    Status applied = apply_views(current_->views[i], &result.window);
    if (applied.ok() && result.window.dims != current_->outputs[i].shape) {
      applied = Status::error("K4103", "view does not have the shape of the output");
    }
    if (!applied.ok()) return std::move(applied).at("output " + std::to_string(i));
    result.placed = true;
    result.view = base;
    result.view.rank = static_cast<int>(result.window.dims.size());
    result.view.shape = result.window.dims.data();
    result.view.strides = result.window.strides.data();
    if (base.data != nullptr) {
      result.view.data = static_cast<char*>(base.data) +
                         result.window.offset * static_cast<int64_t>(dtype_bytes(base.dtype));
    }
    if (wanted) continue;
    const TensorView& given = outputs[i];
    if (given.dtype != base.dtype || given.rank != result.view.rank ||
        !std::equal(result.window.dims.begin(), result.window.dims.end(), given.shape)) {
      return Status::error("K4109",
                           "memory given for an output has another dtype, shape or device: "
                           "output " +
                               std::to_string(i));
    }
    if (span_of(given).overlaps(span_of(result.view)) && given.data != result.view.data) {
      return Status::error(
          "K4113", "memory given for a view overlaps what it views: output " + std::to_string(i));
    }
  }
  return {};
}

Status ExecutionContext::Impl::copy_views(const std::vector<TensorView>& outputs) {
  const EnginePlan& plan = engine_->plan();
  int64_t strides[kMaxRank];
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PlanOutput::Kind kind = plan.outputs[i].kind;
    if (kind != PlanOutput::Kind::kViewOfInput && kind != PlanOutput::Kind::kViewOfOutput) continue;
    if (plan.outputs[i].signature.is_object || outputs[i].data == nullptr) continue;
    const TensorView& from = views_[i].view;
    if (from.data == outputs[i].data || count(views_[i].window.dims) == 0) continue;
    contiguous_strides(outputs[i], strides);
    KILN_RETURN_IF_ERROR(device_.strided_copy(from.data, from.strides, outputs[i].data, strides,
                                              from.shape, from.rank, dtype_bytes(from.dtype),
                                              stream_));
  }
  return {};
}

Status ExecutionContext::Impl::add_state(std::vector<TensorView>& inputs,
                                         std::unique_lock<std::mutex>* lock) {
  const EnginePlan& plan = engine_->plan();
  const auto own = static_cast<size_t>(
      std::count_if(plan.inputs.begin(), plan.inputs.end(),
                    [](const TensorSignature& input) { return !input.is_state; }));
  if (own == plan.inputs.size() || inputs.size() != own) return {};
  if (state_ == nullptr) {
    KILN_ASSIGN_OR_RETURN(state_, State::Impl::create(engine_));
  }
  State::Impl& state = *state_->impl();
  *lock = std::unique_lock(state.mutex);
  KILN_RETURN_IF_ERROR(state.use_on(next_stream()));
  for (size_t i = own; i < plan.inputs.size(); ++i) {
    const int index = state.find(plan.inputs[i].name);
    if (index < 0) {
      return Status::error("K4116",
                           "state has no tensor of this name: '" + plan.inputs[i].name + "'",
                           "it was made by another program");
    }
    inputs.push_back(state.tensors[static_cast<size_t>(index)].view);
  }
  return {};
}

ExecutionContext::ExecutionContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExecutionContext::~ExecutionContext() = default;

void ExecutionContext::set_stream(void* stream) { impl_->set_stream(stream); }

Result<std::vector<TensorSpec>> ExecutionContext::infer_shapes(
    const std::vector<TensorView>& inputs) {
  return guarded([&]() -> Result<std::vector<TensorSpec>> {
    std::unique_lock<std::mutex> lock;
    std::vector<TensorView>& all = impl_->all_inputs(inputs);
    KILN_RETURN_IF_ERROR(impl_->add_state(all, &lock));
    return impl_->engine().infer_shapes(all);
  });
}

Status ExecutionContext::run(const std::vector<TensorView>& inputs,
                             const std::vector<TensorView>& outputs) {
  return guarded([&]() -> Status {
    std::unique_lock<std::mutex> lock;
    std::vector<TensorView>& all = impl_->all_inputs(inputs);
    KILN_RETURN_IF_ERROR(impl_->add_state(all, &lock));
    KILN_RETURN_IF_ERROR(impl_->prepare(all));
    if (outputs.size() == impl_->output_specs().size()) {
      KILN_RETURN_IF_ERROR(impl_->place_views(all, outputs, false));
    }
    KILN_RETURN_IF_ERROR(impl_->run(all, outputs));
    return impl_->copy_views(outputs);
  });
}

Result<std::vector<TensorView>> ExecutionContext::run(const std::vector<TensorView>& inputs,
                                                      const OutputAllocator& allocate) {
  std::unique_lock<std::mutex> lock;
  std::vector<TensorView>& all = impl_->all_inputs(inputs);
  KILN_RETURN_IF_ERROR(guarded([&]() -> Status {
    KILN_RETURN_IF_ERROR(impl_->add_state(all, &lock));
    return impl_->prepare(all);
  }));
  const EnginePlan& plan = impl_->engine().plan();
  std::vector<TensorView> outputs;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const TensorSpec& spec = impl_->output_specs()[i];
    const PlanOutput& output = plan.outputs[i];
    TensorView& view = outputs.emplace_back();
    if (output.signature.is_object) continue;  // only a host can take it
    if (output.kind == PlanOutput::Kind::kWriteInput) {
      view = all[static_cast<size_t>(output.target)];
    }
    if (output.kind != PlanOutput::Kind::kResult) continue;
    view.dtype = spec.dtype;
    view.rank = static_cast<int>(spec.shape.size());
    view.shape = spec.shape.data();  // lives in the binding, which the context keeps
    view.strides = spec.strides.data();
    const size_t bytes = static_cast<size_t>(count(spec.shape)) * dtype_bytes(spec.dtype);
    view.data = allocate(static_cast<int>(i), spec, bytes);
    if (view.data == nullptr && bytes != 0) {
      return Status::error("K4110", "no memory was given for output " + std::to_string(i));
    }
  }
  KILN_RETURN_IF_ERROR(guarded([&]() -> Status {
    KILN_RETURN_IF_ERROR(impl_->place_views(all, outputs, true));
    return impl_->run(all, outputs);
  }));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (const TensorView* view = impl_->output_view(i)) outputs[i] = *view;
  }
  return outputs;
}

}  // namespace kiln
