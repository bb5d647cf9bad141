// The memory of a tensor as a weight of a captured program.
#pragma once

#include <ATen/ATen.h>

#include <kiln/capture.h>

#include "base/status.h"
#include "torch/dtype_conversion.h"
#include "torch/torch_device.h"

namespace kiln {

// The tensor itself, ready to be a weight. K1111 for what cannot be one: neither on the CPU nor on
// a GPU, not strided, a dtype that Kiln has not.
inline Result<at::Tensor> as_weight(const at::Tensor& tensor, const std::string& name) {
  const auto dtype = from_scalar_type(tensor.scalar_type());
  if (!dtype || !from_torch(tensor.device()) || tensor.layout() != c10::kStrided) {
    return Status::error(
        "K1111", "weight must be a strided tensor on the cpu or a gpu, of a known dtype: " + name);
  }
  return tensor.resolve_conj().resolve_neg();
}

// Borrows the tensor's memory and keeps the tensor alive; of a tensor on a GPU, a copy on the CPU.
// K1111 as above.
inline Result<CaptureWeight> borrow_weight(const at::Tensor& given, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(at::Tensor tensor, as_weight(given, name));
  tensor = tensor.cpu();  // the compiler reads values; the program gets the tensor itself
  CaptureWeight weight;
  weight.dtype = *from_scalar_type(tensor.scalar_type());
  weight.shape = tensor.sizes().vec();
  weight.strides = tensor.strides().vec();
  weight.data = tensor.data_ptr();
  weight.owner = std::make_shared<at::Tensor>(std::move(tensor));
  return weight;
}

}  // namespace kiln
