// What Kiln's kernels for products of 16-bit floats have in common:
// activation(alpha A B + bias + d).
#pragma once

#include "backends/cuda/runtime/kernel_activation.h"
#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct ProductKernel {
  DType dtype = DType::kF16;
  double alpha = 1;
  bool bias = false;
  bool add = false;  // d
  KernelActivation activation;
  bool wide = true;
  KernelSizes sizes;

  // These as members of a kernel's parameters.
  void add_to(Json& params) const;
  Status read(const Json& params);  // K3212
  // A 16-bit float, a finite factor.
  bool is_valid() const;
};

}  // namespace kiln::cuda
