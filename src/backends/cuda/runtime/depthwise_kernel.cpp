#include "backends/cuda/runtime/depthwise_kernel.h"

#include <string>
#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {

Json DepthwiseKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("spatial", spatial);
  json.set("groups", groups);
  window.add_to(json);
  json.set("bias", bias);
  activation.add_to(json);
  json.set("wide", wide);
  json.set("width", width);
  json.set("strip", strip);
  json.set("taps", taps);
  json.set("side_by_side", side_by_side);
  json.set("factors_along", factors_along);
  json.set("order", Json(order));
  json.set("sizes", sizes.to_json());
  return json;
}

Result<DepthwiseKernel> DepthwiseKernel::from_json(const Json& params) {
  DepthwiseKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.spatial, params.int_at("spatial", 1, 3));
  KILN_ASSIGN_OR_RETURN(kernel.groups, params.int_at("groups", 1, int64_t{1} << 30));
  KILN_ASSIGN_OR_RETURN(kernel.window, KernelWindow::from_json(params, kernel.spatial));
  KILN_ASSIGN_OR_RETURN(kernel.bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(kernel.activation, KernelActivation::from_json(params));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.width, params.int_at("width", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.strip, params.int_at("strip", 1, kMaxStrip));
  KILN_ASSIGN_OR_RETURN(kernel.taps, params.int_at("taps", 1, kMaxTaps));
  KILN_ASSIGN_OR_RETURN(kernel.side_by_side, params.int_at("side_by_side", 1, int64_t{1} << 30));
  KILN_ASSIGN_OR_RETURN(kernel.factors_along, params.bool_at("factors_along"));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  if (!is_float(kernel.dtype) || (kernel.width & (kernel.width - 1)) != 0 ||
      kernel.width * static_cast<int64_t>(dtype_bytes(kernel.dtype)) > 16 ||
      kernel.columns() > kMaxColumns ||
      static_cast<int64_t>(kernel.order.size()) != kernel.spatial + 2) {
    return Status::error("K3212", "depthwise kernel: parameters do not fit each other");
  }
  return kernel;
}

namespace {

constexpr const char* kName = "cuda.depthwise";

class DepthwiseStep : public Step {
 public:
  DepthwiseStep(StepKernel kernel, DepthwiseKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    const auto refuse = [](const char* what) {
      return Status::error("K3212", std::string(kName) + ": " + what);
    };
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& x = context.inputs[0];
    const ConcreteView& weight = context.inputs[1];
    const ConcreteView& y = context.outputs[0];
    const int rank = static_cast<int>(params_.spatial) + 2;
    for (const ConcreteView* view : {&x, &weight, &y}) {
      KILN_RETURN_IF_ERROR(check_rank(kName, *view, rank));
      KILN_RETURN_IF_ERROR(check_dtype(kName, *view, params_.dtype));
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&x, &weight, &y}));
    std::vector<Argument> arguments{Argument::input(0), Argument::input(1)};
    const ConcreteView* bias = nullptr;
    if (params_.bias) {
      bias = &context.inputs[2];
      KILN_RETURN_IF_ERROR(check_dtype(kName, *bias, params_.dtype));
      KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {bias}));
      arguments.push_back(Argument::input(2));
    }
    arguments.push_back(Argument::output(0));
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes,
                          conv_sizes(x, weight, bias, y, params_.groups, false));
    KILN_RETURN_IF_ERROR(params_.window.check_reach(kName, params_.wide, weight, y));
    if (x.dims[1] != params_.groups) return refuse("not a depthwise convolution");
    if (params_.taps != 1 && params_.taps != weight.dims.back()) return refuse("number of taps");
    if (params_.width > 1 && (y.dims[1] != x.dims[1] || !takes_width(x, 1, params_.width) ||
                              !takes_width(y, 1, params_.width))) {
      return refuse("operands are not aligned as it needs them");
    }
    if (params_.factors_along && !depthwise_factors_along(weight, bias, params_.width)) {
      return refuse("factors are not aligned as it needs them");
    }
    if (y.dims[1] % (params_.width * params_.side_by_side) != 0) return refuse("channels");
    KILN_RETURN_IF_ERROR(params_.sizes.bind(sizes, &arguments));
    int64_t threads = y.dims[0] * (y.dims[1] / params_.width);
    for (size_t i = 2; i + 1 < y.dims.size(); ++i) threads *= y.dims[i];
    threads *= ceil_div(y.dims.back(), params_.strip);
    constexpr int64_t kThreads = DepthwiseKernel::kThreads;
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(threads, kThreads), arguments, kThreads),
                       context, "kiln:depthwise");
  }

 private:
  StepKernel kernel_;
  DepthwiseKernel params_;
};

Result<std::unique_ptr<Step>> make_depthwise(const StepDesc& desc,
                                             const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel kernel,
                        step_kernel(desc, environment, DepthwiseKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(DepthwiseKernel params, DepthwiseKernel::from_json(*kernel.params));
  const size_t inputs = params.bias ? 3 : 2;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new DepthwiseStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_depthwise, kName, make_depthwise);

}  // namespace
}  // namespace kiln::cuda
