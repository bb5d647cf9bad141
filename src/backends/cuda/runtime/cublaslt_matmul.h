// One product by cuBLASLt at concrete shapes: descriptors, algorithm, calls.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/cublaslt_api.h"
#include "backends/cuda/runtime/cublaslt_problem.h"
#include "core/dtype.h"

namespace kiln::cuda {

enum class MatmulActivation : uint8_t { kNone, kRelu, kGeluTanh };

// d = activation(alpha a b + c + bias). Sums are kept in f32 (f64 for f64), and f32 operands are
// not rounded unless `allow_tf32`.
struct CublasLtParams {
  CublasLtProblem problem;
  DType dtype = DType::kF32;  // of all operands: f32, f64, f16, bf16
  double alpha = 1;
  bool add = false;   // c
  bool bias = false;  // one element a row of the column-major d
  MatmulActivation activation = MatmulActivation::kNone;
  bool allow_tf32 = false;
  int device = 0;
  size_t max_workspace_bytes = 0;
  int max_candidates = 8;  // algorithms that the heuristics are asked for
  // Bytes that the addresses of a, b, c, d and the bias are multiples of, in the problem's order.
  std::array<uint32_t, 4> alignments{16, 16, 16, 16};
  uint32_t bias_alignment = 16;

  // Everything that the choice among algorithms depends on, as text.
  std::string key() const;
};

class CublasLtMatmul {
 public:
  // Picks the algorithm that the library's heuristics think best (asked once per key in a process).
  // Needs the device's context. K5307, K5308; also when the library has no algorithm.
  static Result<std::unique_ptr<CublasLtMatmul>> create(const CublasLtParams& params);

  struct Args {
    const void* a;  // in the problem's order
    const void* b;
    const void* c;     // null without
    const void* bias;  // null without
    void* d;
    void* workspace;  // workspace_bytes()
    CUstream stream;
  };
  // Thread-safe; allocates nothing. K5308.
  Status run(const Args& args) const;

  // Candidate `candidate` for the first of the problem's calls; for the tuner.
  Status run_once(size_t candidate, const Args& args) const;

  // What the heuristics have found, best first; at least one. The tuner tries them.
  const std::vector<CublasLtHeuristic>& candidates() const { return *candidates_; }
  void choose(size_t candidate) { chosen_ = candidate; }
  size_t chosen() const { return chosen_; }
  size_t workspace_bytes() const { return (*candidates_)[chosen_].workspace_bytes; }
  const CublasLtParams& params() const { return params_; }

 private:
  CublasLtMatmul() = default;
  Result<CublasLtMatmulDesc> make_desc(const void* bias) const;
  Status run_calls(const CublasLtHeuristic& algorithm, size_t calls, const Args& args) const;

  const CublasLt* library_ = nullptr;
  CublasLtHandle handle_ = nullptr;
  CublasLtParams params_;
  std::array<CublasLtMatrixLayout, 4> layouts_{};
  CublasLtMatmulDesc desc_{};  // without a bias
  std::shared_ptr<const std::vector<CublasLtHeuristic>> candidates_;
  size_t chosen_ = 0;
};

}  // namespace kiln::cuda
