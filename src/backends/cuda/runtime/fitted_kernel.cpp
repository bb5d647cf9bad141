#include "backends/cuda/runtime/fitted_kernel.h"

#include "backends/cuda/runtime/multistage_gemm.h"

namespace kiln::cuda {

std::optional<KernelDesc> fitted_kernel(const KernelDesc& kernel, int64_t shared_bytes) {
  // Other kernels for all GPUs stay below what the smallest of them has.
  if (kernel.family != MultistageGemm::kFamily) return std::nullopt;
  Result<MultistageGemm> described = MultistageGemm::from_json(kernel.params);
  if (!described.ok()) return std::nullopt;  // an error of whoever prints or launches it
  const GemmTiling fitting = with_fitting_stages(described->tiling, shared_bytes);
  if (fitting == described->tiling) return std::nullopt;
  described->tiling = fitting;
  return KernelDesc{kernel.family, described->to_json()};
}

}  // namespace kiln::cuda
