#include "torch/python/script_object.h"

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include "torch/program_object.h"

namespace kiln {
namespace {

bool is_dense(PyObject* object) {
  if (!THPVariable_Check(object)) return false;
  const at::Tensor& tensor = THPVariable_Unpack(object);
  return tensor.is_cpu() && tensor.layout() == c10::kStrided && tensor.is_contiguous();
}

}  // namespace

Result<PyObject*> wrap_in_script_object(const std::shared_ptr<ProgramRunner>& runner,
                                        PyObject* program, const std::vector<std::string>& names,
                                        PyObject* weights) {
  ProgramState state;
  if (!is_dense(program)) {
    return Status::error("K3121", "not the state of a kiln program: the program is no tensor");
  }
  state.program = THPVariable_Unpack(program);
  const Py_ssize_t count = PyList_Check(weights) ? PyList_GET_SIZE(weights) : -1;
  if (count != static_cast<Py_ssize_t>(names.size())) {
    return Status::error("K3121", "not the state of a kiln program: number of weights");
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PyList_GET_ITEM(weights, i);
    if (!is_dense(item)) {
      return Status::error("K3121", "not the state of a kiln program: weight " +
                                        names[static_cast<size_t>(i)]);
    }
    state.weights.push_back(THPVariable_Unpack(item));
  }
  state.names = names;
  c10::IValue value(ProgramObject::wrap(runner, std::move(state)));
  return torch::jit::toPyObject(std::move(value)).release().ptr();
}

Result<std::shared_ptr<ProgramRunner>> unwrap_script_object(PyObject* object) {
  const auto wrong = [] {
    return Status::error("K3121", "not a kiln program: the object is of another class");
  };
  const auto type = torch::getCustomClass("__torch__.torch.classes.kiln.Program");
  if (type == nullptr) return wrong();
  try {
    const c10::IValue value = torch::jit::toIValue(pybind11::handle(object), type);
    if (!value.isObject()) return wrong();
    return value.toCustomClass<ProgramObject>()->shared_runner();
  } catch (const std::exception&) {
    return wrong();
  }
}

}  // namespace kiln
