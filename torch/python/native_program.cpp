#include "torch/python/native_program.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "runtime/engine.h"
#include "runtime/execution.h"
#include "torch/dtype_conversion.h"
#include "torch/input_overlap.h"
#include "torch/torch_host.h"

namespace kiln {
namespace {

PyObject* error_class = nullptr;

// Inputs of one call. Tensors are kept so that their sizes and memory stay.
struct CallInputs {
  std::vector<at::Tensor> tensors;
  std::vector<TensorView> views;
  std::vector<std::shared_ptr<HostObject>> objects;  // of object inputs
  std::vector<int64_t> numbers;                      // of those that determine sizes
};

// Numbers and tensors are what object inputs can be.
bool number_from(PyObject* object, c10::IValue& value) {
  if (THPVariable_Check(object)) {
    value = THPVariable_Unpack(object);
  } else if (PyBool_Check(object)) {
    value = object == Py_True;
  } else if (PyLong_Check(object)) {
    const long long integer = PyLong_AsLongLong(object);
    if (integer == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      return false;
    }
    value = static_cast<int64_t>(integer);
  } else if (PyFloat_Check(object)) {
    value = PyFloat_AS_DOUBLE(object);
  } else {
    return false;
  }
  return true;
}

bool read_inputs(PyObject* sequence, const EnginePlan& plan, CallInputs& inputs) {
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
  PyObject** items = PySequence_Fast_ITEMS(sequence);
  inputs.tensors.resize(static_cast<size_t>(count));
  inputs.views.resize(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    const auto index = static_cast<size_t>(i);
    const bool is_object = index < plan.inputs.size() && plan.inputs[index].is_object;
    if (is_object) {
      inputs.objects.resize(static_cast<size_t>(count));
      inputs.numbers.resize(static_cast<size_t>(count));
      const bool sized = plan.inputs[index].number.has_value();
      c10::IValue value;
      if (!number_from(items[i], value) || (sized && !value.isInt())) {
        set_python_error(Status::error(
            "K4111", std::string("input is no ") + (sized ? "64-bit integer" : "number") +
                         ": input " + std::to_string(i) + " is " + Py_TYPE(items[i])->tp_name));
        return false;
      }
      if (sized) {
        inputs.numbers[index] = value.toInt();
        inputs.views[index] = {nullptr, DType::kI64, Device(), 1, &inputs.numbers[index], nullptr};
      }
      inputs.objects[index] = wrap_in_object(value);
      continue;
    }
    if (!THPVariable_Check(items[i])) {
      set_python_error(Status::error("K4111", "input is no tensor: input " + std::to_string(i) +
                                                  " is " + Py_TYPE(items[i])->tp_name));
      return false;
    }
    at::Tensor tensor = THPVariable_Unpack(items[i]);
    const auto dtype = from_scalar_type(tensor.scalar_type());
    const std::string name =
        index < plan.inputs.size() ? plan.inputs[index].name : std::to_string(i);
    if (!dtype || tensor.layout() != c10::kStrided) {
      set_python_error(
          Status::error("K4102", "wrong dtype or layout: input '" + name + "' is " +
                                     std::string(c10::toString(tensor.scalar_type()))));
      return false;
    }
    if (!tensor.is_cpu()) {
      set_python_error(Status::error("K4107", "wrong device: input '" + name + "' is on " +
                                                  tensor.device().str() + ", expected cpu"));
      return false;
    }
    if (tensor.is_conj() || tensor.is_neg()) tensor = tensor.resolve_conj().resolve_neg();
    inputs.views[index] = {tensor.data_ptr(),
                           *dtype,
                           Device(),
                           static_cast<int>(tensor.dim()),
                           tensor.sizes().data(),
                           tensor.strides().data()};
    inputs.tensors[index] = std::move(tensor);
  }
  return true;
}

// Allocates the fresh outputs of the prepared shapes.
void allocate_outputs(ExecutionContext::Impl& context, std::vector<at::Tensor>& tensors,
                      std::vector<TensorView>& views) {
  const EnginePlan& plan = context.engine().plan();
  const std::vector<TensorSpec>& specs = context.output_specs();
  tensors.resize(plan.outputs.size());
  views.resize(plan.outputs.size());
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    if (plan.outputs[i].kind != PlanOutput::Kind::kResult || plan.outputs[i].signature.is_object) {
      continue;
    }
    const TensorSpec& spec = specs[i];
    tensors[i] =
        at::detail::empty_strided_cpu(spec.shape, spec.strides, to_scalar_type(spec.dtype));
    views[i] = {tensors[i].mutable_data_ptr(),       spec.dtype,        Device(),
                static_cast<int>(spec.shape.size()), spec.shape.data(), spec.strides.data()};
  }
}

// The output as a view of `base`; a reshape that the strides cannot express is a copy, as in eager.
at::Tensor view_of(at::Tensor base, const std::vector<ConcreteViewOp>& ops) {
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

Status guarded(Status (*body)(void*), void* data) {
  try {
    return body(data);
  } catch (const InternalError& error) {
    return Status::error("K9001", error.what(), "this is a bug in kiln");
  } catch (const std::bad_alloc&) {
    return Status::error("K4501", "out of memory");
  } catch (const std::exception& error) {
    return Status::error("K9002", error.what());
  }
}

template <typename F>
Status guarded(F& body) {
  return guarded([](void* data) { return (*static_cast<F*>(data))(); }, &body);
}

}  // namespace

void set_error_class(PyObject* cls) {
  Py_XINCREF(cls);
  Py_XDECREF(error_class);
  error_class = cls;
}

void set_python_error(const Status& status) {
  if (error_class == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, status.to_string().c_str());
    return;
  }
  std::string place;
  for (const std::string& part : status.origin()) place += (place.empty() ? "" : ", ") + part;
  PyObject* arguments = Py_BuildValue("(ssss)", status.code().c_str(), status.message().c_str(),
                                      status.hint().c_str(), place.c_str());
  if (arguments == nullptr) return;
  PyErr_SetObject(error_class, arguments);
  Py_DECREF(arguments);
}

NativeProgram::NativeProgram(std::shared_ptr<Program> program, FollowedWeights weights)
    : program_(std::move(program)), weights_(std::move(weights)) {
  // What the program itself changes is its state, not a weight that somebody else has changed.
  std::set<std::string_view> state;
  for (const TensorInfo& info : program_->state_infos()) state.insert(info.name);
  std::vector<WeightInfo> read = program_->weights();
  std::erase_if(read, [&](const WeightInfo& info) { return state.contains(info.name); });
  weights_.keep(read);
}

Status NativeProgram::update_weights(FollowedWeights weights) {
  PyThreadState* state = PyEval_SaveThread();
  std::unique_lock lock(update_mutex_);
  auto body = [&] { return program_->update_weights(weights.views()); };
  Status status = guarded(body);
  PyEval_RestoreThread(state);
  if (status.ok()) weights_.merge(std::move(weights));
  return status;
}

// All tensors that were changed in place since they were read.
Status NativeProgram::take_changed_weights() {
  PyThreadState* state = PyEval_SaveThread();
  std::unique_lock lock(update_mutex_);
  FollowedWeights changed = weights_.changed();  // none when another thread was first
  auto body = [&]() -> Status {
    if (changed.size() == 0) return {};
    KILN_LOG(kTorch, kInfo) << changed.size() << " weights were changed in place, taking them in";
    return program_->update_weights(changed.views());
  };
  Status status = guarded(body);
  PyEval_RestoreThread(state);
  if (status.ok()) weights_.merge(std::move(changed));
  return status;
}

std::unique_ptr<ExecutionContext> NativeProgram::take_context() {
  std::lock_guard lock(mutex_);
  if (!idle_.empty()) {
    auto context = std::move(idle_.back());
    idle_.pop_back();
    return context;
  }
  ++contexts_made_;
  return program_->create_context();
}

void NativeProgram::give_back(std::unique_ptr<ExecutionContext> context) {
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(context));
}

PyObject* NativeProgram::run(PyObject* inputs) {
  if (!PyList_Check(inputs) && !PyTuple_Check(inputs)) {
    PyErr_SetString(PyExc_TypeError, "inputs must be a list or a tuple");
    return nullptr;
  }
  const EnginePlan& plan = program_->engine()->plan();
  CallInputs call;
  if (!read_inputs(inputs, plan, call)) return nullptr;
  if (!weights_.current()) {
    const Status taken = take_changed_weights();
    if (!taken.ok()) {
      set_python_error(taken);
      return nullptr;
    }
  }
  std::unique_ptr<ExecutionContext> context = take_context();
  std::vector<at::Tensor> tensors;
  std::vector<TensorView> views;
  Status status;
  const bool has_state = !program_->state_infos().empty();
  auto body = [&]() -> Status {
    std::unique_lock<std::mutex> lock(state_mutex_, std::defer_lock);
    if (has_state) lock.lock();
    ExecutionContext::Impl& impl = *context->impl();
    KILN_RETURN_IF_ERROR(impl.prepare(call.views));
    KILN_RETURN_IF_ERROR(check_written_inputs(plan, call.tensors));
    allocate_outputs(impl, tensors, views);
    for (size_t i = 0; i < call.objects.size(); ++i) {
      if (call.objects[i]) impl.set_input_object(static_cast<int>(i), std::move(call.objects[i]));
    }
    KILN_RETURN_IF_ERROR(impl.run(call.views, views));
    // Views come out of eager kernels' hands; written tensors are newer than before.
    for (size_t i = 0; i < plan.outputs.size(); ++i) {
      const PlanOutput& output = plan.outputs[i];
      const auto target = static_cast<size_t>(output.target);
      if (output.kind == PlanOutput::Kind::kWriteInput) {
        const at::Tensor& written = call.tensors[target];
        if (written.defined() && !written.is_inference()) {
          written.unsafeGetTensorImpl()->bump_version();
        }
      } else if (output.kind != PlanOutput::Kind::kResult && !output.view.empty()) {
        const bool of_input = output.kind == PlanOutput::Kind::kViewOfInput;
        tensors[i] =
            view_of(of_input ? call.tensors[target] : tensors[target], impl.binding().views[i]);
      }
    }
    return {};
  };
  Py_BEGIN_ALLOW_THREADS;
  status = guarded(body);
  Py_END_ALLOW_THREADS;
  if (!status.ok()) {
    // A context that failed may hold half-run state; the next call makes a new one.
    set_python_error(status);
    return nullptr;
  }
  PyObject* results = PyList_New(0);
  std::vector<PyObject*> made(plan.outputs.size(), nullptr);  // by output; owned by `results`
  // An output that is another one, which may come later, is the same object.
  auto wrap = [&](size_t i) {
    if (made[i] == nullptr) {
      made[i] = THPVariable_Wrap(std::move(tensors[i]));
    } else {
      Py_INCREF(made[i]);
    }
    return made[i];
  };
  for (size_t i = 0; results != nullptr && i < plan.outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    PyObject* item = nullptr;
    if (output.kind == PlanOutput::Kind::kWriteInput) continue;
    const bool whole = output.view.empty();
    if (output.kind == PlanOutput::Kind::kViewOfInput && whole) {
      item = PySequence_Fast_GET_ITEM(inputs, output.target);
      Py_INCREF(item);
    } else if (output.signature.is_object) {
      const auto object = context->impl()->take_output_object(static_cast<int>(i));
      if (object != nullptr) {
        item = torch::jit::toPyObject(unwrap_object(*object)).release().ptr();
      } else {
        item = Py_None;
        Py_INCREF(item);
      }
    } else if (output.kind == PlanOutput::Kind::kViewOfOutput && whole) {
      item = wrap(static_cast<size_t>(output.target));
    } else {
      item = wrap(i);
    }
    if (item == nullptr || PyList_Append(results, item) != 0) {
      Py_XDECREF(item);
      Py_CLEAR(results);
      break;
    }
    Py_DECREF(item);
  }
  give_back(std::move(context));
  return results;
}

PyObject* NativeProgram::initial_state() {
  std::vector<at::Tensor> tensors;
  auto body = [&]() -> Status {
    KILN_ASSIGN_OR_RETURN(const std::shared_ptr<State> state, program_->create_state());
    for (const TensorInfo& info : state->infos()) {
      std::vector<int64_t> shape;
      for (const DimInfo& dim : info.dims) shape.push_back(dim.min);
      tensors.push_back(at::empty(shape, to_scalar_type(info.dtype)));
      KILN_RETURN_IF_ERROR(
          state->get(info.name, {tensors.back().mutable_data_ptr(), info.dtype, Device(),
                                 static_cast<int>(shape.size()), tensors.back().sizes().data()}));
    }
    return {};
  };
  const Status status = guarded(body);
  if (!status.ok()) {
    set_python_error(status);
    return nullptr;
  }
  PyObject* list = PyList_New(0);
  for (at::Tensor& tensor : tensors) {
    PyObject* item = THPVariable_Wrap(std::move(tensor));
    if (list == nullptr || item == nullptr || PyList_Append(list, item) != 0) Py_CLEAR(list);
    Py_XDECREF(item);
  }
  return list;
}

namespace {

double median(std::vector<double>& times) {
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2),
                   times.end());
  return times[times.size() / 2];
}

}  // namespace

std::pair<double, double> NativeProgram::time_run(PyObject* inputs, int64_t repeats) {
  using Clock = std::chrono::steady_clock;
  CallInputs call;
  if (!read_inputs(inputs, program_->engine()->plan(), call)) return {-1, -1};
  auto context = take_context();
  ExecutionContext::Impl& impl = *context->impl();
  std::vector<double> runs, allocations;
  std::vector<at::Tensor> tensors;
  std::vector<TensorView> views;
  auto body = [&]() -> Status {
    KILN_RETURN_IF_ERROR(impl.prepare(call.views));
    for (int64_t i = 0; i < repeats; ++i) {
      const auto start = Clock::now();
      allocate_outputs(impl, tensors, views);
      const auto allocated = Clock::now();
      KILN_RETURN_IF_ERROR(context->run(call.views, views));
      const auto end = Clock::now();
      allocations.push_back(std::chrono::duration<double>(allocated - start).count());
      runs.push_back(std::chrono::duration<double>(end - allocated).count());
    }
    return {};
  };
  const Status status = guarded(body);
  if (!status.ok() || repeats < 1) {
    set_python_error(status);
    return {-1, -1};
  }
  give_back(std::move(context));
  return {median(runs), median(allocations)};
}

std::string NativeProgram::profile(PyObject* inputs, int64_t repeats) {
  CallInputs call;
  const EnginePlan& plan = program_->engine()->plan();
  if (!read_inputs(inputs, plan, call)) return {};
  auto context = program_->create_context();
  ExecutionContext::Impl& impl = *context->impl();
  std::vector<std::vector<double>> seconds;
  std::vector<at::Tensor> tensors;
  std::vector<TensorView> views;
  impl.set_profiling(true);
  auto body = [&]() -> Status {
    for (int64_t i = 0; i < repeats; ++i) {
      KILN_RETURN_IF_ERROR(impl.prepare(call.views));
      allocate_outputs(impl, tensors, views);
      KILN_RETURN_IF_ERROR(impl.run(call.views, views));
      const auto& steps = impl.step_seconds();
      seconds.resize(impl.binding().shape->steps.size());
      for (size_t k = 0; k < seconds.size(); ++k) seconds[k].push_back(steps[k]);
    }
    return {};
  };
  const Status status = guarded(body);
  if (!status.ok() || repeats < 1) {
    set_python_error(status);
    return {};
  }
  Json rows = Json::array();
  for (size_t k = 0; k < seconds.size(); ++k) {
    const ShapePlan::RunStep& step = impl.binding().shape->steps[k];
    const StepDesc& desc = plan.main.steps[static_cast<size_t>(step.index)];
    Json row = Json::object();
    row.set("kind", desc.kind);
    row.set("label", desc.label);
    row.set("origin", desc.origin);
    row.set("implementation", step.step->implementation());
    row.set("seconds", median(seconds[k]));
    rows.push_back(std::move(row));
  }
  return rows.dump();
}

}  // namespace kiln
