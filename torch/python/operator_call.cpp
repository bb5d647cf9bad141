#include "torch/python/operator_call.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include <memory>
#include <string>

namespace kiln {
namespace {

constexpr const char* kCapsule = "kiln.operator_call";

struct OperatorCall {
  c10::OperatorHandle handle;
  Py_ssize_t tensor_lists;  // the arguments before `sizes`
  PyObject* original;
};

bool push_tensors(PyObject* list, torch::jit::Stack& stack) {
  if (!PyList_CheckExact(list)) return false;
  const Py_ssize_t count = PyList_GET_SIZE(list);
  c10::List<at::Tensor> tensors;
  tensors.reserve(static_cast<size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PyList_GET_ITEM(list, i);
    if (!THPVariable_CheckExact(item)) return false;
    tensors.push_back(THPVariable_Unpack(item));
  }
  stack.emplace_back(std::move(tensors));
  return true;
}

bool push_integers(PyObject* list, torch::jit::Stack& stack) {
  if (!PyList_CheckExact(list)) return false;
  c10::List<int64_t> integers;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    PyObject* item = PyList_GET_ITEM(list, i);
    if (!PyLong_CheckExact(item)) return false;
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(item, &overflow);
    if (overflow != 0) return false;
    integers.push_back(value);
  }
  stack.emplace_back(std::move(integers));
  return true;
}

bool push_program(PyObject* object, torch::jit::Stack& stack) {
  const auto program = torch::jit::as_object(pybind11::handle(object));
  if (!program) return false;
  stack.emplace_back(program->_ivalue());
  return true;
}

// Torch checks types where it reads arguments; here the class of the program is what may be wrong.
bool is_program(const c10::IValue& value) {
  static const c10::TypePtr type = torch::getCustomClass("__torch__.torch.classes.kiln.Program");
  return value.type()->isSubtypeOf(*type);
}

bool push_arguments(const OperatorCall& call, PyObject* const* args, Py_ssize_t count,
                    torch::jit::Stack& stack) {
  if (count != call.tensor_lists + 2 || at::impl::torch_function_mode_enabled()) return false;
  stack.reserve(static_cast<size_t>(count) + 1);
  for (Py_ssize_t i = 0; i < call.tensor_lists; ++i) {
    if (!push_tensors(args[i], stack)) return false;
  }
  if (!push_integers(args[count - 2], stack) || !push_program(args[count - 1], stack)) return false;
  if (!is_program(stack.back())) return false;
  stack.emplace_back(int64_t{0});  // entry
  return true;
}

PyObject* call_operator(PyObject* self, PyObject* const* args, Py_ssize_t count,
                        PyObject* keywords) {
  HANDLE_TH_ERRORS
  const auto& call = *static_cast<OperatorCall*>(PyCapsule_GetPointer(self, kCapsule));
  torch::jit::Stack stack;
  const bool plain = keywords == nullptr || PyTuple_GET_SIZE(keywords) == 0;
  if (!plain || !push_arguments(call, args, count, stack)) {
    return PyObject_Vectorcall(call.original, args, static_cast<size_t>(count), keywords);
  }
  {
    pybind11::gil_scoped_release no_gil;
    call.handle.callBoxed(stack);
  }
  if (stack.empty()) Py_RETURN_NONE;
  std::vector<at::Tensor> results = std::move(stack[0]).toTensorVector();
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(results.size()));
  for (size_t i = 0; list != nullptr && i < results.size(); ++i) {
    PyObject* item = THPVariable_Wrap(std::move(results[i]));
    if (item == nullptr) {
      Py_CLEAR(list);
    } else {
      PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), item);
    }
  }
  return list;
  END_HANDLE_TH_ERRORS
}

PyMethodDef kMethod = {"kiln_operator",
                       reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_operator)),
                       METH_FASTCALL | METH_KEYWORDS, nullptr};

}  // namespace

PyObject* quick_operator_call(const char* name, PyObject* original) {
  HANDLE_TH_ERRORS
  const c10::OperatorHandle handle =
      c10::Dispatcher::singleton().findSchemaOrThrow((std::string("kiln::") + name).c_str(), "");
  const auto arguments = static_cast<Py_ssize_t>(handle.schema().arguments().size());
  Py_INCREF(original);
  auto call = std::make_unique<OperatorCall>(OperatorCall{handle, arguments - 3, original});
  PyObject* capsule = PyCapsule_New(call.get(), kCapsule, [](PyObject* self) {
    auto* owned = static_cast<OperatorCall*>(PyCapsule_GetPointer(self, kCapsule));
    Py_DECREF(owned->original);
    delete owned;
  });
  if (capsule == nullptr) {
    Py_DECREF(original);
    return nullptr;
  }
  call.release();
  PyObject* function = PyCFunction_New(&kMethod, capsule);
  Py_DECREF(capsule);
  return function;
  END_HANDLE_TH_ERRORS
}

}  // namespace kiln
