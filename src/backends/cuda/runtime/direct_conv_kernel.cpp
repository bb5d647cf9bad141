#include "backends/cuda/runtime/direct_conv_kernel.h"

#include <string>
#include <utility>

#include "runtime/view_checks.h"

namespace kiln::cuda {

int64_t DirectConvKernel::factors() const {
  int64_t count = in * out;
  for (const int64_t size : taps) count *= size;
  return count;
}

Json DirectConvKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("taps", Json(taps));
  json.set("in", in);
  json.set("out", out);
  window.add_to(json);
  json.set("bias", bias);
  activation.add_to(json);
  json.set("wide", wide);
  json.set("strip", strip);
  json.set("y_along", y_along);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<DirectConvKernel> DirectConvKernel::from_json(const Json& params) {
  const auto refuse = [] {
    return Status::error("K3212", "direct convolution kernel: parameters do not fit each other");
  };
  DirectConvKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.taps, params.ints_at("taps"));
  KILN_ASSIGN_OR_RETURN(kernel.in, params.int_at("in", 1, kMaxFactors));
  KILN_ASSIGN_OR_RETURN(kernel.out, params.int_at("out", 1, kMaxFactors));
  if (kernel.taps.empty() || kernel.taps.size() > 3 || kernel.taps.back() > kMaxTaps ||
      kernel.out % kOut != 0 || !is_float(kernel.dtype)) {
    return refuse();
  }
  for (const int64_t size : kernel.taps) {
    if (size < 1 || size > kMaxFactors) return refuse();
  }
  if (kernel.factors() > kMaxFactors) return refuse();
  KILN_ASSIGN_OR_RETURN(kernel.window,
                        KernelWindow::from_json(params, static_cast<int64_t>(kernel.taps.size())));
  KILN_ASSIGN_OR_RETURN(kernel.bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(kernel.activation, KernelActivation::from_json(params));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.strip, params.int_at("strip", 1, kMaxStrip));
  KILN_ASSIGN_OR_RETURN(kernel.y_along, params.bool_at("y_along"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  if (strip_columns(kernel.strip, kernel.taps.back(), kernel.window) > kMaxColumns) {
    return refuse();
  }
  return kernel;
}

namespace {

constexpr const char* kName = "cuda.direct_conv";

class DirectConvStep : public Step {
 public:
  DirectConvStep(StepKernel kernel, DirectConvKernel params)
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
    const int rank = static_cast<int>(params_.taps.size()) + 2;
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
                          conv_sizes(x, weight, bias, y, 1, false));
    KILN_RETURN_IF_ERROR(params_.window.check_reach(kName, params_.wide, weight, y));
    bool fits = x.dims[1] == params_.in && y.dims[1] == params_.out;
    for (size_t i = 0; i < params_.taps.size(); ++i) {
      fits = fits && weight.dims[2 + i] == params_.taps[i];
    }
    if (!fits) return refuse("made for other sizes");
    if (params_.y_along && !takes_width(y, 1, DirectConvKernel::kOut)) {
      return refuse("the result is not aligned as it needs it");
    }
    KILN_RETURN_IF_ERROR(params_.sizes.bind(sizes, &arguments));
    int64_t threads = y.dims[0] * (y.dims[1] / DirectConvKernel::kOut);
    for (size_t i = 2; i + 1 < y.dims.size(); ++i) threads *= y.dims[i];
    threads *= ceil_div(y.dims.back(), params_.strip);
    constexpr int64_t kThreads = DirectConvKernel::kThreads;
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(threads, kThreads), arguments, kThreads),
                       context, "kiln:direct_conv");
  }

 private:
  StepKernel kernel_;
  DirectConvKernel params_;
};

Result<std::unique_ptr<Step>> make_direct_conv(const StepDesc& desc,
                                               const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel kernel,
                        step_kernel(desc, environment, DirectConvKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(DirectConvKernel params, DirectConvKernel::from_json(*kernel.params));
  const size_t inputs = params.bias ? 3 : 2;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new DirectConvStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_direct_conv, kName, make_direct_conv);

}  // namespace
}  // namespace kiln::cuda
