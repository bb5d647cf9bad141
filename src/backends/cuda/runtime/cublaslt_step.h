// Parameters of "cuda.cublaslt" steps.
#pragma once

#include "backends/cuda/runtime/cublaslt_matmul.h"
#include "base/json.h"

namespace kiln::cuda {

// Inputs a [batch..., m, k], b [batch..., k, n], then bias [n] and c (as the result) where the
// params say so; output d [batch..., m, n]; all of one rank and dtype, batch dims of a and b d's or
// 1, any strides with a dense dim among the last two.
struct CublasLtStepParams {
  double alpha = 1;
  bool bias = false;
  bool add = false;  // c
  MatmulActivation activation = MatmulActivation::kNone;
  bool allow_tf32 = false;
  bool tune = false;  // time the candidates when a shape is bound
  int64_t workspace_bytes = 0;

  Json to_json() const;
  // K3212.
  static Result<CublasLtStepParams> from_json(const Json& json);
};

// Scratch memory that libraries get on a device of compute capability `sm`.
constexpr int64_t kMaxLibraryWorkspace = int64_t{1} << 30;
constexpr int64_t library_workspace_bytes(int sm) {
  return sm >= 90 ? int64_t{32} << 20 : int64_t{8} << 20;
}

}  // namespace kiln::cuda
