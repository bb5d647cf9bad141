// "cuda.cudnn_conv": convolutions by cuDNN, with an addend, a bias and an activation.
#include <utility>

#include "backends/cuda/runtime/cublaslt_step.h"
#include "backends/cuda/runtime/cudnn_conv.h"
#include "backends/cuda/runtime/library_tuner.h"
#include "backends/cuda/runtime/step_operands.h"
#include "base/status.h"
#include "runtime/device_runtime.h"
#include "runtime/step.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.cudnn_conv";
constexpr int64_t kMaxWindow = int64_t{1} << 20;  // stride, padding, dilation

Status bad(std::string what) {
  return Status::error("K3212", "convolution step: " + std::move(what));
}

class BoundConv : public BoundStep {
 public:
  std::unique_ptr<CudnnConv> conv;  // null: the result is empty
  int bias = -1, add = -1;          // inputs

  size_t scratch_bytes() const override { return conv == nullptr ? 0 : conv->workspace_bytes(); }
  Status run(const RunArgs& args) override {
    if (conv == nullptr) return {};
    return conv->run({args.inputs[0], args.inputs[1], bias < 0 ? nullptr : args.inputs[bias],
                      add < 0 ? nullptr : args.inputs[add], args.outputs[0], args.scratch,
                      static_cast<CUstream>(args.stream)});
  }
  Replay replay() const override { return Replay::kSameAddresses; }
  std::string implementation() const override {
    return conv == nullptr ? "cudnn:nothing" : "cudnn:" + conv->engine();
  }
};

class ConvStep : public Step {
 public:
  ConvStep(CudnnConvStepParams params, DeviceRuntime& device)
      : params_(std::move(params)), device_(device) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    auto bound = std::make_unique<BoundConv>();
    int next = 2;
    if (params_.bias) bound->bias = next++;
    if (params_.add) bound->add = next++;
    CudnnConv::Operands operands{context.inputs[0], context.inputs[1], context.outputs[0], {}, 16};
    KILN_RETURN_IF_ERROR(check_dense_operands(kName, context, operands.y.dtype));
    if (params_.add) operands.add = context.inputs[static_cast<size_t>(bound->add)];
    if (params_.bias) {
      const ConcreteView& bias = context.inputs[static_cast<size_t>(bound->bias)];
      if (bias.rank() != 1 || operands.y.rank() < 2 || bias.dims[0] != operands.y.dims[1] ||
          !bias.is_contiguous()) {
        return bad("bias does not fit");
      }
      operands.bias_alignment = alignment_of(bias);
    }
    if (operands.y.num_elements() == 0) return std::unique_ptr<BoundStep>(std::move(bound));
    const ScopedDevice scope(device_);
    const bool tune = params_.tune && !device_.is_recording(device_.current_stream());
    KILN_ASSIGN_OR_RETURN(bound->conv,
                          CudnnConv::create(params_, operands, device_.device().index, tune));
    if (tune) tune_conv(*bound->conv, operands, device_.device().index);
    return std::unique_ptr<BoundStep>(std::move(bound));
  }

 private:
  CudnnConvStepParams params_;
  DeviceRuntime& device_;
};

Result<std::unique_ptr<Step>> make(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(CudnnConvStepParams params, CudnnConvStepParams::from_json(desc.params));
  KILN_ASSIGN_OR_RETURN(DeviceRuntime * device, cuda_device_of(kName, environment));
  const size_t inputs = 2 + (params.bias ? 1u : 0u) + (params.add ? 1u : 0u);
  if (desc.inputs.size() != inputs || desc.outputs.size() != 1) {
    return bad("wrong number of operands");
  }
  return std::unique_ptr<Step>(new ConvStep(std::move(params), *device));
}

KILN_STEP(cuda_cudnn_conv, kName, make);

Result<std::vector<int64_t>> window_at(const Json& json, std::string_view key, size_t count,
                                       int64_t low) {
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> values, json.ints_at(key));
  if (values.size() < 1 || values.size() > 3 || (count != 0 && values.size() != count)) {
    return bad("wrong number of entries in '" + std::string(key) + "'");
  }
  for (const int64_t value : values) {
    if (value < low || value > kMaxWindow) {
      return bad("number out of range in '" + std::string(key) + "'");
    }
  }
  return values;
}

}  // namespace

Json CudnnConvStepParams::to_json() const {
  Json json = Json::object();
  json.set("stride", stride);
  json.set("padding_low", padding_low);
  json.set("padding_high", padding_high);
  json.set("dilation", dilation);
  json.set("groups", groups);
  json.set("transposed", transposed);
  json.set("bias", bias);
  json.set("add", add);
  activation.add_to(json);
  json.set("allow_tf32", allow_tf32);
  json.set("tune", tune);
  json.set("workspace_bytes", workspace_bytes);
  return json;
}

Result<CudnnConvStepParams> CudnnConvStepParams::from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(check_members(
      kName, json,
      {"stride", "padding_low", "padding_high", "dilation", "groups", "transposed", "bias", "add",
       "activation", "alpha", "beta", "allow_tf32", "tune", "workspace_bytes"}));
  CudnnConvStepParams p;
  KILN_ASSIGN_OR_RETURN(p.stride, window_at(json, "stride", 0, 1));
  const size_t count = p.stride.size();
  KILN_ASSIGN_OR_RETURN(p.padding_low, window_at(json, "padding_low", count, 0));
  KILN_ASSIGN_OR_RETURN(p.padding_high, window_at(json, "padding_high", count, 0));
  KILN_ASSIGN_OR_RETURN(p.dilation, window_at(json, "dilation", count, 1));
  KILN_ASSIGN_OR_RETURN(p.groups, json.int_at("groups", 1, int64_t{1} << 30));
  KILN_ASSIGN_OR_RETURN(p.transposed, json.bool_at("transposed"));
  KILN_ASSIGN_OR_RETURN(p.bias, json.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(p.add, json.bool_at("add"));
  KILN_ASSIGN_OR_RETURN(p.activation, KernelActivation::from_json(json));
  KILN_ASSIGN_OR_RETURN(p.allow_tf32, json.bool_at("allow_tf32"));
  KILN_ASSIGN_OR_RETURN(p.tune, json.bool_at("tune"));
  KILN_ASSIGN_OR_RETURN(p.workspace_bytes, json.int_at("workspace_bytes", 0, kMaxLibraryWorkspace));
  return p;
}

}  // namespace kiln::cuda
