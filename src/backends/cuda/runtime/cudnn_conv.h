// Convolutions by cuDNN at concrete shapes, with an addend, a bias and an activation.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/cudnn_graph.h"
#include "backends/cuda/runtime/kernel_activation.h"
#include "base/json.h"
#include "runtime/step.h"

namespace kiln::cuda {

// Parameters of "cuda.cudnn_conv" steps. Inputs x [n, c, spatial...], w as torch stores it ([k,
// c / groups, window...], or [c, k / groups, window...] when transposed), then bias [k] and an
// addend of the result's shape where the params say so; output y [n, k, spatial...]; all of one
// dtype, one to three spatial dims, any strides that cuDNN has an engine for.
//   y = activation(conv(x, w) + addend + bias)
struct CudnnConvStepParams {
  std::vector<int64_t> stride, padding_low, padding_high, dilation;  // one entry a spatial dim
  int64_t groups = 1;
  bool transposed = false;
  bool bias = false;
  bool add = false;
  KernelActivation activation;
  bool allow_tf32 = false;
  bool tune = false;
  int64_t workspace_bytes = 0;

  Json to_json() const;
  // K3212.
  static Result<CudnnConvStepParams> from_json(const Json& json);
};

class CudnnConv {
 public:
  struct Operands {
    ConcreteView x, w, y, add;  // add only with one
    uint32_t bias_alignment = 16;
  };

  // Has the library an engine on a device that is described by its compute capability? ok also
  // where the library (before 9.8) cannot say. K5308 with its reason, K3212 when the operands do
  // not fit, K5307 without the library.
  static Status supports(const CudnnConvStepParams& params, const Operands& operands, int sm,
                         int multiprocessors);

  // For the device that is current, number `device`. Of the engines that the heuristics offer the
  // first whose plan can be made and fits into the workspace; all such when `all`, for the tuner.
  static Result<std::unique_ptr<CudnnConv>> create(const CudnnConvStepParams& params,
                                                   const Operands& operands, int device, bool all);

  struct Args {
    const void* x;
    const void* w;
    const void* bias;  // null without
    const void* add;   // null without
    void* y;
    void* workspace;
    CUstream stream;
  };
  Status run(const Args& args) const { return run_plan(chosen_, args); }
  Status run_plan(size_t plan, const Args& args) const;

  const std::vector<std::unique_ptr<CudnnPlan>>& plans() const { return plans_; }
  // Keeps this plan alone.
  void choose(size_t plan);
  size_t workspace_bytes() const { return plans_[chosen_]->workspace_bytes(); }
  const std::string& engine() const { return plans_[chosen_]->engine(); }
  bool has_bias() const { return bias_; }
  bool has_add() const { return add_; }
  const std::string& key() const { return key_; }  // the problem, for the timing cache

 private:
  CudnnConv() = default;
  const Cudnn* library_ = nullptr;
  int device_ = 0;
  std::vector<int64_t> ids_;  // x, w, y, then bias and addend where there are
  std::vector<std::unique_ptr<CudnnPlan>> plans_;
  size_t chosen_ = 0;
  bool bias_ = false, add_ = false;
  std::string key_;
};

}  // namespace kiln::cuda
