#include "torch/python/graph_call.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>

#include <utility>

#include "base/check.h"
#include "torch/python/native_program.h"

namespace kiln {
namespace {

int64_t version_of(const at::Tensor& tensor) {
  return tensor.is_inference() ? -1 : static_cast<int64_t>(tensor._version());
}

const void* memory_of(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.const_data_ptr() : nullptr;
}

}  // namespace

FrozenArguments::FrozenArguments(std::vector<size_t> positions, PyObject* tensors) {
  KILN_CHECK_MSG(static_cast<size_t>(PySequence_Fast_GET_SIZE(tensors)) == positions.size(),
                 "one tensor for each position");
  entries_.reserve(positions.size());
  for (size_t i = 0; i < positions.size(); ++i) {
    PyObject* object = PySequence_Fast_GET_ITEM(tensors, static_cast<Py_ssize_t>(i));
    KILN_CHECK_MSG(THPVariable_Check(object), "frozen arguments are tensors");
    const at::Tensor& tensor = THPVariable_Unpack(object);
    Py_INCREF(object);
    entries_.push_back({positions[i], object, version_of(tensor), memory_of(tensor)});
  }
}

FrozenArguments::~FrozenArguments() {
  for (const Entry& entry : entries_) Py_DECREF(entry.tensor);
}

bool FrozenArguments::current(const Entry& entry, PyObject* argument) {
  if (argument != entry.tensor) return false;
  const at::Tensor& tensor = THPVariable_Unpack(argument);
  return version_of(tensor) == entry.version && memory_of(tensor) == entry.data;
}

bool FrozenArguments::current(PyObject* arguments) const {
  PyObject** items = PySequence_Fast_ITEMS(arguments);
  for (const Entry& entry : entries_) {
    if (!current(entry, items[entry.position])) return false;
  }
  return true;
}

std::vector<size_t> FrozenArguments::changed(PyObject* arguments) const {
  std::vector<size_t> positions;
  PyObject** items = PySequence_Fast_ITEMS(arguments);
  for (const Entry& entry : entries_) {
    if (!current(entry, items[entry.position])) positions.push_back(entry.position);
  }
  return positions;
}

struct GraphCall::Target {
  const FrozenArguments* frozen = nullptr;
  std::vector<size_t> dynamic;
  NativeProgram* program = nullptr;
  PyObject* keep = nullptr;

  ~Target() { Py_XDECREF(keep); }
};

GraphCall::GraphCall(PyObject* slow) : slow_(slow) { Py_INCREF(slow_); }

GraphCall::~GraphCall() { Py_DECREF(slow_); }

void GraphCall::bind(const FrozenArguments* frozen, std::vector<size_t> dynamic,
                     NativeProgram* program, PyObject* keep) {
  auto target = std::make_shared<Target>();
  target->frozen = frozen;
  target->dynamic = std::move(dynamic);
  target->program = program;
  Py_INCREF(keep);
  target->keep = keep;
  target_ = std::move(target);
}

PyObject* GraphCall::call(PyObject* arguments) const {
  // A call that binds anew on another thread, while the program runs here, must not end ours.
  const std::shared_ptr<const Target> target = target_;
  if (target == nullptr || static_cast<size_t>(PyTuple_GET_SIZE(arguments)) !=
                               target->frozen->size() + target->dynamic.size() ||
      !target->frozen->current(arguments)) {
    return PyObject_CallObject(slow_, arguments);
  }
  if (target->frozen->size() == 0) return target->program->run(arguments);
  PyObject* inputs = PyTuple_New(static_cast<Py_ssize_t>(target->dynamic.size()));
  if (inputs == nullptr) return nullptr;
  for (size_t i = 0; i < target->dynamic.size(); ++i) {
    PyObject* item = PyTuple_GET_ITEM(arguments, static_cast<Py_ssize_t>(target->dynamic[i]));
    Py_INCREF(item);
    PyTuple_SET_ITEM(inputs, static_cast<Py_ssize_t>(i), item);
  }
  PyObject* results = target->program->run(inputs);
  Py_DECREF(inputs);
  return results;
}

}  // namespace kiln
