#include "backends/cuda/runtime/scan_kernel.h"

#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {

Json ScanKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("product", product);
  json.set("rows", rows);
  json.set("axis", axis);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<ScanKernel> ScanKernel::from_json(const Json& params) {
  ScanKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.product, params.bool_at("product"));
  KILN_ASSIGN_OR_RETURN(kernel.rows, params.bool_at("rows"));
  KILN_ASSIGN_OR_RETURN(kernel.axis, params.int_at("axis", 0, kMaxViewRank - 1));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  if (kernel.axis >= static_cast<int64_t>(kernel.order.size())) {
    return Status::error("K3212", "scan kernel: axis beyond the rank");
  }
  return kernel;
}

namespace {

class ScanStep : public Step {
 public:
  ScanStep(StepKernel kernel, ScanKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& from = context.inputs[0];
    const ConcreteView& to = context.outputs[0];
    KILN_RETURN_IF_ERROR(check_rank(kName, to, static_cast<int>(params_.order.size())));
    KILN_RETURN_IF_ERROR(check_dims(kName, from, to.dims));
    KILN_RETURN_IF_ERROR(check_dtype(kName, from, params_.dtype));
    KILN_RETURN_IF_ERROR(check_dtype(kName, to, params_.dtype));
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&from, &to}));
    std::vector<Argument> arguments{Argument::input(0), Argument::output(0)};
    KILN_RETURN_IF_ERROR(params_.sizes.bind(scan_sizes(from, to), &arguments));
    const int64_t total = to.num_elements();
    const int64_t lines = total == 0 ? 0 : total / to.dims[static_cast<size_t>(params_.axis)];
    const int64_t blocks = params_.rows ? lines : ceil_div(lines, kThreads);
    return bind_launch(kernel_, launch_blocks(kernel_, blocks, arguments), context, "kiln:scan");
  }

 private:
  static constexpr std::string_view kName = "cuda.scan";
  StepKernel kernel_;
  ScanKernel params_;
};

Result<std::unique_ptr<Step>> make_scan(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 1, 1, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, ScanKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(ScanKernel params, ScanKernel::from_json(*kernel.params));
  return std::unique_ptr<Step>(new ScanStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_scan, "cuda.scan", make_scan);

}  // namespace
}  // namespace kiln::cuda
