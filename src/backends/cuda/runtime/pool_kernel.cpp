#include "backends/cuda/runtime/pool_kernel.h"

#include <cmath>
#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxEntry = int64_t{1} << 31;

bool is_computed(DType dtype) { return is_float(dtype); }

}  // namespace

const char* pool_kind_name(PoolKernel::Kind kind) {
  constexpr const char* kNames[] = {"max", "avg", "adaptive_max", "adaptive_avg"};
  return kNames[static_cast<size_t>(kind)];
}

Json PoolKernel::to_json() const {
  Json json = Json::object();
  json.set("kind", pool_kind_name(kind));
  json.set("dtype", dtype_name(dtype));
  json.set("spatial", spatial);
  json.set("kernel", Json(kernel));
  json.set("stride", Json(stride));
  json.set("padding", Json(padding));
  json.set("dilation", Json(dilation));
  json.set("count_include_pad", count_include_pad);
  json.set("divisor", divisor);
  json.set("places", places);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<PoolKernel> PoolKernel::from_json(const Json& params) {
  PoolKernel kernel;
  KILN_ASSIGN_OR_RETURN(const std::string kind, params.string_at("kind"));
  bool fits = false;
  for (const Kind candidate :
       {Kind::kMax, Kind::kAverage, Kind::kAdaptiveMax, Kind::kAdaptiveAverage}) {
    if (kind != pool_kind_name(candidate)) continue;
    kernel.kind = candidate;
    fits = true;
  }
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.spatial, params.int_at("spatial", 1, 3));
  KILN_ASSIGN_OR_RETURN(kernel.kernel, params.ints_at("kernel"));
  KILN_ASSIGN_OR_RETURN(kernel.stride, params.ints_at("stride"));
  KILN_ASSIGN_OR_RETURN(kernel.padding, params.ints_at("padding"));
  KILN_ASSIGN_OR_RETURN(kernel.dilation, params.ints_at("dilation"));
  KILN_ASSIGN_OR_RETURN(kernel.count_include_pad, params.bool_at("count_include_pad"));
  KILN_ASSIGN_OR_RETURN(kernel.divisor, params.int_at("divisor"));
  KILN_ASSIGN_OR_RETURN(kernel.places, params.bool_at("places"));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const auto rank = static_cast<int64_t>(kernel.order.size());
  fits = fits && is_computed(kernel.dtype) && (!kernel.places || kernel.is_max()) &&
         (rank == kernel.spatial + 1 || rank == kernel.spatial + 2);
  const size_t entries = kernel.is_adaptive() ? 0 : static_cast<size_t>(kernel.spatial);
  for (const auto& [list, low] : {std::pair{&kernel.kernel, 1}, std::pair{&kernel.stride, 1},
                                  std::pair{&kernel.padding, 0}, std::pair{&kernel.dilation, 1}}) {
    fits = fits && list->size() == entries;
    for (const int64_t entry : *list) fits = fits && entry >= low && entry <= kMaxEntry;
  }
  for (size_t i = 0; fits && i < entries; ++i) fits = kernel.padding[i] <= kernel.kernel[i] / 2;
  if (!fits) return Status::error("K3212", "pool kernel: parameters do not fit each other");
  return kernel;
}

Json ResizeKernel::to_json() const {
  Json json = Json::object();
  json.set("mode", mode);
  json.set("dtype", dtype_name(dtype));
  json.set("spatial", spatial);
  json.set("align_corners", align_corners);
  json.set("scales", Json(scales));
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<ResizeKernel> ResizeKernel::from_json(const Json& params) {
  ResizeKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.mode, params.string_at("mode"));
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.spatial, params.int_at("spatial", 1, 3));
  KILN_ASSIGN_OR_RETURN(kernel.align_corners, params.bool_at("align_corners"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* scales, params.array_at("scales"));
  bool fits = static_cast<int64_t>(scales->size()) == kernel.spatial;
  for (const Json& scale : *scales) {
    fits = fits && scale.is_number() && std::isfinite(scale.as_double()) && scale.as_double() >= 0;
    if (fits) kernel.scales.push_back(scale.as_double());
  }
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const auto rank = static_cast<int64_t>(kernel.order.size());
  fits = fits && is_computed(kernel.dtype) &&
         (rank == kernel.spatial + 1 || rank == kernel.spatial + 2) &&
         (kernel.mode == "nearest" || kernel.mode == "nearest_exact" || kernel.mode == "linear" ||
          (kernel.mode == "cubic" && kernel.spatial == 2));
  if (!fits) return Status::error("K3212", "resize kernel: parameters do not fit each other");
  return kernel;
}

namespace {

// Operand and result have one dtype, batch and channels; sizes are in a range in which products of
// two of them do not overflow.
Status check_planes(std::string_view step, const ConcreteView& from, const ConcreteView& to,
                    DType dtype, int rank, int64_t spatial) {
  KILN_RETURN_IF_ERROR(check_rank(step, from, rank));
  KILN_RETURN_IF_ERROR(check_rank(step, to, rank));
  KILN_RETURN_IF_ERROR(check_dtype(step, from, dtype));
  KILN_RETURN_IF_ERROR(check_dtype(step, to, dtype));
  for (int i = 0; i < rank; ++i) {
    const auto d = static_cast<size_t>(i);
    const bool leading = i < rank - spatial;
    if (leading ? from.dims[d] != to.dims[d]
                : from.dims[d] < 1 || from.dims[d] > kMaxEntry || to.dims[d] > kMaxEntry) {
      return Status::error("K3244", std::string(step) + ": sizes do not fit");
    }
  }
  return {};
}

class PoolStep : public Step {
 public:
  PoolStep(StepKernel kernel, PoolKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& from = context.inputs[0];
    const ConcreteView& to = context.outputs[0];
    const int rank = static_cast<int>(params_.order.size());
    KILN_RETURN_IF_ERROR(check_planes(kName, from, to, params_.dtype, rank, params_.spatial));
    if (params_.places != (context.outputs.size() == 2)) {
      return Status::error("K3212", "pool kernel: made for another number of results");
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&from, &to}));
    std::vector<Argument> arguments{Argument::input(0), Argument::output(0)};
    const ConcreteView* places = nullptr;
    if (params_.places) {
      places = &context.outputs[1];
      KILN_RETURN_IF_ERROR(check_dims(kName, *places, to.dims));
      KILN_RETURN_IF_ERROR(check_dtype(kName, *places, DType::kI64));
      KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {places}));
      arguments.push_back(Argument::output(1));
    }
    for (size_t i = 0; !params_.is_adaptive() && i < static_cast<size_t>(params_.spatial); ++i) {
      // Every window starts inside the input or its padding.
      const size_t d = to.dims.size() - static_cast<size_t>(params_.spatial) + i;
      const int64_t most = 1 + (from.dims[d] + params_.padding[i] - 1) / params_.stride[i];
      const int64_t reach = most * params_.stride[i] + params_.kernel[i] * params_.dilation[i];
      if (to.dims[d] > most || (!params_.wide && reach >= kOffsetLimit)) {
        return Status::error(
            "K3244", "pool: more windows than the input has, got " + std::to_string(to.dims[d]));
      }
    }
    KILN_RETURN_IF_ERROR(params_.sizes.bind(pool_sizes(from, to, places), &arguments));
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(to.num_elements(), kThreads), arguments),
                       context, "kiln:pool");
  }

 private:
  static constexpr std::string_view kName = "cuda.pool";
  StepKernel kernel_;
  PoolKernel params_;
};

class ResizeStep : public Step {
 public:
  ResizeStep(StepKernel kernel, ResizeKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& from = context.inputs[0];
    const ConcreteView& to = context.outputs[0];
    const int rank = static_cast<int>(params_.order.size());
    KILN_RETURN_IF_ERROR(check_planes(kName, from, to, params_.dtype, rank, params_.spatial));
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&from, &to}));
    std::vector<Argument> arguments{Argument::input(0), Argument::output(0)};
    const ConcreteView* none = nullptr;
    KILN_RETURN_IF_ERROR(params_.sizes.bind(pool_sizes(from, to, none), &arguments));
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(to.num_elements(), kThreads), arguments),
                       context, "kiln:resize");
  }

 private:
  static constexpr std::string_view kName = "cuda.resize";
  StepKernel kernel_;
  ResizeKernel params_;
};

Result<std::unique_ptr<Step>> make_pool(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 1, 1, desc.outputs.size() == 2 ? 2 : 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, PoolKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(PoolKernel params, PoolKernel::from_json(*kernel.params));
  return std::unique_ptr<Step>(new PoolStep(std::move(kernel), std::move(params)));
}

Result<std::unique_ptr<Step>> make_resize(const StepDesc& desc,
                                          const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 1, 1, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, ResizeKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(ResizeKernel params, ResizeKernel::from_json(*kernel.params));
  return std::unique_ptr<Step>(new ResizeStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_pool, "cuda.pool", make_pool);
KILN_STEP(cuda_resize, "cuda.resize", make_resize);

}  // namespace
}  // namespace kiln::cuda
