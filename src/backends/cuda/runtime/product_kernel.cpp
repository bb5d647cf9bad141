#include "backends/cuda/runtime/product_kernel.h"

#include <cmath>

#include "base/status.h"

namespace kiln::cuda {

void ProductKernel::add_to(Json& params) const {
  params.set("dtype", dtype_name(dtype));
  params.set("factor", alpha);
  params.set("bias", bias);
  params.set("add", add);
  activation.add_to(params);
  params.set("wide", wide);
  params.set("sizes", sizes.to_json());
}

Status ProductKernel::read(const Json& params) {
  KILN_ASSIGN_OR_RETURN(dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(alpha, params.double_at("factor"));
  KILN_ASSIGN_OR_RETURN(bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(add, params.bool_at("add"));
  KILN_ASSIGN_OR_RETURN(activation, KernelActivation::from_json(params));
  KILN_ASSIGN_OR_RETURN(wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(sizes, KernelSizes::from_json(params));
  return {};
}

bool ProductKernel::is_valid() const {
  return is_half(dtype) && std::isfinite(alpha);
}

}  // namespace kiln::cuda
