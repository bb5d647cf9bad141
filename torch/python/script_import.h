// TorchScript modules and functions of Python for the importer. Plain interface: no torch header.
#pragma once

#include <Python.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <kiln/capture.h>

namespace kiln {

// A size symbol with its closed range, as CaptureBuilder::symbol takes it.
struct ScriptSymbol {
  std::string name;
  int64_t min = 0, max = 0;
};

struct ScriptImport {
  std::string metadata;
  std::vector<std::pair<std::string, PyObject*>> weights;  // new references
  std::vector<std::array<std::string, 4>> conditions;
  std::vector<std::string> notes;
};

// Where and why an import stopped: K1145 that a part of the program can do without.
struct ScriptFailure {
  std::string module_path, function, location, reason, hint;
};

// Imports `method` of a ScriptModule, or a ScriptFunction (`method` is empty), called with these
// arguments. `dims`: list of (tensor of the arguments, list of texts). `home`: where the program's
// tensors lie ("cuda:0"); `kind`: where it runs. `hooks`: the module's own run around the method.
// K1101 for arguments that do not fit the signature; otherwise the errors of import_callee().
Result<ScriptImport> import_script(PyObject* script, const std::string& method, bool hooks,
                                   PyObject* args, PyObject* kwargs, PyObject* dims,
                                   const std::vector<ScriptSymbol>& symbols,
                                   const std::string& home, DeviceKind kind,
                                   CaptureBuilder& capture, ScriptFailure* failure);

// The calls of modules' forward in one run of `forward` of a ScriptModule on these arguments: new
// reference to a dict of module path -> list of tuples of arguments, or None for a call inside an
// autocast region. K1101, K1145, K1146.
Result<PyObject*> record_script_calls(PyObject* script, PyObject* args, PyObject* kwargs);

// The ATen calls in what stays in TorchScript where the submodules at the paths of `compiled`
// become programs: new reference to a list of (operator, module path, place in the source). K1101.
Result<PyObject*> kept_script_calls(PyObject* script, const std::vector<std::string>& compiled);

// Whether a program can stand for the submodule at `path` where the modules at the paths of `kept`
// stay in TorchScript (torch/torchscript/submodule_uses.h): new reference to a pair of texts, why
// none can stand for it and why none can for it or those below it; empty where one can. `call`:
// the arguments that the program is for, or None; `made`: its ScriptModule, or None. K1101.
Result<PyObject*> why_submodule_stays(PyObject* script, const std::vector<std::string>& kept,
                                      const std::string& path, PyObject* call, PyObject* made);

// The ScriptModule with other ScriptModules in place of submodules: new reference to a
// torch._C.ScriptModule. `replacements`: dict of path -> ScriptModule. K1145.
Result<PyObject*> replace_script_submodules(PyObject* script, PyObject* replacements);

// Names of the operators of a method that the importer has no rule for
// (torch/torchscript/operator_support.h). K1101.
Result<std::vector<std::string>> script_operators_without_rule(PyObject* script,
                                                               const std::string& method);

}  // namespace kiln
