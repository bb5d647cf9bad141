// Memory of a Python tensor for the capture builder.
#pragma once

#include <Python.h>

#include <string>

#include <kiln/capture.h>
#include <kiln/program.h>

namespace kiln {

// Borrows the tensor's memory and keeps the tensor alive. K1111 for what cannot be a weight: no
// tensor, not on the CPU, not strided, a dtype that Kiln has not.
Result<CaptureWeight> borrow_tensor(PyObject* tensor, const std::string& name);

// A tensor as a value for a weight: borrowed when contiguous, else a contiguous copy. K1111 as
// above.
Result<WeightView> weight_view(PyObject* tensor, const std::string& name);

}  // namespace kiln
