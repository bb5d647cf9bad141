#include "runtime/execution.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/options.h"
#include "base/parallel_for.h"
#include "runtime/border.h"
#include "runtime/memory.h"
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

}  // namespace

ExecutionContext::Impl::Impl(std::shared_ptr<Engine> engine) : engine_(std::move(engine)) {
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
    plausible = signature.is_object || (inputs[i].dtype == signature.dtype &&
                                        inputs[i].rank == static_cast<int>(signature.dims.size()) &&
                                        inputs[i].device.kind == DeviceKind::kCpu);
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

Status ExecutionContext::Impl::activate(std::shared_ptr<const Engine::Binding> binding) {
  const ShapePlan& shape = *binding->shape;
  const auto arena = static_cast<size_t>(shape.arena_bytes);
  const size_t bytes = arena + shape.scratch_bytes + 64;
  if (bytes > block_bytes_) {
    block_.reset();
    block_bytes_ = 0;
    active_.reset();
    block_ = allocate_block(bytes);
    if (block_ == nullptr) {
      return Status::error("K4501",
                           "out of memory for activations of bytes " + std::to_string(bytes));
    }
    block_bytes_ = bytes;
  }
  const Plan& plan = engine_->plan().main;
  if (buffers_.bases.size() != plan.slots.size() || buffers_.inputs.size() < shape.max_views) {
    buffers_.resize(plan.slots.size(), shape.max_views);
  }
  auto* block = static_cast<char*>(block_.get());
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    buffers_.bases[i] = shape.temp_offset[i] >= 0 ? block + shape.temp_offset[i] : nullptr;
  }
  buffers_.scratch = block + arena;
  if (step_seconds_.size() < shape.steps.size()) step_seconds_.resize(shape.steps.size());
  active_ = std::move(binding);
  constants_.reset();
  return {};
}

ExecutionContext::Impl::Span ExecutionContext::Impl::span_of(const TensorView& view) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(view.dtype));
  // Sizes of an empty tensor may multiply to anything.
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] == 0) return {};
  }
  int64_t low = 0, high = bytes, contiguous = bytes;
  for (int i = view.rank; i-- > 0;) {
    const int64_t stride = view.strides != nullptr ? view.strides[i] * bytes : contiguous;
    const int64_t reach = (view.shape[i] - 1) * stride;
    (reach < 0 ? low : high) += reach;
    contiguous *= view.shape[i];
  }
  const auto base = reinterpret_cast<uintptr_t>(view.data);
  return {base + static_cast<uintptr_t>(low), base + static_cast<uintptr_t>(high)};
}

Result<void*> ExecutionContext::Impl::stage(const TensorView& view, const TensorSpec& expected,
                                            size_t index, bool copy_in, bool separate) {
  Staging& staging = staging_[index];
  staging.used = false;
  const int64_t elements = count(expected.shape);
  if (elements == 0) return view.data;
  const size_t element = dtype_bytes(expected.dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(view.data) % element == 0;
  if (aligned && !separate && has_strides(view, expected.strides)) return view.data;
  const size_t bytes = static_cast<size_t>(elements) * element;
  if (staging.bytes < bytes) {
    staging.bytes = 0;
    staging.memory = allocate_block(bytes);
    if (staging.memory == nullptr) {
      return Status::error("K4501", "out of memory for a copy of an input or output");
    }
    staging.bytes = bytes;
  }
  staging.used = true;
  if (copy_in) {
    int64_t strides[kMaxRank];
    contiguous_strides(view, strides);
    strided_copy(view.data, strides, staging.memory.get(), expected.strides.data(), view.shape,
                 view.rank, element);
  }
  return staging.memory.get();
}

void ExecutionContext::Impl::set_input_object(int input, std::shared_ptr<HostObject> object) {
  const int slot = input_slot_[static_cast<size_t>(input)];
  if (slot < 0) return;
  if (buffers_.objects.size() != engine_->plan().main.slots.size()) {
    buffers_.objects.resize(engine_->plan().main.slots.size());
  }
  buffers_.objects[static_cast<size_t>(slot)] = std::move(object);
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
  if (active_ != current_) KILN_RETURN_IF_ERROR(activate(current_));
  if (auto constants = engine_->constants(); constants != constants_) {
    constants_ = std::move(constants);
    for (size_t i = 0; i < plan.main.slots.size(); ++i) {
      const Slot& slot = plan.main.slots[i];
      if (slot.kind == SlotKind::kConstant) {
        buffers_.bases[i] = constants_->constants[static_cast<size_t>(slot.index)].data;
      }
    }
  }
  KILN_RETURN_IF_ERROR(place_inputs(inputs));
  KILN_RETURN_IF_ERROR(place_outputs(outputs));
  // All ones are NaN in every float format.
  if (poison_) std::memset(block_.get(), 0xff, block_bytes_);
  Status status;
  {
    ScopedNumThreads scope(current_->threads);
    status = run_plan(*current_->shape, buffers_, profiling_ ? &step_seconds_ : nullptr);
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
  copy_back(inputs, outputs);
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
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (plan.inputs[i].is_object || input_slot_[i] < 0) continue;
    // An input that is written while another one lies in the same memory.
    bool separate = false;
    for (size_t j = 0; input_written_[i] && j < inputs.size(); ++j) {
      separate = separate || (j != i && !plan.inputs[j].is_object && spans_[i].overlaps(spans_[j]));
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
    Span& span = spans_[num_inputs + i];
    span = {};
    if (output.signature.is_object || output.kind != PlanOutput::Kind::kResult) continue;
    const TensorView& view = outputs[i];
    const TensorSpec& expected = current_->outputs[i];
    if (view.dtype != expected.dtype || view.rank != static_cast<int>(expected.shape.size()) ||
        !std::equal(expected.shape.begin(), expected.shape.end(), view.shape) ||
        view.device.kind != DeviceKind::kCpu) {
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

void ExecutionContext::Impl::copy_back(const std::vector<TensorView>& inputs,
                                       const std::vector<TensorView>& outputs) {
  const EnginePlan& plan = engine_->plan();
  int64_t strides[kMaxRank];
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    if (output.signature.is_object || output.kind == PlanOutput::Kind::kViewOfInput) continue;
    const bool write_back = output.kind == PlanOutput::Kind::kWriteInput;
    const auto target = static_cast<size_t>(output.target);
    const size_t index = write_back ? target : inputs.size() + i;
    if (!staging_[index].used) continue;
    const TensorView& view = write_back ? inputs[target] : outputs[i];
    const TensorSpec& spec = write_back ? current_->inputs[target] : current_->outputs[i];
    contiguous_strides(view, strides);
    strided_copy(staging_[index].memory.get(), spec.strides.data(), view.data, strides, view.shape,
                 view.rank, dtype_bytes(view.dtype));
  }
}

ExecutionContext::ExecutionContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExecutionContext::~ExecutionContext() = default;

Result<std::vector<TensorSpec>> ExecutionContext::infer_shapes(
    const std::vector<TensorView>& inputs) {
  return guarded([&] { return impl_->engine().infer_shapes(inputs); });
}

Status ExecutionContext::run(const std::vector<TensorView>& inputs,
                             const std::vector<TensorView>& outputs) {
  return guarded([&]() -> Status {
    KILN_RETURN_IF_ERROR(impl_->prepare(inputs));
    return impl_->run(inputs, outputs);
  });
}

Result<std::vector<TensorView>> ExecutionContext::run(const std::vector<TensorView>& inputs,
                                                      const OutputAllocator& allocate) {
  KILN_RETURN_IF_ERROR(guarded([&] { return impl_->prepare(inputs); }));
  const EnginePlan& plan = impl_->engine().plan();
  std::vector<TensorView> outputs;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const TensorSpec& spec = impl_->output_specs()[i];
    if (plan.outputs[i].signature.is_object) {
      outputs.emplace_back();  // only a host can take it
      continue;
    }
    if (plan.outputs[i].kind != PlanOutput::Kind::kResult) {
      outputs.push_back(inputs[static_cast<size_t>(plan.outputs[i].target)]);
      continue;
    }
    TensorView view;
    view.dtype = spec.dtype;
    view.rank = static_cast<int>(spec.shape.size());
    view.shape = spec.shape.data();  // lives in the binding, which the context keeps
    view.strides = spec.strides.data();
    const size_t bytes = static_cast<size_t>(count(spec.shape)) * dtype_bytes(spec.dtype);
    view.data = allocate(static_cast<int>(i), spec, bytes);
    if (view.data == nullptr && bytes != 0) {
      return Status::error("K4110", "no memory was given for output " + std::to_string(i));
    }
    outputs.push_back(view);
  }
  KILN_RETURN_IF_ERROR(guarded([&] { return impl_->run(inputs, outputs); }));
  return outputs;
}

}  // namespace kiln
