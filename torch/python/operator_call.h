// Quicker calls of kiln::run and kiln::run_ from Python.
#pragma once

#include <Python.h>

namespace kiln {

// A callable for `torch.ops.kiln.<name>.default._op` in place of `original`, what torch put there.
// Torch's own looks up `__torch_function__` on each argument, which for the program, a
// ScriptObject, ends in two C++ exceptions: 6 of the 9 microseconds that an empty call costs. Plain
// arguments (lists of torch.Tensor itself, ints, the program) go straight to the dispatcher, which
// sees what it always sees; all other calls are torch's. A new reference, or null with a Python
// error set.
PyObject* quick_operator_call(const char* name, PyObject* original);

}  // namespace kiln
