#include "torch/python/script_import.h"

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/jit/python/module_python.h>
#include <torch/csrc/jit/python/pybind_utils.h>
#include <torch/csrc/jit/python/python_ir.h>

#include "base/border.h"
#include "torch/exception_text.h"
#include "torch/torchscript/import.h"
#include "torch/torchscript/kept_calls.h"
#include "torch/torchscript/module_parts.h"
#include "torch/torchscript/operator_support.h"
#include "torch/torchscript/partial_module.h"

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

// As import_script() takes them.
void add_sizes(torchscript::Arguments& arguments, PyObject* dims,
               const std::vector<ScriptSymbol>& symbols) {
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
}

// The same the other way round.
py::list dims_of(const torchscript::Arguments& arguments) {
  py::list result;
  for (const auto& [tensor, dims] : arguments.dims) {
    const auto object = py::reinterpret_steal<py::object>(THPVariable_Wrap(tensor));
    result.append(py::make_tuple(object, dims));
  }
  return result;
}

py::list symbols_of(const torchscript::Arguments& arguments) {
  py::list result;
  for (const auto& [name, range] : arguments.symbols) {
    result.append(py::make_tuple(name, range.min, range.max));
  }
  return result;
}

py::tuple values_of(const std::vector<c10::IValue>& values) {
  py::tuple result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = torch::jit::toPyObject(values[i]);
  return result;
}

// What the function of find_script_parts() returns.
torchscript::PartAnswer answer_of(const py::object& given) {
  torchscript::PartAnswer answer;
  const auto [kind, more] = py::cast<std::pair<std::string, py::object>>(given);
  if (kind == "stopped") {
    const auto at = py::cast<std::vector<std::string>>(more);
    answer.stopped = {at.at(0), at.at(1), at.at(2), at.at(3), ""};
  } else if (kind == "nothing native") {
    answer.nothing_native = true;
  } else if (kind == "no module") {
    answer.no_module = py::cast<std::string>(more);
  } else if (!more.is_none()) {
    answer.module = torch::jit::as_module(more);
  }
  return answer;
}

std::optional<std::vector<std::string>> python_uses(const torch::jit::Node* node, size_t index) {
  if (node->kind() != c10::prim::PythonOp) return std::nullopt;
  // The one class of these nodes where there is Python; torch does not export its type_info.
  const auto* op = static_cast<const torch::jit::ConcretePythonOp*>(node);
  size_t position = 0;  // among the arguments in Python: constants stand between the inputs
  for (size_t inputs = 0; position < op->cconv.size(); ++position) {
    if (op->cconv[position] == 'd' && inputs++ == index) break;
  }
  const py::handle function(const_cast<PyObject*>(op->pyobj.get()));
  const py::object names = py::module_::import("kiln.frontends.python_functions")
                               .attr("attributes_used")(function, position);
  if (names.is_none()) return std::nullopt;
  return py::cast<std::vector<std::string>>(names);
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
  add_sizes(arguments, dims, symbols);
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

Result<PyObject*> find_script_parts(PyObject* script, PyObject* args, PyObject* kwargs,
                                    PyObject* dims, const std::vector<ScriptSymbol>& symbols,
                                    const ScriptFailure& stopped, const ScriptPartOptions& options,
                                    PyObject* build) {
  KILN_ASSIGN_OR_RETURN(torchscript::Callee callee, checked_callee(script, "forward"));
  callee.hooks = true;
  if (!callee.self) return Status::error("K1101", "expected a scripted or traced module");
  KILN_ASSIGN_OR_RETURN(torchscript::Arguments arguments, arguments_of(callee, args, kwargs));
  add_sizes(arguments, dims, symbols);
  const auto ask = [&](const torchscript::PartRequest& part) {
    return answer_of(py::handle(build)(py::str(part.path), values_of(part.arguments.values),
                                       dims_of(part.arguments), symbols_of(part.arguments),
                                       py::cast(part.torch_executed_modules)));
  };
  try {
    return guarded([&]() -> Result<PyObject*> {
      KILN_ASSIGN_OR_RETURN(
          const torchscript::ModuleParts parts,
          torchscript::find_parts(
              callee, arguments,
              {stopped.module_path, stopped.function, stopped.location, stopped.reason,
               stopped.hint},
              {options.torch_executed_modules, options.min_block_size}, ask, python_uses));
      py::dict kept;
      for (const auto& [path, why] : parts.kept) kept[py::str(path)] = why;
      return py::make_tuple(parts.built, kept).release().ptr();
    });
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
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
