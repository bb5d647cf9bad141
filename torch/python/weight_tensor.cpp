#include "torch/python/weight_tensor.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/python_variable.h>

#include "torch/dtype_conversion.h"

namespace kiln {

Result<CaptureWeight> borrow_tensor(PyObject* object, const std::string& name) {
  if (!THPVariable_Check(object)) return Status::error("K1111", "weight is no tensor: " + name);
  at::Tensor tensor = THPVariable_Unpack(object);
  const auto dtype = from_scalar_type(tensor.scalar_type());
  if (!dtype || !tensor.is_cpu() || tensor.layout() != c10::kStrided) {
    return Status::error("K1111",
                         "weight must be a strided tensor on the cpu of a known dtype: " + name);
  }
  tensor = tensor.resolve_conj().resolve_neg();
  CaptureWeight weight;
  weight.dtype = *dtype;
  weight.shape = tensor.sizes().vec();
  weight.strides = tensor.strides().vec();
  weight.data = tensor.data_ptr();
  weight.owner = std::make_shared<at::Tensor>(std::move(tensor));
  return weight;
}

}  // namespace kiln
