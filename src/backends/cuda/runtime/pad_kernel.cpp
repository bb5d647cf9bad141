#include "backends/cuda/runtime/pad_kernel.h"

#include <algorithm>
#include <utility>

#include "core/dtype.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr std::pair<const char*, PadKernel::Mode> kModes[] = {
    {"constant", PadKernel::Mode::kConstant},
    {"reflect", PadKernel::Mode::kReflect},
    {"replicate", PadKernel::Mode::kReplicate},
    {"circular", PadKernel::Mode::kCircular}};

// Any sum of two of them and a size fits.
constexpr int64_t kMaxPad = int64_t{1} << 46;

}  // namespace

Result<std::vector<int>> order_param(const Json& params, std::string_view key, int rank) {
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> entries, params.ints_at(key));
  std::vector<int> order(entries.begin(), entries.end());
  std::vector<int64_t> sorted = entries;
  std::sort(sorted.begin(), sorted.end());
  bool fits = order.size() <= kMaxViewRank && (rank < 0 || static_cast<int>(order.size()) == rank);
  for (size_t i = 0; fits && i < sorted.size(); ++i) fits = sorted[i] == static_cast<int64_t>(i);
  if (!fits) return Status::error("K3212", "kernel: not an order of dims, " + std::string(key));
  return order;
}

Json PadKernel::to_json() const {
  Json json = Json::object();
  for (const auto& [name, value] : kModes) {
    if (value == mode) json.set("mode", name);
  }
  json.set("bytes", bytes);
  json.set("width", width);
  json.set("value", static_cast<int64_t>(value));
  json.set("together", together);
  json.set("order", Json(order));
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<PadKernel> PadKernel::from_json(const Json& params) {
  PadKernel kernel;
  KILN_ASSIGN_OR_RETURN(const std::string mode, params.string_at("mode"));
  bool known = false;
  for (const auto& [name, value] : kModes) {
    if (mode != name) continue;
    kernel.mode = value;
    known = true;
  }
  KILN_ASSIGN_OR_RETURN(kernel.bytes, params.int_at("bytes", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.width, params.int_at("width", 1, 16));
  KILN_ASSIGN_OR_RETURN(const int64_t bits, params.int_at("value"));
  kernel.value = static_cast<uint64_t>(bits);
  KILN_ASSIGN_OR_RETURN(kernel.together, params.int_at("together", 1, 16));
  KILN_ASSIGN_OR_RETURN(kernel.order, order_param(params, "order"));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  if (!known || (kernel.bytes & (kernel.bytes - 1)) != 0 || kernel.bytes % kernel.width != 0 ||
      (kernel.width == 1 && kernel.bytes > 8) ||
      (kernel.width > 1 && (kernel.value != 0 || kernel.order.empty())) ||
      (kernel.together > 1 &&
       (kernel.width > 1 || kernel.order.empty() ||
        (kernel.together & (kernel.together - 1)) != 0 || kernel.bytes * kernel.together > 16))) {
    return Status::error("K3212", "pad kernel: parameters do not fit each other");
  }
  return kernel;
}

namespace {

class PadStep : public Step {
 public:
  PadStep(StepKernel kernel, PadKernel params, std::vector<DimExpr> low)
      : kernel_(std::move(kernel)), params_(std::move(params)), low_(std::move(low)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(check_views(kName, context));
    const ConcreteView& source = context.inputs[0];
    const ConcreteView& target = context.outputs[0];
    KILN_RETURN_IF_ERROR(check_rank(kName, source, params_.rank()));
    KILN_RETURN_IF_ERROR(check_rank(kName, target, params_.rank()));
    KILN_RETURN_IF_ERROR(check_dtype(kName, target, source.dtype));
    const int64_t element = static_cast<int64_t>(dtype_bytes(source.dtype));
    if (low_.size() != source.dims.size() || params_.bytes != element * params_.width ||
        !takes_width(source, params_.inner(), params_.width) ||
        !takes_width(target, params_.inner(), params_.width * params_.together)) {
      return Status::error("K3212", "pad kernel: made for other operands");
    }
    KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> low, evaluate(low_, *context.symbols));
    for (size_t i = 0; i < low.size(); ++i) {
      KILN_RETURN_IF_ERROR(check_pad(low[i], source.dims[i], target.dims[i]));
    }
    if (params_.width > 1 && (low[params_.inner()] != 0 ||
                              source.dims[params_.inner()] != target.dims[params_.inner()])) {
      return Status::error("K3212", "pad kernel: the innermost dim is padded");
    }
    KILN_RETURN_IF_ERROR(check_narrow(params_.wide, {&source, &target}));
    const ConcreteView from = widened(source, params_.inner(), params_.width);
    const ConcreteView to = widened(target, params_.inner(), params_.width * params_.together);
    std::vector<Argument> arguments{Argument::input(0), Argument::output(0)};
    KILN_RETURN_IF_ERROR(params_.sizes.bind(pad_sizes(from, to, low), &arguments));
    return bind_launch(kernel_,
                       launch_blocks(kernel_, ceil_div(to.num_elements(), kThreads), arguments),
                       context, "kiln:pad");
  }

 private:
  // Every position that the kernel computes lies inside the source, or is never read.
  Status check_pad(int64_t low, int64_t size, int64_t result) const {
    const auto refuse = [&](const char* what) {
      return Status::error("K3242", "cuda.pad: " + std::string(what) + ", " + std::to_string(low) +
                                        " before size " + std::to_string(size));
    };
    if (low > kMaxPad || low < -kMaxPad) return refuse("padding is out of range");
    if (!params_.wide && (low > kOffsetLimit || low < -kOffsetLimit)) {
      return refuse("padding is out of range of 32 bits");
    }
    const int64_t high = result - size - low;
    if (params_.mode == PadKernel::Mode::kReflect && std::max(low, high) > 0 &&
        std::max(low, high) >= size) {
      return refuse("reflected pads must be smaller than the size");
    }
    if (params_.mode != PadKernel::Mode::kConstant && size == 0 && result > 0) {
      return refuse("nothing to pad with");
    }
    return {};
  }

  static constexpr std::string_view kName = "cuda.pad";
  StepKernel kernel_;
  PadKernel params_;
  std::vector<DimExpr> low_;
};

Result<std::unique_ptr<Step>> make_pad(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_RETURN_IF_ERROR(check_counts(desc, 1, 1, 1));
  KILN_ASSIGN_OR_RETURN(StepKernel kernel, step_kernel(desc, environment, PadKernel::kFamily));
  KILN_ASSIGN_OR_RETURN(PadKernel params, PadKernel::from_json(*kernel.params));
  KILN_ASSIGN_OR_RETURN(const std::vector<std::string> texts, desc.params.strings_at("low"));
  std::vector<DimExpr> low;
  for (const std::string& text : texts) {
    KILN_ASSIGN_OR_RETURN(DimExpr dim, DimExpr::parse(text));
    low.push_back(std::move(dim));
  }
  return std::unique_ptr<Step>(new PadStep(std::move(kernel), std::move(params), std::move(low)));
}

KILN_STEP(cuda_pad, "cuda.pad", make_pad);

}  // namespace
}  // namespace kiln::cuda
