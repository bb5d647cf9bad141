#include "backends/cuda/runtime/gather_kernel.h"

#include <algorithm>
#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

Status check_kernel(DType index, int64_t axis, const std::vector<int>& order) {
  if ((index != DType::kI64 && index != DType::kI32) ||
      axis >= static_cast<int64_t>(order.size())) {
    return Status::error("K3212", "gather or scatter kernel: parameters do not fit each other");
  }
  return {};
}

}  // namespace

Json GatherKernel::to_json() const {
  Json json = Json::object();
  json.set("bytes", bytes);
  json.set("index", dtype_name(index));
  json.set("axis", axis);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<GatherKernel> GatherKernel::from_json(const Json& params) {
  GatherKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.bytes, params.int_at("bytes", 1, 8));
  KILN_ASSIGN_OR_RETURN(kernel.index, kernel_dtype(params, "index"));
  KILN_ASSIGN_OR_RETURN(kernel.axis, params.int_at("axis", 0, kMaxViewRank - 1));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  KILN_RETURN_IF_ERROR(check_kernel(kernel.index, kernel.axis, kernel.order));
  return kernel;
}

Json ScatterKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("index", dtype_name(index));
  json.set("axis", axis);
  json.set("reduce", reduce);
  json.set("include_self", include_self);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<ScatterKernel> ScatterKernel::from_json(const Json& params) {
  ScatterKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.index, kernel_dtype(params, "index"));
  KILN_ASSIGN_OR_RETURN(kernel.axis, params.int_at("axis", 0, kMaxViewRank - 1));
  KILN_ASSIGN_OR_RETURN(kernel.reduce, params.string_at("reduce"));
  KILN_ASSIGN_OR_RETURN(kernel.include_self, params.bool_at("include_self"));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  KILN_RETURN_IF_ERROR(check_kernel(kernel.index, kernel.axis, kernel.order));
  for (const char* known : {"none", "add", "multiply", "mean", "amax", "amin"}) {
    if (kernel.reduce == known) return kernel;
  }
  return Status::error("K3212", "scatter kernel: unknown reduction, " + kernel.reduce);
}

namespace {

Status mismatch(std::string_view step, const char* what) {
  return Status::error("K3241", std::string(step) + ": " + what);
}

// That every place lies in the table and every position in index and dense.
Status check_operands(std::string_view step, const ConcreteView& table, const ConcreteView& index,
                      const ConcreteView& dense, DType index_dtype, size_t axis, size_t rank) {
  KILN_RETURN_IF_ERROR(check_dtype(step, index, index_dtype));
  KILN_RETURN_IF_ERROR(check_dtype(step, dense, table.dtype));
  for (const ConcreteView* view : {&table, &index, &dense}) {
    KILN_RETURN_IF_ERROR(check_rank(step, *view, static_cast<int>(rank)));
  }
  for (size_t i = 0; i < rank; ++i) {
    if (index.dims[i] > dense.dims[i] || (i != axis && index.dims[i] > table.dims[i])) {
      return mismatch(step, "index tensor is larger than what it indexes");
    }
  }
  return {};
}

class GatherStep : public Step {
 public:
  GatherStep(StepKernel kernel, GatherKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& table = context.inputs[0];
    const ConcreteView& index = context.inputs[1];
    const ConcreteView& dense = context.outputs[0];
    const auto axis = static_cast<size_t>(params_.axis);
    KILN_RETURN_IF_ERROR(
        check_operands(kName, table, index, dense, params_.index, axis, params_.order.size()));
    KILN_RETURN_IF_ERROR(check_dims(kName, dense, index.dims));
    if (static_cast<int64_t>(dtype_bytes(table.dtype)) != params_.bytes) {
      return Status::error("K3212", "gather kernel: made for elements of another size");
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&table, &index, &dense}));
    std::vector<Argument> arguments{Argument::input(0), Argument::input(1), Argument::output(0),
                                    Argument::fault(*kernel_.code)};
    KILN_RETURN_IF_ERROR(params_.sizes.bind(gather_sizes(table, index, dense, axis), &arguments));
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(dense.num_elements(), kThreads), arguments),
                       context, "kiln:gather");
  }

 private:
  static constexpr std::string_view kName = "cuda.gather";
  StepKernel kernel_;
  GatherKernel params_;
};

class ScatterStep : public Step {
 public:
  ScatterStep(StepKernel kernel, ScatterKernel params)
      : kernel_(std::move(kernel)), params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& index = context.inputs[0];
    const ConcreteView& dense = context.inputs[1];
    const ConcreteView& table = context.outputs[0];
    const auto axis = static_cast<size_t>(params_.axis);
    KILN_RETURN_IF_ERROR(
        check_operands(kName, table, index, dense, params_.index, axis, params_.order.size()));
    KILN_RETURN_IF_ERROR(check_dtype(kName, table, params_.dtype));
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&table, &index, &dense}));
    const int64_t positions = index.num_elements();
    const int64_t lines = positions == 0 ? 0 : positions / index.dims[axis];
    // More threads than lines are of use only where there are places to own.
    constexpr int64_t kBusy = 1 << 15;
    const int64_t parts =
        lines == 0 ? 1
                   : std::clamp<int64_t>(kBusy / lines, 1, std::max<int64_t>(1, table.dims[axis]));
    const bool mean = params_.reduce == "mean";
    std::vector<Argument> arguments{Argument::input(0), Argument::input(1), Argument::output(0),
                                    Argument::fault(*kernel_.code)};
    if (mean) arguments.push_back(Argument::scratch());
    KILN_RETURN_IF_ERROR(params_.sizes.bind(gather_sizes(table, index, dense, axis), &arguments));
    arguments.push_back(Argument::i64(parts));
    if (lines > 0 && table.dims[axis] > (int64_t{1} << 46) / lines) {
      return mismatch(kName, "too many places");
    }
    const size_t scratch = mean ? static_cast<size_t>(lines * table.dims[axis]) * 4 : 0;
    std::vector<Launch> launches;
    launches.push_back(launch_blocks(kernel_, ceil_div(lines * parts, kThreads), arguments));
    return BoundLaunches::make(kernel_.code, std::move(launches), context, "kiln:scatter", scratch);
  }

 private:
  static constexpr std::string_view kName = "cuda.scatter";
  StepKernel kernel_;
  ScatterKernel params_;
};

template <class Params, class S>
Result<std::unique_ptr<Step>> make(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 2, 2, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, Params::kFamily));
  KILN_ASSIGN_OR_RETURN(Params params, Params::from_json(*kernel.params));
  return std::unique_ptr<Step>(new S(std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_gather, "cuda.gather", (make<GatherKernel, GatherStep>));
KILN_STEP(cuda_scatter, "cuda.scatter", (make<ScatterKernel, ScatterStep>));

}  // namespace
}  // namespace kiln::cuda
