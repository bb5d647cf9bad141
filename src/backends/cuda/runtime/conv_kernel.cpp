#include "backends/cuda/runtime/conv_kernel.h"

#include <utility>

#include "runtime/view_checks.h"

namespace kiln::cuda {
Json ConvKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("spatial", spatial);
  json.set("transposed", transposed);
  json.set("groups", groups);
  window.add_to(json);
  json.set("bias", bias);
  json.set("wide", wide);
  json.set("matrix", matrix);
  json.set("tile", tile);
  json.set("channels", channels);
  json.set("x_along", x_along);
  json.set("x_eight", x_eight);
  json.set("w_along", w_along);
  json.set("w_eight", w_eight);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<ConvKernel> ConvKernel::from_json(const Json& params) {
  ConvKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.spatial, params.int_at("spatial", 1, 3));
  KILN_ASSIGN_OR_RETURN(kernel.transposed, params.bool_at("transposed"));
  KILN_ASSIGN_OR_RETURN(kernel.groups, params.int_at("groups", 1, int64_t{1} << 30));
  KILN_ASSIGN_OR_RETURN(kernel.window, KernelWindow::from_json(params, kernel.spatial));
  KILN_ASSIGN_OR_RETURN(kernel.bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.matrix, params.bool_at("matrix"));
  KILN_ASSIGN_OR_RETURN(kernel.tile, params.int_at("tile", 64, 128));
  KILN_ASSIGN_OR_RETURN(kernel.channels, params.bool_at("channels"));
  KILN_ASSIGN_OR_RETURN(kernel.x_along, params.bool_at("x_along"));
  KILN_ASSIGN_OR_RETURN(kernel.x_eight, params.bool_at("x_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.w_along, params.bool_at("w_along"));
  KILN_ASSIGN_OR_RETURN(kernel.w_eight, params.bool_at("w_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const bool half = is_half(kernel.dtype);
  const bool fits = is_float(kernel.dtype) && (kernel.tile == 64 || kernel.tile == 128) &&
                    (half || !(kernel.matrix || kernel.x_eight || kernel.w_eight)) &&
                    (!kernel.x_eight || (kernel.channels && kernel.x_along)) &&
                    (!kernel.w_eight || kernel.w_along);
  if (!fits) return Status::error("K3212", "conv kernel: parameters do not fit each other");
  return kernel;
}

namespace {

class ConvStep : public Step {
 public:
  ConvStep(StepKernel kernel, ConvKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    const char* name = "cuda.conv";
    const auto refuse = [name](const char* what) {
      return Status::error("K3212", std::string(name) + ": " + what);
    };
    KILN_RETURN_IF_ERROR(check_views(name, context));
    const ConcreteView& x = context.inputs[0];
    const ConcreteView& weight = context.inputs[1];
    const ConcreteView& y = context.outputs[0];
    const int rank = static_cast<int>(params_.spatial) + 2;
    for (const ConcreteView* view : {&x, &weight, &y}) {
      KILN_RETURN_IF_ERROR(check_rank(name, *view, rank));
      KILN_RETURN_IF_ERROR(check_dtype(name, *view, params_.dtype));
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&x, &weight, &y}));
    std::vector<Argument> arguments{Argument::input(0), Argument::input(1)};
    const ConcreteView* bias = nullptr;
    if (params_.bias) {
      bias = &context.inputs[2];
      KILN_RETURN_IF_ERROR(check_dtype(name, *bias, params_.dtype));
      KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {bias}));
      arguments.push_back(Argument::input(2));
    }
    arguments.push_back(Argument::output(0));
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes,
                          conv_sizes(x, weight, bias, y, params_.groups, params_.transposed));
    KILN_RETURN_IF_ERROR(params_.window.check_reach(name, params_.wide, weight, y));
    int64_t taps = 1;  // of an existing tensor
    for (size_t i = 2; i < weight.dims.size(); ++i) taps *= weight.dims[i];
    const int64_t in = x.dims[1] / params_.groups, out = y.dims[1] / params_.groups;
    const bool dense = weight_along_depth(weight, params_.transposed, params_.channels);
    if ((params_.w_along && !dense) || (params_.x_eight && !conv_x_eight(x, params_.groups)) ||
        (params_.w_eight && !conv_weight_eight(weight, params_.transposed)) ||
        (!params_.wide && static_cast<__int128>(taps) * in >= kOffsetLimit)) {
      return refuse("operands are not laid out as it needs them");
    }
    KILN_RETURN_IF_ERROR(params_.sizes.bind(sizes, &arguments));
    const int64_t rows = y.num_elements() == 0 ? 0 : y.num_elements() / y.dims[1];
    const int64_t blocks =
        params_.groups * ceil_div(rows, params_.tile) * ceil_div(out, params_.tile);
    return bind_launch(
        kernel_,
        launch_blocks(kernel_, blocks, arguments, params_.matrix ? params_.tile * 2 : kThreads),
        context, params_.matrix ? "kiln:conv_mma" : "kiln:conv");
  }

 private:
  StepKernel kernel_;
  ConvKernel params_;
};

Result<std::unique_ptr<Step>> make_conv(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, ConvKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(ConvKernel params, ConvKernel::from_json(*kernel.params));
  const size_t inputs = params.bias ? 3 : 2;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new ConvStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_conv, "cuda.conv", make_conv);

}  // namespace
}  // namespace kiln::cuda
