#include "torch/python/weight_tensor.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>

#include "base/status.h"
#include "torch/dtype_conversion.h"
#include "torch/torch_device.h"

namespace kiln {

Result<at::Tensor> weight_tensor(PyObject* object, const std::string& name) {
  if (!THPVariable_Check(object)) return Status::error("K1111", "weight is no tensor: " + name);
  at::Tensor tensor = THPVariable_Unpack(object);
  const auto dtype = from_scalar_type(tensor.scalar_type());
  if (!dtype || !from_torch(tensor.device()) || tensor.layout() != c10::kStrided) {
    return Status::error(
        "K1111", "weight must be a strided tensor on the cpu or a gpu, of a known dtype: " + name);
  }
  return tensor.resolve_conj().resolve_neg();
}

Result<CaptureWeight> borrow_tensor(PyObject* object, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(at::Tensor tensor, weight_tensor(object, name));
  tensor = tensor.cpu();  // the compiler reads values; the program gets the tensor itself
  CaptureWeight weight;
  weight.dtype = *from_scalar_type(tensor.scalar_type());
  weight.shape = tensor.sizes().vec();
  weight.strides = tensor.strides().vec();
  weight.data = tensor.data_ptr();
  weight.owner = std::make_shared<at::Tensor>(std::move(tensor));
  return weight;
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
