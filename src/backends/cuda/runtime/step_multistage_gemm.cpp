// "cuda.multistage_gemm": products of 16-bit matrices by Kiln's own kernels for few tiles, or by
// the library's step that may come with them, whatever was measured to be fastest.
#include <algorithm>
#include <utility>

#include "backends/cuda/runtime/library_tuner.h"
#include "backends/cuda/runtime/multistage_gemm.h"
#include "backends/cuda/runtime/step_operands.h"
#include "backends/cuda/runtime/warpgroup_gemm.h"
#include "base/status.h"
#include "runtime/device_runtime.h"
#include "runtime/step.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.multistage_gemm";
constexpr std::string_view kLibraryStep = "cuda.cublaslt";

struct Variant {
  StepKernel kernel;
  MultistageGemm params;
};
struct WarpgroupVariant {
  StepKernel kernel;
  WarpgroupGemm params;
};

struct DeviceKind {
  int capability = 0;  // 90
  int multiprocessors = 0;
};

class MultistageGemmStep : public Step {
 public:
  MultistageGemmStep(std::vector<Variant> variants, std::vector<WarpgroupVariant> warpgroups,
                     bool tune, std::unique_ptr<Step> otherwise, DeviceRuntime& device)
      : variants_(std::move(variants)),
        warpgroups_(std::move(warpgroups)),
        tune_(tune),
        otherwise_(std::move(otherwise)),
        device_(device) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    KILN_ASSIGN_OR_RETURN(const DeviceKind kind, device_kind(*variants_[0].kernel.code));
    const size_t warpgroups =
        kind.capability == WarpgroupGemm::kComputeCapability ? warpgroups_.size() : 0;
    const size_t others = variants_.size() + (otherwise_ != nullptr ? 1 : 0);
    const bool tune = tune_ && warpgroups + others > 1 &&
                      context.outputs[0].num_elements() != 0 &&
                      !device_.is_recording(device_.current_stream());
    // A GPU that the kernels were not chosen for.
    const bool other_device = !warpgroups_.empty() && warpgroups == 0;
    if (!tune && other_device && otherwise_ != nullptr) return otherwise_->bind(given);
    std::vector<std::unique_ptr<BoundStep>> bound;
    for (size_t i = 0; i < warpgroups && (tune || i == 0); ++i) {
      KILN_ASSIGN_OR_RETURN(std::unique_ptr<BoundStep> one,
                            bind_warpgroup_gemm(warpgroups_[i].kernel, warpgroups_[i].params,
                                                context, kind.multiprocessors));
      bound.push_back(std::move(one));
    }
    for (size_t i = 0; i < variants_.size() && (tune || bound.empty()); ++i) {
      KILN_ASSIGN_OR_RETURN(std::unique_ptr<BoundStep> one,
                            bind_variant(variants_[i], context, kind.capability >= 90));
      bound.push_back(std::move(one));
    }
    if (!tune) return std::move(bound[0]);
    if (otherwise_ != nullptr) {
      KILN_ASSIGN_OR_RETURN(std::unique_ptr<BoundStep> one, otherwise_->bind(given));
      bound.push_back(std::move(one));
    }
    return fastest_step(problem(), context, std::move(bound), device_);
  }

 private:
  // `clusters`: whether the device has such (device/cluster.h).
  Result<std::unique_ptr<BoundStep>> bind_variant(const Variant& variant,
                                                  const BindContext& context,
                                                  bool clusters) const {
    const MultistageGemm& params = variant.params;
    const GemmTiling& tiling = params.tiling;
    std::vector<const ConcreteView*> views;
    std::vector<Argument> arguments;
    for (size_t i = 0; i < context.inputs.size(); ++i) {
      views.push_back(&context.inputs[i]);
      arguments.push_back(Argument::input(static_cast<int>(i)));
    }
    arguments.push_back(Argument::output(0));
    const ConcreteView *a = views[0], *b = views[1];
    const ConcreteView* bias = params.bias ? views[2] : nullptr;
    const ConcreteView* d = params.add ? views[params.bias ? 3 : 2] : nullptr;
    const ConcreteView& c = context.outputs[0];
    views.push_back(&c);
    for (const ConcreteView* view : views) {
      KILN_RETURN_IF_ERROR(check_dtype(kName, *view, params.dtype));
      KILN_RETURN_IF_ERROR(check_narrow(params.wide, {view}));
    }
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes,
                          multistage_gemm_sizes(*a, *b, bias, d, c));
    const bool four = takes_width(c, 1, 4) && (d == nullptr || takes_width(*d, 1, 4)) &&
                      (bias == nullptr || takes_width(*bias, 0, 4));
    if (!takes_width(*a, 1, 8) || !takes_width(*b, 0, 8) || (params.four && !four)) {
      return Status::error("K3212",
                           "multistage_gemm kernel: operands are not aligned as it needs them");
    }
    KILN_RETURN_IF_ERROR(params.sizes.bind(sizes, &arguments));
    const int64_t tiles = ceil_div(c.dims[0], tiling.rows) * ceil_div(c.dims[1], tiling.columns);
    Launch launch = launch_blocks(variant.kernel, tiles * (clusters ? tiling.split : 1), arguments,
                                  tiling.threads());
    launch.shared_bytes = tiling.shared_bytes();
    return bind_launch(variant.kernel, std::move(launch), context,
                       "kiln:multistage_gemm " + tiling.to_string());
  }

  Result<DeviceKind> device_kind(const KernelCode& code) const {
    const int device = device_.device().index;
    DeviceKind kind;
    KILN_ASSIGN_OR_RETURN(kind.capability, compute_capability(code, device));
    KILN_ASSIGN_OR_RETURN(kind.multiprocessors,
                          device_attribute(code, device, kAttributeMultiprocessors));
    return kind;
  }

  // What all variants compute, but for the sizes.
  std::string problem() const {
    MultistageGemm params = variants_[0].params;
    params.tiling = {};
    params.sizes = {};
    return "multistage_gemm " + params.to_json().dump();
  }

  std::vector<Variant> variants_;
  std::vector<WarpgroupVariant> warpgroups_;
  bool tune_;
  std::unique_ptr<Step> otherwise_;
  DeviceRuntime& device_;
};

// Kernels of one step differ in their tiling only.
template <class Kernel>
bool same_product(const MultistageGemm& x, const Kernel& y) {
  return x.dtype == y.dtype && x.alpha == y.alpha && x.bias == y.bias && x.add == y.add &&
         x.activation.kind == y.activation.kind && x.activation.alpha == y.activation.alpha &&
         x.activation.beta == y.activation.beta;
}

Result<std::unique_ptr<Step>> make(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(MultistageGemmStepParams params,
                        MultistageGemmStepParams::from_json(desc.params));
  KILN_ASSIGN_OR_RETURN(DeviceRuntime * device, cuda_device_of(kName, environment));
  std::vector<Variant> variants;
  for (int64_t i = 0; i < params.kernels; ++i) {
    Variant variant;
    KILN_ASSIGN_OR_RETURN(variant.kernel,
                          step_kernel(desc, environment, MultistageGemm::kFamily,
                                      MultistageGemmStepParams::kernel_key(i)));
    KILN_ASSIGN_OR_RETURN(variant.params, MultistageGemm::from_json(*variant.kernel.params));
    if (i > 0 && !same_product(variants[0].params, variant.params)) {
      return Status::error("K3212", "multistage_gemm step: its kernels compute different things");
    }
    variants.push_back(std::move(variant));
  }
  const MultistageGemm& first = variants[0].params;
  std::vector<WarpgroupVariant> warpgroups;
  for (int64_t i = 0; i < params.warpgroup_kernels; ++i) {
    WarpgroupVariant variant;
    KILN_ASSIGN_OR_RETURN(variant.kernel,
                          step_kernel(desc, environment, WarpgroupGemm::kFamily,
                                      MultistageGemmStepParams::warpgroup_key(i)));
    KILN_ASSIGN_OR_RETURN(variant.params, WarpgroupGemm::from_json(*variant.kernel.params));
    if (!same_product(first, variant.params)) {
      return Status::error("K3212", "multistage_gemm step: its kernels compute different things");
    }
    warpgroups.push_back(std::move(variant));
  }
  const size_t inputs = 2 + (first.bias ? 1u : 0u) + (first.add ? 1u : 0u);
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  std::unique_ptr<Step> otherwise;
  if (!params.otherwise_kind.empty()) {
    StepDesc other = desc;
    other.kind = params.otherwise_kind;
    other.params = params.otherwise_params;
    KILN_ASSIGN_OR_RETURN(otherwise, StepRegistry::global().create(other, environment));
  }
  return std::unique_ptr<Step>(new MultistageGemmStep(
      std::move(variants), std::move(warpgroups), params.tune, std::move(otherwise), *device));
}

KILN_STEP(cuda_multistage_gemm, kName, make);

}  // namespace

void MultistageGemmStepParams::add_to(Json& params) const {
  params.set("kernels", kernels);
  if (warpgroup_kernels > 0) params.set("warpgroup_kernels", warpgroup_kernels);
  params.set("tune", tune);
  if (otherwise_kind.empty()) return;
  Json otherwise = Json::object();
  otherwise.set("kind", otherwise_kind);
  otherwise.set("params", otherwise_params);
  params.set("otherwise", std::move(otherwise));
}

Result<MultistageGemmStepParams> MultistageGemmStepParams::from_json(const Json& json) {
  MultistageGemmStepParams p;
  KILN_ASSIGN_OR_RETURN(p.kernels, json.int_at("kernels", 1, kMaxKernels));
  if (json.find("warpgroup_kernels") != nullptr) {
    KILN_ASSIGN_OR_RETURN(p.warpgroup_kernels, json.int_at("warpgroup_kernels", 1, kMaxKernels));
  }
  KILN_ASSIGN_OR_RETURN(p.tune, json.bool_at("tune"));
  if (const Json* otherwise = json.find("otherwise")) {
    KILN_RETURN_IF_ERROR(check_members(kName, *otherwise, {"kind", "params"}));
    KILN_ASSIGN_OR_RETURN(p.otherwise_kind, otherwise->string_at("kind"));
    const Json* params = otherwise->find("params");
    // A step on the same operands, on the same device; nothing else fits.
    if (p.otherwise_kind != kLibraryStep || params == nullptr) {
      return Status::error("K3212", "multistage_gemm step: '" + p.otherwise_kind +
                                        "' cannot stand in for it");
    }
    p.otherwise_params = *params;
  }
  return p;
}

}  // namespace kiln::cuda
