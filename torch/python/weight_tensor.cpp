#include "torch/python/weight_tensor.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>

#include "base/status.h"
#include "torch/dtype_conversion.h"

namespace kiln {

namespace {

Result<at::Tensor> weight_tensor(PyObject* object, const std::string& name) {
  if (!THPVariable_Check(object)) return Status::error("K1111", "weight is no tensor: " + name);
  at::Tensor tensor = THPVariable_Unpack(object);
  const auto dtype = from_scalar_type(tensor.scalar_type());
  if (!dtype || !tensor.is_cpu() || tensor.layout() != c10::kStrided) {
    return Status::error("K1111", "weight must be a strided tensor on the cpu of a known dtype: " +
                                      name);
  }
  return tensor.resolve_conj().resolve_neg();
}

}  // namespace

Result<CaptureWeight> borrow_tensor(PyObject* object, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(at::Tensor tensor, weight_tensor(object, name));
  CaptureWeight weight;
  weight.dtype = *from_scalar_type(tensor.scalar_type());
  weight.shape = tensor.sizes().vec();
  weight.strides = tensor.strides().vec();
  weight.data = tensor.data_ptr();
  weight.owner = std::make_shared<at::Tensor>(std::move(tensor));
  return weight;
}

Result<WeightView> weight_view(PyObject* object, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(at::Tensor tensor, weight_tensor(object, name));
  tensor = tensor.contiguous();
  WeightView weight;
  weight.name = name;
  weight.dtype = *from_scalar_type(tensor.scalar_type());
  weight.shape = tensor.sizes().vec();
  weight.data = tensor.data_ptr();
  weight.bytes = tensor.nbytes();
  weight.owner = std::make_shared<at::Tensor>(std::move(tensor));
  return weight;
}

}  // namespace kiln
