#include "backends/cuda/runtime/conv_kernel.h"

#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxEntry = int64_t{1} << 30;

}  // namespace

Json ConvKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("spatial", spatial);
  json.set("transposed", transposed);
  json.set("groups", groups);
  json.set("stride", Json(stride));
  json.set("padding", Json(padding));
  json.set("dilation", Json(dilation));
  json.set("bias", bias);
  json.set("wide", wide);
  json.set("matrix", matrix);
  json.set("tile", tile);
  json.set("channels", channels);
  json.set("x_along", x_along);
  json.set("x_eight", x_eight);
  json.set("w_along", w_along);
  json.set("w_eight", w_eight);
  json.set("width", width);
  json.set("order", Json(order));
  json.set("sizes", sizes.to_json());
  return json;
}

Result<ConvKernel> ConvKernel::from_json(const Json& params) {
  ConvKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.spatial, params.int_at("spatial", 1, 3));
  KILN_ASSIGN_OR_RETURN(kernel.transposed, params.bool_at("transposed"));
  KILN_ASSIGN_OR_RETURN(kernel.groups, params.int_at("groups", 1, kMaxEntry));
  KILN_ASSIGN_OR_RETURN(kernel.stride, params.ints_at("stride"));
  KILN_ASSIGN_OR_RETURN(kernel.padding, params.ints_at("padding"));
  KILN_ASSIGN_OR_RETURN(kernel.dilation, params.ints_at("dilation"));
  KILN_ASSIGN_OR_RETURN(kernel.bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.matrix, params.bool_at("matrix"));
  KILN_ASSIGN_OR_RETURN(kernel.tile, params.int_at("tile", 64, 128));
  KILN_ASSIGN_OR_RETURN(kernel.channels, params.bool_at("channels"));
  KILN_ASSIGN_OR_RETURN(kernel.x_along, params.bool_at("x_along"));
  KILN_ASSIGN_OR_RETURN(kernel.x_eight, params.bool_at("x_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.w_along, params.bool_at("w_along"));
  KILN_ASSIGN_OR_RETURN(kernel.w_eight, params.bool_at("w_eight"));
  KILN_ASSIGN_OR_RETURN(kernel.width, params.int_at("width", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const bool half = kernel.dtype == DType::kF16 || kernel.dtype == DType::kBF16;
  bool fits = is_float(kernel.dtype) && (kernel.tile == 64 || kernel.tile == 128) &&
              (half || !(kernel.matrix || kernel.x_eight || kernel.w_eight)) &&
              (!kernel.x_eight || (kernel.channels && kernel.x_along)) &&
              (!kernel.w_eight || kernel.w_along) && (kernel.width & (kernel.width - 1)) == 0 &&
              kernel.width * static_cast<int64_t>(dtype_bytes(kernel.dtype)) <= 16;
  for (const auto& [list, low] : {std::pair{&kernel.stride, 1}, std::pair{&kernel.padding, 0},
                                  std::pair{&kernel.dilation, 1}}) {
    fits = fits && static_cast<int64_t>(list->size()) == kernel.spatial;
    for (const int64_t entry : *list) fits = fits && entry >= low && entry <= kMaxEntry;
  }
  if (!fits) return Status::error("K3212", "conv kernel: parameters do not fit each other");
  return kernel;
}

namespace {

class ConvStep : public Step {
 public:
  ConvStep(StepKernel kernel, ConvKernel params, bool depthwise)
      : kernel_(std::move(kernel)), params_(std::move(params)), depthwise_(depthwise) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    const char* name = depthwise_ ? "cuda.depthwise" : "cuda.conv";
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
      arguments.push_back(Argument::input(2));
    }
    arguments.push_back(Argument::output(0));
    KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes,
                          conv_sizes(x, weight, bias, y, params_.groups, params_.transposed));
    // Products of positions with strides and dilations stay in the range of the kernel's indices.
    int64_t taps = 1;
    for (size_t i = 0; i < params_.stride.size(); ++i) {
      const int64_t limit = params_.wide ? int64_t{1} << 61 : kOffsetLimit;
      const __int128 reach = static_cast<__int128>(y.dims[2 + i]) * params_.stride[i] +
                             static_cast<__int128>(weight.dims[2 + i]) * params_.dilation[i] +
                             params_.padding[i];
      if (reach >= limit) return refuse("a window reaches too far");
      taps *= weight.dims[2 + i];  // of an existing tensor
    }
    const int64_t in = x.dims[1] / params_.groups, out = y.dims[1] / params_.groups;
    if (depthwise_) {
      if (in != 1 || params_.transposed || static_cast<int>(params_.order.size()) != rank) {
        return refuse("not a depthwise convolution");
      }
      if (params_.width > 1 &&
          (out != 1 || !takes_width(x, 1, params_.width) || !takes_width(y, 1, params_.width))) {
        return refuse("operands are not aligned as it needs them");
      }
      KILN_RETURN_IF_ERROR(params_.sizes.bind(sizes, &arguments));
      const int64_t threads = y.num_elements() / params_.width;
      return bind_launch(kernel_, launch_blocks(kernel_, ceil_div(threads, kThreads), arguments),
                         context, "kiln:depthwise");
    }
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
  bool depthwise_;
};

template <bool kDepthwise>
Result<std::unique_ptr<Step>> make_conv(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment,
                                                       kDepthwise ? ConvKernel::kDepthwiseFamily
                                                                  : ConvKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(ConvKernel params, ConvKernel::from_json(*kernel.params));
  const size_t inputs = params.bias ? 3 : 2;
  KILN_RETURN_IF_ERROR(check_counts(desc, inputs, inputs, 1));
  return std::unique_ptr<Step>(new ConvStep(std::move(kernel), std::move(params), kDepthwise));
}

KILN_STEP(cuda_conv, "cuda.conv", make_conv<false>);
KILN_STEP(cuda_depthwise, "cuda.depthwise", make_conv<true>);

}  // namespace
}  // namespace kiln::cuda
