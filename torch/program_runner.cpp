#include "torch/program_runner.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <sstream>

#include "base/border.h"
#include "runtime/engine.h"
#include "runtime/execution.h"
#include "runtime/device_runtime.h"
#include "torch/dtype_conversion.h"
#include "torch/torch_device.h"
#include "torch/torch_host.h"

namespace kiln {
namespace {

bool is_fresh_result(const PlanOutput& output) {
  return output.kind == PlanOutput::Kind::kResult && !output.signature.is_object;
}

// The tensor's memory as a view; K4102, K4107 or K4112 for one that the program cannot read or
// write.
Status view_of(const at::Tensor& tensor, const char* what, const std::string& name,
               const Device& device, TensorView& view) {
  if (!tensor.defined()) {
    return Status::error("K4102", std::string("undefined tensor: ") + what + " '" + name + "'");
  }
  if (tensor.layout() != c10::kStrided || tensor.is_nested()) {
    std::ostringstream layout;
    layout << tensor.layout();
    return Status::error("K4102", std::string("wrong layout: ") + what + " '" + name + "' is " +
                                      (tensor.is_nested() ? "Nested" : layout.str()) +
                                      ", expected Strided");
  }
  const auto dtype = from_scalar_type(tensor.scalar_type());
  if (!dtype) {
    return Status::error("K4102", std::string("wrong dtype: ") + what + " '" + name + "' is " +
                                      c10::toString(tensor.scalar_type()));
  }
  // What torch.func and other transforms pass in a tensor's place.
  if (!tensor.has_storage()) {
    return Status::error("K4112", std::string(what) + " has no memory: '" + name + "'",
                         "call it outside of vmap, grad and other transforms of torch.func");
  }
  if (from_torch(tensor.device()) != std::optional<Device>(device)) {
    return Status::error("K4107", std::string("wrong device: ") + what + " '" + name + "' is on " +
                                      tensor.device().str() + ", expected " + device.to_string());
  }
  view = {tensor.data_ptr(),
          *dtype,
          device,
          static_cast<int>(tensor.dim()),
          tensor.sizes().data(),
          tensor.strides().data()};
  return {};
}

// The output as a view of `base`; a reshape that the strides cannot express is a copy, as in eager.
at::Tensor apply(at::Tensor base, const std::vector<ConcreteViewOp>& ops) {
  at::NoGradGuard no_grad;
  base = base.detach();
  for (const ConcreteViewOp& op : ops) {
    switch (op.kind) {
      case ViewOp::Kind::kReshape: base = base.reshape(op.args); break;
      case ViewOp::Kind::kPermute: base = base.permute(op.args); break;
      case ViewOp::Kind::kExpand: base = base.expand(op.args); break;
      case ViewOp::Kind::kSlice:
        TORCH_CHECK(op.args.size() == 4, "slice of an output is malformed");
        base = base.slice(op.args[0], op.args[1], op.args[2], op.args[3]);
        break;
    }
  }
  return base;
}

// Views come out of eager kernels' hands; written tensors are newer than before.
void finish_aliases(const EnginePlan& plan, const Engine::Binding& binding, ProgramCall& call) {
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    const auto target = static_cast<size_t>(output.target);
    if (output.kind == PlanOutput::Kind::kWriteInput) {
      const at::Tensor& written = call.inputs[target];
      if (written.defined() && !written.is_inference()) {
        written.unsafeGetTensorImpl()->bump_version();
      }
    } else if (output.kind != PlanOutput::Kind::kResult && !output.view.empty()) {
      const bool of_input = output.kind == PlanOutput::Kind::kViewOfInput;
      call.outputs[i] =
          apply(of_input ? call.inputs[target] : call.outputs[target], binding.views[i]);
    }
  }
}

}  // namespace

void allocate_outputs(ExecutionContext& context, std::vector<at::Tensor>& tensors,
                      std::vector<TensorView>& views) {
  ExecutionContext::Impl& impl = *context.impl();
  const EnginePlan& plan = impl.engine().plan();
  const std::vector<TensorSpec>& specs = impl.output_specs();
  const Device device = impl.engine().device().device();
  tensors.resize(plan.outputs.size());
  views.resize(plan.outputs.size());
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    if (!is_fresh_result(plan.outputs[i]) || tensors[i].defined()) continue;
    const TensorSpec& spec = specs[i];
    const c10::ScalarType dtype = to_scalar_type(spec.dtype);
    const auto options = at::TensorOptions().dtype(dtype).device(to_torch_device(device));
    tensors[i] = device.kind == DeviceKind::kCpu
                     ? at::detail::empty_strided_cpu(spec.shape, spec.strides, dtype)
                     : at::empty_strided(spec.shape, spec.strides, options);
    views[i] = {tensors[i].mutable_data_ptr(),       spec.dtype,        device,
                static_cast<int>(spec.shape.size()), spec.shape.data(), spec.strides.data()};
  }
}

ProgramRunner::ProgramRunner(std::shared_ptr<Program> program)
    : program_(std::move(program)),
      plan_(&program_->engine()->plan()),
      device_(program_->device()),
      written_(plan_->inputs.size()) {
  for (const PlanOutput& output : plan_->outputs) {
    if (output.kind == PlanOutput::Kind::kWriteInput) {
      written_[static_cast<size_t>(output.target)] = true;
    }
  }
}

// One that ran on the same stream last: its memory is free as soon as that stream comes to it. On
// the CPU there is one stream. Contexts of other streams are taken only when there are many.
std::unique_ptr<ExecutionContext> ProgramRunner::take_context() {
  constexpr size_t kMaxStreams = 8;
  DeviceRuntime& device = program_->engine()->device();
  const StreamHandle stream = device.current_stream();
  // Memory that is taken while a stream is recorded belongs to the recording.
  const bool recording = device.is_recording(stream);
  std::lock_guard lock(mutex_);
  const auto same = std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& context) {
    return context->impl()->last_stream() == stream;
  });
  const auto found = same != idle_.rend() ? std::prev(same.base()) : idle_.begin();
  if (!recording && !idle_.empty() && (same != idle_.rend() || idle_.size() >= kMaxStreams)) {
    auto context = std::move(*found);
    idle_.erase(found);
    return context;
  }
  ++contexts_made_;
  return program_->create_context();
}

void ProgramRunner::give_back(std::unique_ptr<ExecutionContext> context) {
  DeviceRuntime& device = program_->engine()->device();
  if (device.is_recording(context->impl()->last_stream())) return;
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(context));
}

size_t ProgramRunner::idle_bytes() {
  std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const auto& context : idle_) bytes += context->impl()->held_bytes();
  return bytes;
}

void ProgramRunner::start(ProgramCall& call, size_t count) const {
  call.inputs.resize(count);
  call.input_views.resize(count);
  call.numbers.resize(count);  // their addresses are handed out
}

Status ProgramRunner::set_input(ProgramCall& call, size_t index, at::Tensor tensor) const {
  static const std::string kExtra = "beyond the last";
  const std::string& name = index < plan_->inputs.size() ? plan_->inputs[index].name : kExtra;
  if (tensor.defined() && (tensor.is_conj() || tensor.is_neg())) {
    tensor = tensor.resolve_conj().resolve_neg();
  }
  // As in eager mode: a number in a tensor may come from the host.
  if (device_.kind != DeviceKind::kCpu && tensor.defined() && tensor.is_cpu() &&
      tensor.dim() == 0 && index < written_.size() && !written_[index]) {
    tensor = tensor.to(to_torch_device(device_), /*non_blocking=*/true);
  }
  KILN_RETURN_IF_ERROR(view_of(tensor, "input", name, device_, call.input_views[index]));
  call.inputs[index] = std::move(tensor);
  return {};
}

Status ProgramRunner::set_input_object(ProgramCall& call, size_t index,
                                       const c10::IValue& value) const {
  const TensorSignature& signature = plan_->inputs[index];
  if (signature.number) {
    if (!value.isInt()) {
      return Status::error("K4111", "input is no 64-bit integer: '" + signature.name + "'");
    }
    call.numbers[index] = value.toInt();
    call.input_views[index] = {nullptr, DType::kI64, Device(), 1, &call.numbers[index], nullptr};
  } else if (!signature.dims.empty()) {
    if (!value.isTensor() || !value.toTensor().defined() ||
        value.toTensor().layout() != at::kStrided) {
      return Status::error("K4111", "input is no tensor with strides: '" + signature.name + "'");
    }
    at::Tensor& tensor = call.inputs[index] = value.toTensor();  // keeps its sizes
    call.input_views[index] = {nullptr,        DType::kI64,           Device(),
                               static_cast<int>(tensor.dim()), tensor.sizes().data(), nullptr};
  }
  call.input_objects.resize(call.inputs.size());
  call.input_objects[index] = wrap_in_object(value);
  return {};
}

Status ProgramRunner::set_output(ProgramCall& call, size_t index, at::Tensor tensor) const {
  call.outputs.resize(plan_->outputs.size());
  call.output_views.resize(plan_->outputs.size());
  KILN_RETURN_IF_ERROR(view_of(tensor, "output", plan_->outputs[index].signature.name, device_,
                               call.output_views[index]));
  call.outputs[index] = std::move(tensor);
  return {};
}

Status ProgramRunner::run(ProgramCall& call) {
  auto body = [&]() -> Status {
    std::unique_lock<std::mutex> lock(state_mutex_, std::defer_lock);
    if (!program_->state_infos().empty()) lock.lock();
    std::unique_ptr<ExecutionContext> context = take_context();
    ExecutionContext::Impl& impl = *context->impl();
    KILN_RETURN_IF_ERROR(impl.prepare(call.input_views));
    allocate_outputs(*context, call.outputs, call.output_views);
    for (size_t i = 0; i < call.input_objects.size(); ++i) {
      if (call.input_objects[i]) {
        impl.set_input_object(static_cast<int>(i), std::move(call.input_objects[i]));
      }
    }
    // A context that failed may hold half-run state; the next call makes a new one.
    KILN_RETURN_IF_ERROR(impl.run(call.input_views, call.output_views));
    finish_aliases(*plan_, impl.binding(), call);
    for (size_t i = 0; i < plan_->outputs.size(); ++i) {
      if (!plan_->outputs[i].signature.is_object) continue;
      call.output_objects.resize(plan_->outputs.size());
      call.output_objects[i] = impl.take_output_object(static_cast<int>(i));
    }
    for (size_t i = 0; i < call.output_objects.size(); ++i) {
      const PlanOutput& output = plan_->outputs[i];
      if (!output.signature.is_object || output.kind != PlanOutput::Kind::kViewOfOutput) continue;
      call.output_objects[i] = call.output_objects[static_cast<size_t>(output.target)];
    }
    give_back(std::move(context));
    return {};
  };
  try {
    return guarded(body);
  } catch (const std::exception& error) {
    return Status::error("K9002", error.what());
  }
}

}  // namespace kiln
