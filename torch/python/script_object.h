// Programs as Python's torch.ScriptObject and back.
#pragma once

#include <Python.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <kiln/status.h>

namespace kiln {

class ProgramRunner;

// A new reference to a torch.ScriptObject of class kiln.Program around a running program, which
// will be saved as `program` (a uint8 tensor: the bytes of a `.kiln` file) and `weights` (a list of
// tensors) under `names`. K3121 for tensors that are not dense ones on the CPU.
Result<PyObject*> wrap_in_script_object(const std::shared_ptr<ProgramRunner>& runner,
                                        PyObject* program, const std::vector<std::string>& names,
                                        PyObject* weights);
// The program in a torch.ScriptObject. K3121 for an object of another class.
Result<std::shared_ptr<ProgramRunner>> unwrap_script_object(PyObject* object);

// A new reference to a torch._C.ScriptModule for the program in the torch.ScriptObject `object`
// (torch/script_module.h). `state`: a list of the buffers that it changes; empty for fresh ones.
Result<PyObject*> script_module_of(PyObject* object, PyObject* state);
// New references to the torch.ScriptObject of the program that the torch._C.ScriptModule `module`
// consists of, and to a list of its buffers. K3124 for another module.
Result<std::pair<PyObject*, PyObject*>> program_of_script_module(PyObject* module);

}  // namespace kiln
