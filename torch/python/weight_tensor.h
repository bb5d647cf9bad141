// Memory of Python tensors for the capture builder and for programs.
#pragma once

#include <Python.h>

#include <string>

#include <kiln/capture.h>
#include <kiln/program.h>

namespace at {
class Tensor;
}

namespace kiln {

// The tensor of a Python object that can be a weight. K1111 for what cannot: no tensor, neither on
// the CPU nor on a GPU, not strided, a dtype that Kiln has not.
Result<at::Tensor> weight_tensor(PyObject* object, const std::string& name);

// Borrows the tensor's memory and keeps the tensor alive; of a tensor on a GPU, a copy on the CPU.
// K1111 as above.
Result<CaptureWeight> borrow_tensor(PyObject* tensor, const std::string& name);

// A weight_tensor() as a value for a weight: borrowed when contiguous, else a contiguous copy.
WeightView weight_view(const at::Tensor& tensor, const std::string& name);

}  // namespace kiln
