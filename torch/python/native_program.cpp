#include "torch/python/native_program.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <string_view>

#include "base/border.h"
#include "base/json.h"
#include "base/log.h"
#include "runtime/engine.h"
#include "runtime/execution.h"
#include "torch/dtype_conversion.h"
#include "torch/program_runner.h"
#include "torch/script_module.h"
#include "torch/torch_device.h"
#include "torch/torch_host.h"

namespace kiln {
namespace {

PyObject* error_class = nullptr;

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

// Everything that a body may throw as a status.
template <typename F>
Status guarded_all(F&& body) {
  try {
    return guarded(body);
  } catch (const std::exception& error) {
    return Status::error("K9002", error.what());
  }
}

Status read_input(PyObject* item, size_t index, const ProgramRunner& runner, ProgramCall& call) {
  if (runner.is_object_input(index)) {
    c10::IValue value;
    if (number_from(item, value)) return runner.set_input_object(call, index, value);
    return Status::error("K4111", "input is no 64-bit number: input " + std::to_string(index) +
                                      " is " + Py_TYPE(item)->tp_name);
  }
  if (THPVariable_Check(item)) return runner.set_input(call, index, THPVariable_Unpack(item));
  return Status::error("K4111", "input is no tensor: input " + std::to_string(index) + " is " +
                                    Py_TYPE(item)->tp_name);
}

bool read_inputs(PyObject* sequence, const ProgramRunner& runner, ProgramCall& call) {
  const auto count = static_cast<size_t>(PySequence_Fast_GET_SIZE(sequence));
  PyObject** items = PySequence_Fast_ITEMS(sequence);
  runner.start(call, count);
  const Status status = guarded_all([&]() -> Status {
    for (size_t i = 0; i < count; ++i) {
      KILN_RETURN_IF_ERROR(read_input(items[i], i, runner, call));
    }
    return {};
  });
  if (!status.ok()) set_python_error(status);
  return status.ok();
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
    : NativeProgram(std::make_shared<ProgramRunner>(std::move(program)), std::move(weights)) {}

NativeProgram::NativeProgram(std::shared_ptr<ProgramRunner> runner, FollowedWeights weights)
    : runner_(std::move(runner)), weights_(std::move(weights)) {
  // What the program itself changes is its state, not a weight that somebody else has changed.
  std::set<std::string_view> state;
  for (const TensorInfo& info : program().state_infos()) state.insert(info.name);
  std::vector<WeightInfo> read = program().weights();
  std::erase_if(read, [&](const WeightInfo& info) { return state.contains(info.name); });
  weights_.keep(read);
}

Program& NativeProgram::program() { return runner_->program(); }

Status NativeProgram::update_weights(FollowedWeights weights) {
  PyThreadState* state = PyEval_SaveThread();
  std::unique_lock lock(update_mutex_);
  auto body = [&] { return program().update_weights(weights.views()); };
  Status status = guarded_all(body);
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
    return program().update_weights(changed.views());
  };
  Status status = guarded_all(body);
  PyEval_RestoreThread(state);
  if (status.ok()) weights_.merge(std::move(changed));
  return status;
}

Status NativeProgram::follow_weights() {
  return weights_.current() ? Status() : take_changed_weights();
}

PyObject* NativeProgram::run(PyObject* inputs) {
  if (!PyList_Check(inputs) && !PyTuple_Check(inputs)) {
    PyErr_SetString(PyExc_TypeError, "inputs must be a list or a tuple");
    return nullptr;
  }
  const EnginePlan& plan = runner_->plan();
  ProgramCall call;
  if (!read_inputs(inputs, *runner_, call)) return nullptr;
  if (const Status taken = follow_weights(); !taken.ok()) {
    set_python_error(taken);
    return nullptr;
  }
  Status status;
  Py_BEGIN_ALLOW_THREADS;
  status = runner_->run(call);
  Py_END_ALLOW_THREADS;
  if (!status.ok()) {
    set_python_error(status);
    return nullptr;
  }
  PyObject* results = PyList_New(0);
  std::vector<PyObject*> made(plan.outputs.size(), nullptr);  // by output; owned by `results`
  // An output that is another one, which may come later, is the same object.
  auto wrap = [&](size_t i) {
    if (made[i] == nullptr) {
      made[i] = THPVariable_Wrap(std::move(call.outputs[i]));
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
      const auto object = std::move(call.output_objects[i]);
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
  return results;
}

size_t NativeProgram::working_bytes() const { return runner_->idle_bytes(); }

std::string NativeProgram::replays() {
  Json result = Json::object();
  auto context = runner_->take_context();
  if (const ReplayReport* report = context->impl()->replay_report()) {
    const EnginePlan& plan = runner_->plan();
    result.set("plain_runs", report->plain_runs);
    result.set("recordings", report->recordings);
    result.set("replays", report->replays);
    result.set("patches", report->patches);
    Json spans = Json::array();
    for (const ReplayReport::Span& span : report->spans) {
      Json row = Json::object();
      row.set("steps", span.last - span.first + 1);
      row.set("plain", span.plain);
      spans.push_back(std::move(row));
    }
    result.set("spans", std::move(spans));
    Json staged = Json::array();
    for (const ReplayReport::Staged& copy : report->staged) {
      const Slot& slot = plan.main.slots[static_cast<size_t>(copy.slot)];
      const auto index = static_cast<size_t>(std::max(slot.index, 0));
      Json row = Json::object();
      row.set("name", slot.kind == SlotKind::kInput    ? plan.inputs[index].name
                      : slot.kind == SlotKind::kOutput ? plan.outputs[index].signature.name
                                                       : "result of a host call");
      row.set("reason", copy.reason);
      staged.push_back(std::move(row));
    }
    result.set("staged", std::move(staged));
  }
  runner_->give_back(std::move(context));
  return result.dump();
}

PyObject* NativeProgram::initial_state() {
  std::vector<at::Tensor> tensors;
  auto body = [&]() -> Status {
    KILN_ASSIGN_OR_RETURN(tensors, kiln::initial_state(program()));
    return {};
  };
  const Status status = guarded_all(body);
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
  ProgramCall call;
  if (!read_inputs(inputs, *runner_, call)) return {-1, -1};
  auto context = runner_->take_context();
  ExecutionContext::Impl& impl = *context->impl();
  DeviceRuntime& device = impl.engine().device();
  std::vector<double> runs, allocations;
  auto body = [&]() -> Status {
    KILN_RETURN_IF_ERROR(impl.prepare(call.input_views));
    for (int64_t i = 0; i < repeats; ++i) {
      call.outputs.clear();
      const auto start = Clock::now();
      allocate_outputs(*context, call.outputs, call.output_views);
      const auto allocated = Clock::now();
      KILN_RETURN_IF_ERROR(context->run(call.input_views, call.output_views));
      KILN_RETURN_IF_ERROR(device.synchronize(impl.last_stream()));
      const auto end = Clock::now();
      allocations.push_back(std::chrono::duration<double>(allocated - start).count());
      runs.push_back(std::chrono::duration<double>(end - allocated).count());
    }
    return {};
  };
  const Status status = guarded_all(body);
  if (!status.ok() || repeats < 1) {
    set_python_error(status);
    return {-1, -1};
  }
  runner_->give_back(std::move(context));
  return {median(runs), median(allocations)};
}

std::string NativeProgram::profile(PyObject* inputs, int64_t repeats) {
  ProgramCall call;
  const EnginePlan& plan = runner_->plan();
  if (!read_inputs(inputs, *runner_, call)) return {};
  auto context = program().create_context();
  ExecutionContext::Impl& impl = *context->impl();
  std::vector<std::vector<double>> seconds;
  impl.set_profiling(true);
  auto body = [&]() -> Status {
    for (int64_t i = 0; i < repeats; ++i) {
      KILN_RETURN_IF_ERROR(impl.prepare(call.input_views));
      call.outputs.clear();
      allocate_outputs(*context, call.outputs, call.output_views);
      KILN_RETURN_IF_ERROR(impl.run(call.input_views, call.output_views));
      const auto& steps = impl.step_seconds();
      seconds.resize(impl.binding().shape->steps.size());
      for (size_t k = 0; k < seconds.size(); ++k) seconds[k].push_back(steps[k]);
    }
    return {};
  };
  const Status status = guarded_all(body);
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
