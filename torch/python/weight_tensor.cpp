#include "torch/python/weight_tensor.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>

#include "torch/borrowed_weight.h"

namespace kiln {

Result<at::Tensor> weight_tensor(PyObject* object, const std::string& name) {
  if (!THPVariable_Check(object)) return Status::error("K1111", "weight is no tensor: " + name);
  return as_weight(THPVariable_Unpack(object), name);
}

Result<CaptureWeight> borrow_tensor(PyObject* object, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(const at::Tensor tensor, weight_tensor(object, name));
  return borrow_weight(tensor, name);
}

WeightView weight_view(const at::Tensor& any, const std::string& name) {
  at::Tensor tensor = any.contiguous();
  WeightView weight;
  weight.name = name;
  weight.dtype = *from_scalar_type(tensor.scalar_type());
  weight.shape = tensor.sizes().vec();
  weight.data = tensor.data_ptr();
  weight.bytes = tensor.nbytes();
  weight.device = *from_torch(tensor.device());
  weight.owner = std::make_shared<at::Tensor>(std::move(tensor));
  return weight;
}

}  // namespace kiln
