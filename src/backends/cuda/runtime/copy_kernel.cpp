#include "backends/cuda/runtime/copy_kernel.h"

#include <utility>

#include "core/dtype.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {

Json CopyKernel::to_json() const {
  Json json = Json::object();
  json.set("bytes", bytes);
  json.set("width", width);
  json.set("rank", rank);
  json.set("cross", cross);
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<CopyKernel> CopyKernel::from_json(const Json& params) {
  CopyKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.bytes, params.int_at("bytes", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.width, params.int_at("width", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.rank, params.int_at("rank", 0, kMaxViewRank));
  KILN_ASSIGN_OR_RETURN(kernel.cross, params.int_at("cross", -1, kernel.rank - 1));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const bool power = (kernel.bytes & (kernel.bytes - 1)) == 0;
  const bool crossed = kernel.cross >= 0;
  if (!power || kernel.bytes % kernel.width != 0 ||
      (crossed && (kernel.cross == kernel.rank - 1 || kernel.bytes == 16 || kernel.width != 1))) {
    return Status::error("K3212", "copy kernel: parameters do not fit each other");
  }
  return kernel;
}

namespace {

class CopyStep : public Step {
 public:
  CopyStep(StepKernel kernel, CopyKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& from_view = context.inputs[0];
    const ConcreteView& to_view = context.outputs[0];
    KILN_RETURN_IF_ERROR(check_dtype(kName, to_view, from_view.dtype));
    KILN_RETURN_IF_ERROR(check_dims(kName, from_view, to_view.dims));
    KILN_RETURN_IF_ERROR(check_rank(kName, to_view, static_cast<int>(params_.rank)));
    const int64_t element = static_cast<int64_t>(dtype_bytes(to_view.dtype));
    if (params_.bytes != element * params_.width) {
      return Status::error("K3212", "copy kernel: made for elements of another size");
    }
    const auto last = static_cast<size_t>(params_.rank - 1);
    if (!takes_width(from_view, last, params_.width) ||
        !takes_width(to_view, last, params_.width)) {
      return Status::error("K3212", "copy kernel: operands are not aligned as it needs them");
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&from_view, &to_view}));
    const ConcreteView from = widened(from_view, last, params_.width);
    const ConcreteView to = widened(to_view, last, params_.width);
    std::vector<Argument> arguments{Argument::input(0), Argument::output(0)};
    KILN_RETURN_IF_ERROR(params_.sizes.bind(copy_sizes(from, to), &arguments));
    const int64_t total = to.num_elements();
    if (params_.cross < 0) {
      return bind_launch(kernel_, launch_blocks(kernel_, ceil_div(total, kThreads), arguments),
                         context, "kiln:copy");
    }
    const int64_t lines = to.dims[last], across = to.dims[static_cast<size_t>(params_.cross)];
    const int64_t outer = total == 0 ? 0 : total / lines / across;
    Launch launch = launch_blocks(
        kernel_, outer * ceil_div(lines, CopyKernel::kTile) * ceil_div(across, CopyKernel::kTile),
        arguments, CopyKernel::kTile);
    launch.block[1] = CopyKernel::kTileRows;
    return bind_launch(kernel_, std::move(launch), context, "kiln:transpose");
  }

 private:
  static constexpr std::string_view kName = "cuda.copy";
  StepKernel kernel_;
  CopyKernel params_;
};

Result<std::unique_ptr<Step>> make_copy(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 1, 1, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, CopyKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(CopyKernel params, CopyKernel::from_json(*kernel.params));
  return std::unique_ptr<Step>(new CopyStep(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_copy, "cuda.copy", make_copy);

}  // namespace
}  // namespace kiln::cuda
