#include "torch/python/script_object.h"

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/module_python.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include "torch/program_object.h"
#include "torch/script_module.h"

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

namespace {

Result<c10::intrusive_ptr<ProgramObject>> program_object(PyObject* object) {
  const auto wrong = [] {
    return Status::error("K3121", "not a kiln program: the object is of another class");
  };
  const auto type = torch::getCustomClass("__torch__.torch.classes.kiln.Program");
  if (type == nullptr) return wrong();
  try {
    const c10::IValue value = torch::jit::toIValue(pybind11::handle(object), type);
    if (!value.isObject()) return wrong();
    return value.toCustomClass<ProgramObject>();
  } catch (const std::exception&) {
    return wrong();
  }
}

}  // namespace

Result<std::shared_ptr<ProgramRunner>> unwrap_script_object(PyObject* object) {
  KILN_ASSIGN_OR_RETURN(const auto program, program_object(object));
  return program->shared_runner();
}

Result<PyObject*> script_module_of(PyObject* object, PyObject* state) {
  KILN_ASSIGN_OR_RETURN(const auto program, program_object(object));
  std::vector<at::Tensor> tensors;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(state); ++i) {
    PyObject* item = PyList_GET_ITEM(state, i);
    tensors.push_back(THPVariable_Check(item) ? THPVariable_Unpack(item).detach() : at::Tensor());
  }
  KILN_ASSIGN_OR_RETURN(const torch::jit::Module module,
                        make_script_module(program, std::move(tensors)));
  return torch::jit::toPyObject(module._ivalue()).release().ptr();
}

Result<std::pair<PyObject*, PyObject*>> program_of_script_module(PyObject* object) {
  const auto module = torch::jit::as_module(pybind11::handle(object));
  if (!module) {
    return Status::error("K3124", "not a TorchScript module: " +
                                      std::string(Py_TYPE(object)->tp_name));
  }
  KILN_ASSIGN_OR_RETURN(ScriptProgram found, find_script_program(*module));
  pybind11::list state;
  for (at::Tensor& tensor : found.state) {
    state.append(pybind11::reinterpret_steal<pybind11::object>(THPVariable_Wrap(tensor)));
  }
  c10::IValue program(std::move(found.program));
  return std::pair<PyObject*, PyObject*>(
      torch::jit::toPyObject(std::move(program)).release().ptr(), state.release().ptr());
}

}  // namespace kiln
