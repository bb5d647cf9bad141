#include "backends/cuda/runtime/index_kernel.h"

#include <algorithm>
#include <utility>

#include "backends/cuda/runtime/pad_kernel.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {

Json IndexKernel::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("width", width);
  json.set("index", dtype_name(index));
  json.set("axes", Json(axes));
  json.set("at", at);
  json.set("joint", joint);
  json.set("negative", negative);
  json.set("accumulate", accumulate);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<IndexKernel> IndexKernel::from_json(const Json& params) {
  IndexKernel kernel;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(kernel.width, params.int_at("width", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.index, kernel_dtype(params, "index"));
  KILN_ASSIGN_OR_RETURN(kernel.axes, params.ints_at("axes"));
  KILN_ASSIGN_OR_RETURN(kernel.at, params.int_at("at", 0, kMaxViewRank));
  KILN_ASSIGN_OR_RETURN(kernel.joint, params.int_at("joint", 0, kMaxViewRank));
  KILN_ASSIGN_OR_RETURN(kernel.negative, params.bool_at("negative"));
  KILN_ASSIGN_OR_RETURN(kernel.accumulate, params.bool_at("accumulate"));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const int64_t bytes = kernel.bytes();
  bool fits = !kernel.axes.empty() && kernel.axes.size() <= kMaxViewRank && bytes <= 16 &&
              (bytes & (bytes - 1)) == 0 && (kernel.width == 1 || !kernel.accumulate) &&
              kernel.at + kernel.joint <= static_cast<int64_t>(kernel.order.size()) &&
              (kernel.index == DType::kI64 || kernel.index == DType::kI32);
  for (size_t i = 0; i < kernel.axes.size(); ++i) {
    const int64_t low = i == 0 ? 0 : kernel.axes[i - 1] + 1;
    fits = fits && kernel.axes[i] >= low && kernel.axes[i] < kMaxViewRank;
  }
  if (!fits) return Status::error("K3212", "index kernel: parameters do not fit each other");
  return kernel;
}

namespace {

class IndexStep : public Step {
 public:
  IndexStep(StepKernel kernel, IndexKernel params, bool put)
      : kernel_(std::move(kernel)), params_(std::move(params)), put_(put) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    const char* name = put_ ? "cuda.index_put" : "cuda.index";
    KILN_RETURN_IF_ERROR(check_views(name, context));
    const ConcreteView& table = put_ ? context.outputs[0] : context.inputs[0];
    const ConcreteView& dense = put_ ? context.inputs[0] : context.outputs[0];
    const std::vector<ConcreteView> index(context.inputs.begin() + 1, context.inputs.end());
    KILN_RETURN_IF_ERROR(check_dtype(name, dense, table.dtype));
    const bool typed = params_.accumulate ? table.dtype == params_.dtype
                                          : dtype_bytes(table.dtype) == dtype_bytes(params_.dtype);
    if (!typed || index.size() != params_.axes.size()) {
      return Status::error("K3212", "index kernel: made for other operands");
    }
    for (const ConcreteView& tensor : index) {
      KILN_RETURN_IF_ERROR(check_dtype(name, tensor, params_.index));
      KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&tensor}));
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&table, &dense}));
    KILN_ASSIGN_OR_RETURN(IndexGeometry<int64_t> g,
                          index_geometry(table, dense, index, params_.axes, params_.at, put_));
    if (g.joint != params_.joint || g.n.size() != params_.order.size() ||
        !widen_geometry(g, params_.at, params_.width) || !divides(params_.width, table.offset) ||
        !divides(params_.width, dense.offset)) {
      return Status::error("K3212", "index kernel: made for other operands");
    }
    int64_t total = 1, slices = 1;
    for (size_t i = 0; i < g.n.size(); ++i) {
      const auto d = static_cast<int64_t>(i);
      // An expanded result may be larger than any of its operands.
      if (g.n[i] > 0 && total > (int64_t{1} << 46) / g.n[i]) {
        return Status::error("K3241", std::string(name) + ": too many elements");
      }
      total *= g.n[i];
      if (d < params_.at || d >= params_.at + params_.joint) slices *= g.n[i];
    }
    if (!params_.wide && total >= kOffsetLimit) {
      return Status::error("K3212", "index kernel: too many elements for 32-bit offsets");
    }
    std::vector<Argument> arguments{Argument::input(0)};
    for (int i = 1; i <= static_cast<int>(index.size()); ++i) {
      arguments.push_back(Argument::input(i));
    }
    arguments.push_back(Argument::output(0));
    arguments.push_back(Argument::fault(*kernel_.code));
    KILN_RETURN_IF_ERROR(params_.sizes.bind(g.sizes(), &arguments));
    if (!put_) {
      return bind_launch(kernel_, launch_blocks(kernel_, ceil_div(total, kThreads), arguments),
                         context, "kiln:index");
    }
    // Threads own places of the table, modulo `parts`, within their element of a slice.
    int64_t places = 1;
    for (const int64_t extent : g.extent) places *= std::max<int64_t>(extent, 1);
    constexpr int64_t kBusy = 1 << 15;
    const int64_t threads = total == 0 ? 0 : slices;
    const int64_t parts =
        threads == 0 ? 1 : std::clamp<int64_t>(kBusy / threads, 1, std::max<int64_t>(places, 1));
    arguments.push_back(Argument::i64(parts));
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(threads * parts, kThreads), arguments),
                       context, "kiln:index_put");
  }

 private:
  StepKernel kernel_;
  IndexKernel params_;
  bool put_;
};

template <bool kPut>
Result<std::unique_ptr<Step>> make_index(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 2, 1 + kMaxViewRank, 1));
  KILN_ASSIGN_OR_RETURN(
      StepKernel kernel,
      step_kernel(desc, environment, kPut ? IndexKernel::kPutFamily : IndexKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(IndexKernel params, IndexKernel::from_json(*kernel.params));
  return std::unique_ptr<Step>(new IndexStep(std::move(kernel), std::move(params), kPut));
}

KILN_STEP(cuda_index, "cuda.index", make_index<false>);
KILN_STEP(cuda_index_put, "cuda.index_put", make_index<true>);

}  // namespace
}  // namespace kiln::cuda
