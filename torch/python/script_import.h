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

// Which submodules of a ScriptModule, the import of whose `forward` stopped, become programs
// (torch/torchscript/module_parts.h): new reference to a list of paths and a dict of module path ->
// why it stays. Arguments and sizes as for import_script(), options as PartOptions.
// `build(path, args, dims, symbols, torch_executed_modules)` is called for each candidate, with
// sizes as these are, and returns a pair: ("stopped", (module path, function, place, reason)),
// ("nothing native", None), ("no module", why) or ("built", its ScriptModule or None).
// Null where `build` raised: Python's error is set. K1101, K1145, K1146.
struct ScriptPartOptions {
  std::vector<std::string> torch_executed_modules;
  int64_t min_block_size = 1;
};
Result<PyObject*> find_script_parts(PyObject* script, PyObject* args, PyObject* kwargs,
                                    PyObject* dims, const std::vector<ScriptSymbol>& symbols,
                                    const ScriptFailure& stopped, const ScriptPartOptions& options,
                                    PyObject* build);

// The ATen calls in what stays in TorchScript where the submodules at the paths of `compiled`
// become programs: new reference to a list of (operator, module path, place in the source). K1101.
Result<PyObject*> kept_script_calls(PyObject* script, const std::vector<std::string>& compiled);

// The ScriptModule with other ScriptModules in place of submodules: new reference to a
// torch._C.ScriptModule. `replacements`: dict of path -> ScriptModule. K1145.
Result<PyObject*> replace_script_submodules(PyObject* script, PyObject* replacements);

// Names of the operators of a method that the importer has no rule for
// (torch/torchscript/operator_support.h). K1101.
Result<std::vector<std::string>> script_operators_without_rule(PyObject* script,
                                                               const std::string& method);

}  // namespace kiln
