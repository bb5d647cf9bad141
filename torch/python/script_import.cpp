#include "torch/python/script_import.h"

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/module_python.h>
#include <torch/csrc/jit/python/pybind_utils.h>

#include "base/status.h"
#include "torch/exception_text.h"
#include "torch/torchscript/import.h"
#include "torch/torchscript/kept_calls.h"
#include "torch/torchscript/operator_support.h"
#include "torch/torchscript/partial_module.h"
#include "torch/torchscript/submodule_uses.h"

namespace py = pybind11;

namespace kiln {
namespace {

torchscript::Callee callee_of(PyObject* script, const std::string& method) {
  torchscript::Callee callee;
  if (auto module = torch::jit::as_module(py::handle(script))) {
    const auto found = module->find_method(method);
    if (found) callee.function = &found->function();
    callee.self = std::move(module);
  } else if (py::isinstance<torch::jit::StrongFunctionPtr>(py::handle(script))) {
    callee.function = py::cast<torch::jit::StrongFunctionPtr>(py::handle(script)).function_;
  }
  return callee;
}

// The arguments of a call of the callee. K1101 where they do not fit its signature.
Result<torchscript::Arguments> arguments_of(const torchscript::Callee& callee, PyObject* args,
                                            PyObject* kwargs) {
  torchscript::Arguments arguments;
  try {
    const auto positional = py::reinterpret_borrow<py::tuple>(args);
    const auto named = py::reinterpret_borrow<py::kwargs>(kwargs);
    std::optional<c10::IValue> self;
    if (callee.self) self = callee.self->_ivalue();
    torch::jit::Stack stack = torch::jit::createStackForSchema(
        callee.function->getSchema(), torch::jit::tuple_slice(positional), named, self);
    if (self) stack.erase(stack.begin());
    arguments.values = std::move(stack);
    arguments.positional = positional.size();
    for (const auto& entry : named) {
      arguments.keywords.push_back(py::cast<std::string>(entry.first));
    }
    return arguments;
  } catch (const std::exception& error) {
    return Status::error("K1101",
                         "the inputs do not fit the method: " + text_of(error).substr(0, 800));
  }
}

Result<torchscript::Callee> checked_callee(PyObject* script, const std::string& method) {
  torchscript::Callee callee = callee_of(script, method);
  if (callee.function != nullptr) return callee;
  return Status::error("K1101",
                       "expected a scripted or traced module or function with method " + method);
}

}  // namespace

Result<ScriptImport> import_script(PyObject* script, const std::string& method, bool hooks,
                                   PyObject* args, PyObject* kwargs, PyObject* dims,
                                   const std::vector<ScriptSymbol>& symbols,
                                   const std::string& home, DeviceKind kind,
                                   CaptureBuilder& capture, ScriptFailure* failure) {
  KILN_ASSIGN_OR_RETURN(torchscript::Callee callee, checked_callee(script, method));
  callee.hooks = hooks;
  KILN_ASSIGN_OR_RETURN(torchscript::Arguments arguments, arguments_of(callee, args, kwargs));
  for (const auto& entry : py::reinterpret_borrow<py::list>(dims)) {
    const auto pair = py::cast<py::tuple>(entry);
    std::vector<CaptureDim> texts;
    for (const auto& dim : py::cast<py::list>(pair[1])) {
      texts.push_back(py::cast<std::string>(dim));
    }
    arguments.dims.emplace_back(THPVariable_Unpack(py::object(pair[0]).ptr()), std::move(texts));
  }
  for (const ScriptSymbol& symbol : symbols) {
    arguments.symbols[symbol.name] = {symbol.min, symbol.max};
  }
  torchscript::ImportOptions options;
  options.home = c10::Device(home);
  options.device = kind;
  torchscript::ImportFailure stopped;
  auto imported = torchscript::import_callee(callee, arguments, options, capture, &stopped);
  *failure = {stopped.module_path, stopped.function, stopped.location, stopped.reason,
              stopped.hint};
  KILN_ASSIGN_OR_RETURN(torchscript::ImportedProgram program, std::move(imported));
  ScriptImport result;
  result.metadata = std::move(program.metadata);
  for (auto& [name, tensor] : program.weights) {
    result.weights.emplace_back(name, THPVariable_Wrap(tensor));
  }
  result.conditions = std::move(program.conditions);
  result.notes = std::move(program.notes);
  return result;
}

Result<PyObject*> record_script_calls(PyObject* script, PyObject* args, PyObject* kwargs) {
  KILN_ASSIGN_OR_RETURN(torchscript::Callee callee, checked_callee(script, "forward"));
  callee.hooks = true;
  KILN_ASSIGN_OR_RETURN(const torchscript::Arguments arguments, arguments_of(callee, args, kwargs));
  KILN_ASSIGN_OR_RETURN(const torchscript::ModuleCalls calls,
                        torchscript::record_calls(callee, arguments));
  py::dict result;
  for (const auto& [path, recorded] : calls) {
    py::list list;
    for (const auto& values : recorded) {
      if (!values) {
        list.append(py::none());
        continue;
      }
      py::tuple call(values->size());
      for (size_t i = 0; i < values->size(); ++i) call[i] = torch::jit::toPyObject((*values)[i]);
      list.append(std::move(call));
    }
    result[py::str(path)] = std::move(list);
  }
  return result.release().ptr();
}

Result<PyObject*> kept_script_calls(PyObject* script, const std::vector<std::string>& compiled) {
  KILN_ASSIGN_OR_RETURN(const torchscript::Callee callee, checked_callee(script, "forward"));
  py::list result;
  for (const torchscript::KeptCall& call :
       torchscript::kept_calls(callee, {compiled.begin(), compiled.end()})) {
    result.append(py::make_tuple(call.op, call.module_path, call.location));
  }
  return result.release().ptr();
}

Result<PyObject*> why_submodule_stays(PyObject* script, const std::vector<std::string>& kept,
                                      const std::string& path, PyObject* call, PyObject* made) {
  KILN_ASSIGN_OR_RETURN(const torchscript::Callee callee, checked_callee(script, "forward"));
  if (!callee.self) return Status::error("K1101", "expected a scripted or traced module");
  torchscript::SubmoduleUses uses(*callee.self);
  for (const std::string& kept_path : kept) uses.keep(kept_path);
  std::string why, whole = uses.why_whole(path);
  if (call != Py_None) {
    torchscript::Callee part;
    part.self = uses.module_at(path);
    part.function = &part.self->get_method("forward").function();
    KILN_ASSIGN_OR_RETURN(const torchscript::Arguments arguments,
                          arguments_of(part, call, py::dict().ptr()));
    why = uses.why_not(path, arguments.values);
  } else if (auto module = torch::jit::as_module(py::handle(made))) {
    why = uses.why_no_fit(path, *module);
  }
  return py::make_tuple(why, whole).release().ptr();
}

Result<PyObject*> replace_script_submodules(PyObject* script, PyObject* replacements) {
  KILN_ASSIGN_OR_RETURN(const torchscript::Callee callee, checked_callee(script, "forward"));
  if (!callee.self) return Status::error("K1101", "expected a scripted or traced module");
  std::map<std::string, torch::jit::Module> modules;
  for (const auto& entry : py::reinterpret_borrow<py::dict>(replacements)) {
    auto module = torch::jit::as_module(entry.second);
    if (!module) return Status::error("K1101", "expected a scripted or traced module");
    modules.emplace(py::cast<std::string>(entry.first), std::move(*module));
  }
  KILN_ASSIGN_OR_RETURN(torch::jit::Module module,
                        torchscript::replace_submodules(*callee.self, modules));
  return py::cast(std::move(module)).release().ptr();
}

Result<std::vector<std::string>> script_operators_without_rule(PyObject* script,
                                                               const std::string& method) {
  KILN_ASSIGN_OR_RETURN(const torchscript::Callee callee, checked_callee(script, method));
  if (!callee.self) return Status::error("K1101", "expected a scripted or traced module");
  return torchscript::operators_without_rule(*callee.self, method);
}

}  // namespace kiln
