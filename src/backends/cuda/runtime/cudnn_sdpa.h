// Scaled dot product attention by cuDNN at concrete shapes.
//
// The graph is the one that its attention engines recognise: product, scale, mask, softmax in its
// parts, product. The operation of its own that cuDNN has had since 9.13 takes neither a mask nor
// causal attention before 9.21.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/cudnn_graph.h"
#include "base/json.h"
#include "runtime/step.h"

namespace kiln::cuda {

// Parameters of "cuda.cudnn_sdpa" steps. Inputs q [batch, heads, q_len, head_dim], k [batch,
// kv_heads, kv_len, head_dim], v [batch, kv_heads, kv_len, value_dim], then a mask that is added to
// the scores [batch or 1, heads or 1, q_len or 1, kv_len]; output [batch, heads, q_len, value_dim];
// all f16 or bf16. `heads` is a multiple of kv_heads, whose neighbours share a head of k and v.
// Causal: query i sees keys up to i, counted from the first. A row that sees no key gives zeros.
struct CudnnSdpaStepParams {
  double scale = 1;
  bool causal = false;
  bool mask = false;
  bool tune = false;
  int64_t workspace_bytes = 0;
  // The step that computes the same where cuDNN does not, or where it is faster: its kind and its
  // params. Empty: none, then what cuDNN does not compute is an error.
  std::string otherwise_kind;
  Json otherwise_params;

  Json to_json() const;
  // K3212.
  static Result<CudnnSdpaStepParams> from_json(const Json& json);
};

class CudnnSdpa {
 public:
  struct Operands {
    ConcreteView q, k, v, out, mask;  // mask only with one
  };

  // Whether cuDNN computes it, and rightly. K5308 with the reason, K3212 when the operands do not
  // fit each other, K5307 without the library. By rules that need no device: dtypes and sizes,
  // strides (cuDNN 9.19 crashes on a last one that is not 1), alignments that its loads rely on.
  static Status takes(const CudnnSdpaStepParams& params, const Operands& operands);
  // The same, and the library has an engine on a device that is described by its compute
  // capability; only asked where there is a driver, without which it offers no attention.
  static Status supports(const CudnnSdpaStepParams& params, const Operands& operands, int sm,
                         int multiprocessors);

  // For the device that is current, number `device`, with the plan of the first engine that fits
  // into the workspace; `all`: with all such, for the tuner. Making a plan compiles a kernel, which
  // takes up to a second, so equal problems share one as long as somebody holds it (not with
  // `all`).
  static Result<std::shared_ptr<CudnnSdpa>> create(const CudnnSdpaStepParams& params,
                                                   const Operands& operands, int device, bool all);
  // The one with the plan of this engine alone.
  static Result<std::shared_ptr<CudnnSdpa>> create_with(const CudnnSdpaStepParams& params,
                                                        const Operands& operands, int device,
                                                        const std::string& engine);
  // The engines that there may be plans of, by name, best first. Takes milliseconds.
  static Result<std::vector<std::string>> engines(const CudnnSdpaStepParams& params,
                                                  const Operands& operands, int device);
  // The problem, for the timing cache.
  static Result<std::string> key(const CudnnSdpaStepParams& params, const Operands& operands);

  struct Args {
    const void* q;
    const void* k;
    const void* v;
    const void* mask;  // null without
    void* out;
    void* workspace;
    CUstream stream;
  };
  Status run(const Args& args) const { return run_plan(0, args); }
  Status run_plan(size_t plan, const Args& args) const;

  const std::vector<std::unique_ptr<CudnnPlan>>& plans() const { return plans_; }
  // This plan alone, of one that was made with `all`.
  void choose(size_t plan);
  bool has_mask() const { return ids_.size() > 4; }
  size_t workspace_bytes() const { return plans_[0]->workspace_bytes(); }
  const std::string& engine() const { return plans_[0]->engine(); }

 private:
  CudnnSdpa() = default;
  static Result<std::shared_ptr<CudnnSdpa>> make(const CudnnSdpaStepParams& params,
                                                 const Operands& operands, int device, bool all,
                                                 const std::string& engine);
  const Cudnn* library_ = nullptr;
  int device_ = 0;
  std::vector<int64_t> ids_;  // q, k, v, out, mask
  std::vector<std::unique_ptr<CudnnPlan>> plans_;
};

}  // namespace kiln::cuda
