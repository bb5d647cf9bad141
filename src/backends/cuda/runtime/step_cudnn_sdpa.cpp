// "cuda.cudnn_sdpa": attention by cuDNN, or by the step that it replaces where cuDNN does not
// compute it, where queries are few, and where that step was measured to be faster.
#include <cmath>
#include <utility>

#include "backends/cuda/runtime/attention_kernel.h"
#include "backends/cuda/runtime/cublaslt_step.h"
#include "backends/cuda/runtime/cudnn_sdpa.h"
#include "backends/cuda/runtime/library_tuner.h"
#include "backends/cuda/runtime/step_operands.h"
#include "base/log.h"
#include "base/options.h"
#include "base/status.h"
#include "runtime/device_runtime.h"
#include "runtime/step.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.cudnn_sdpa";
constexpr std::string_view kOwnStep = "cuda.attention";
// What stays with the other step unless measured otherwise, where its kernel is by warps: fewer
// queries, which do not fill a tile of cuDNN's kernels, and fewer scores in all, where clearing
// cuDNN's workspace costs more than its kernel saves (H200, heads of 64: 12 heads of 128 tokens
// 4.3 us against 4.7 and 1.3 for the clearing; 12 heads of 512 tokens 12.9 against 9.4). Kernels by
// warpgroups stay for longer: AttentionStepParams::preferred_keys.
constexpr int64_t kFewQueries = 64, kFewScores = int64_t{1} << 19;

bool is_small(const ConcreteView& q, const ConcreteView& k) {
  return q.dims[2] < kFewQueries || q.dims[0] * q.dims[1] * q.dims[2] * k.dims[2] < kFewScores;
}

class BoundSdpa : public BoundStep {
 public:
  explicit BoundSdpa(std::shared_ptr<const CudnnSdpa> sdpa) : sdpa_(std::move(sdpa)) {}

  size_t scratch_bytes() const override { return sdpa_->workspace_bytes(); }
  Status run(const RunArgs& args) override {
    return sdpa_->run({args.inputs[0], args.inputs[1], args.inputs[2],
                       sdpa_->has_mask() ? args.inputs[3] : nullptr, args.outputs[0], args.scratch,
                       static_cast<CUstream>(args.stream)});
  }
  Replay replay() const override { return Replay::kSameAddresses; }
  std::string implementation() const override { return "cudnn:" + sdpa_->engine(); }

 private:
  std::shared_ptr<const CudnnSdpa> sdpa_;
};

class BoundNothing : public BoundStep {
 public:
  Status run(const RunArgs&) override { return {}; }
  Replay replay() const override { return Replay::kSameAddresses; }
  std::string implementation() const override { return "cudnn:nothing"; }
};

class SdpaStep : public Step {
 public:
  // `preferred_keys`: with no more keys, `otherwise` is expected to be faster.
  SdpaStep(CudnnSdpaStepParams params, std::unique_ptr<Step> otherwise, int64_t preferred_keys,
           DeviceRuntime& device)
      : params_(std::move(params)),
        otherwise_(std::move(otherwise)),
        preferred_keys_(preferred_keys),
        device_(device) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    for (const auto* views : {&context.inputs, &context.outputs}) {
      for (const ConcreteView& view : *views) {
        if (view.packed != nullptr) {
          return Status::error("K3212", "attention step: an operand is a packed constant");
        }
      }
    }
    std::unique_ptr<BoundStep> otherwise;
    if (otherwise_ != nullptr) {
      KILN_ASSIGN_OR_RETURN(otherwise, otherwise_->bind(context));
    }
    if (context.outputs[0].num_elements() == 0) {
      if (otherwise != nullptr) return otherwise;
      return std::unique_ptr<BoundStep>(new BoundNothing);
    }
    CudnnSdpa::Operands operands{
        context.inputs[0], context.inputs[1], context.inputs[2], context.outputs[0], {}};
    if (params_.mask) operands.mask = context.inputs[3];
    auto chosen = choose(operands, otherwise.get());
    if (!chosen.ok()) {
      if (otherwise == nullptr) return chosen.status();
      KILN_LOG(kRuntime, kInfo) << "attention without cuDNN: " << chosen.status().to_string();
    } else if (*chosen != nullptr) {
      return std::unique_ptr<BoundStep>(new BoundSdpa(std::move(chosen).value()));
    }
    return otherwise;
  }

 private:
  // Null: `otherwise`.
  Result<std::shared_ptr<CudnnSdpa>> choose(const CudnnSdpa::Operands& operands,
                                            BoundStep* otherwise) const {
    KILN_RETURN_IF_ERROR(CudnnSdpa::takes(params_, operands));
    const ScopedDevice scope(device_);
    const int device = device_.device().index;
    if (params_.tune && !device_.is_recording(device_.current_stream())) {
      return tune_sdpa(params_, operands, otherwise, device);
    }
    const bool never_own = debug_options().attention_tilings == "none";
    if (otherwise != nullptr && !never_own &&
        (operands.k.dims[2] <= preferred_keys_ || is_small(operands.q, operands.k))) {
      return std::shared_ptr<CudnnSdpa>();
    }
    return CudnnSdpa::create(params_, operands, device, false);
  }

  CudnnSdpaStepParams params_;
  std::unique_ptr<Step> otherwise_;
  int64_t preferred_keys_;
  DeviceRuntime& device_;
};

// Of the own step; 0 where the GPU does not have the kernel that is meant.
Result<int64_t> preferred_keys(const Json& own, const StepEnvironment& environment, int device) {
  KILN_ASSIGN_OR_RETURN(const AttentionStepParams params, AttentionStepParams::from_json(own));
  if (params.preferred_keys == 0) return 0;
  KILN_ASSIGN_OR_RETURN(const auto code, kernel_code(environment));
  KILN_ASSIGN_OR_RETURN(const int capability, compute_capability(*code, device));
  return capability == AttentionKernel::kWarpgroupCapability ? params.preferred_keys : 0;
}

Result<std::unique_ptr<Step>> make(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(CudnnSdpaStepParams params, CudnnSdpaStepParams::from_json(desc.params));
  KILN_ASSIGN_OR_RETURN(DeviceRuntime * device, cuda_device_of(kName, environment));
  if (desc.inputs.size() != (params.mask ? 4u : 3u) || desc.outputs.size() != 1) {
    return Status::error("K3212", "attention step: wrong number of operands");
  }
  std::unique_ptr<Step> otherwise;
  int64_t own_keys = 0;
  if (!params.otherwise_kind.empty()) {
    KILN_ASSIGN_OR_RETURN(own_keys, preferred_keys(params.otherwise_params, environment,
                                                   device->device().index));
    StepDesc other = desc;
    other.kind = params.otherwise_kind;
    other.params = params.otherwise_params;
    KILN_ASSIGN_OR_RETURN(otherwise, StepRegistry::global().create(other, environment));
  }
  return std::unique_ptr<Step>(
      new SdpaStep(std::move(params), std::move(otherwise), own_keys, *device));
}

KILN_STEP(cuda_cudnn_sdpa, kName, make);

}  // namespace

Json CudnnSdpaStepParams::to_json() const {
  Json json = Json::object();
  json.set("scale", scale);
  json.set("causal", causal);
  json.set("mask", mask);
  json.set("tune", tune);
  json.set("workspace_bytes", workspace_bytes);
  if (!otherwise_kind.empty()) {
    Json otherwise = Json::object();
    otherwise.set("kind", otherwise_kind);
    otherwise.set("params", otherwise_params);
    json.set("otherwise", std::move(otherwise));
  }
  return json;
}

Result<CudnnSdpaStepParams> CudnnSdpaStepParams::from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(check_members(
      kName, json, {"scale", "causal", "mask", "tune", "workspace_bytes", "otherwise"}));
  CudnnSdpaStepParams p;
  KILN_ASSIGN_OR_RETURN(p.scale, json.double_at("scale"));
  KILN_ASSIGN_OR_RETURN(p.causal, json.bool_at("causal"));
  KILN_ASSIGN_OR_RETURN(p.mask, json.bool_at("mask"));
  KILN_ASSIGN_OR_RETURN(p.tune, json.bool_at("tune"));
  KILN_ASSIGN_OR_RETURN(p.workspace_bytes, json.int_at("workspace_bytes", 0, kMaxLibraryWorkspace));
  if (!std::isfinite(p.scale)) {
    return Status::error("K3212", "attention step: the scale is not finite");
  }
  if (const Json* otherwise = json.find("otherwise")) {
    KILN_RETURN_IF_ERROR(check_members(kName, *otherwise, {"kind", "params"}));
    KILN_ASSIGN_OR_RETURN(p.otherwise_kind, otherwise->string_at("kind"));
    const Json* params = otherwise->find("params");
    // A step on the same operands, on the same device; nothing else fits.
    if (p.otherwise_kind != kOwnStep || params == nullptr) {
      return Status::error("K3212",
                           "attention step: '" + p.otherwise_kind + "' cannot stand in for it");
    }
    p.otherwise_params = *params;
  }
  return p;
}

}  // namespace kiln::cuda
