// Max and average pooling by oneDNN, channels-last.
#include <utility>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cpu/compile/dnnl_epilogue.h"
#include "base/parallel_for.h"
#include "core/layout.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"
#include "ops/window.h"

namespace kiln {
namespace {

Status refuse(std::string reason) { return Status::error("K2411", std::move(reason)); }

// Adaptive pooling is a plain one where the sizes divide, or where one output sees all.
Result<DnnlPoolStepParams> adaptive_params(Node& node) {
  const Shape& src = node.operand(0)->shape();
  const std::vector<DimExpr>& outputs = node.get_dims("output_size");
  const size_t spatial = outputs.size();
  if (src.size() != spatial + 2) return refuse("no batch axis");
  DnnlPoolStepParams params;
  params.kind = DnnlPoolParams::Kind::kAverage;
  for (size_t i = 0; i < spatial; ++i) {
    const DimExpr& in = src[i + 2];
    const DimExpr& out = outputs[i];
    int64_t kernel = 0, stride = 1;
    if (!out.is_value(1)) {
      if (!in.is_constant() || !out.is_constant() || out.value() < 1 ||
          in.value() % out.value() != 0) {
        return refuse("windows of different sizes");
      }
      kernel = stride = in.value() / out.value();
    }
    params.kernel.push_back(kernel);
    params.stride.push_back(stride);
  }
  params.dilation.assign(spatial, 1);
  params.padding.assign(spatial, 0);
  return params;
}

Result<DnnlPoolStepParams> params_of(Node& node) {
  if (node.is("adaptive_avg_pool")) return adaptive_params(node);
  const Window window = pool_window(node);
  const Shape& src = node.operand(0)->shape();
  if (src.size() != window.kernel.size() + 2) return refuse("no batch axis");
  DnnlPoolStepParams params;
  params.kernel = window.kernel;
  params.stride = window.stride;
  params.dilation = window.dilation;
  params.padding = window.padding_low;
  if (node.is("max_pool")) {
    if (node.get_bool("with_indices")) return refuse("indices are wanted");
    params.kind = DnnlPoolParams::Kind::kMax;
    return params;
  }
  if (node.get_int("divisor_override") != 0) return refuse("divisor_override");
  bool padded = false;
  for (int64_t padding : window.padding_low) padded = padded || padding != 0;
  if (!node.get_bool("count_include_pad") || !padded) {
    params.kind = DnnlPoolParams::Kind::kAverage;
    return params;
  }
  // What a last window has beyond the padding counts in oneDNN's divisor and not in torch's.
  if (node.get_bool("ceil_mode")) return refuse("ceil_mode with padding in the divisor");
  params.kind = DnnlPoolParams::Kind::kAverageWithPadding;
  return params;
}

Status supported(Node& node, const DnnlPoolStepParams& params, int threads) {
  const DType dtype = node.operand(0)->dtype();
  KILN_RETURN_IF_ERROR(check_dnnl_serves(dtype));
  const Shape& src = node.operand(0)->shape();
  const Shape& dst = node.result()->shape();
  if (has_empty_dim(src) || has_empty_dim(dst)) return refuse("a size is 0");
  KILN_ASSIGN_OR_RETURN(const SymbolValues symbols, representative_symbols({src, dst}));
  DnnlPoolParams p;
  p.kind = params.kind;
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> src_dims, evaluate(src, symbols));
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dst_dims, evaluate(dst, symbols));
  p.kernel = params.kernel;
  p.stride = params.stride;
  p.dilation = params.dilation;
  p.padding_begin = params.padding;
  for (size_t i = 0; i < p.kernel.size(); ++i) {
    if (p.kernel[i] == 0) p.kernel[i] = src_dims[i + 2];
    const int64_t extent = p.dilation[i] * (p.kernel[i] - 1) + 1;
    if (p.padding_begin[i] >= extent) return refuse("windows wholly in the padding");
    const int64_t needed = (dst_dims[i + 2] - 1) * p.stride[i] + extent - src_dims[i + 2] -
                           p.padding_begin[i];
    p.padding_end.push_back(std::max<int64_t>(needed, 0));
  }
  p.src = DnnlTensor::channels_last(std::move(src_dims), dtype);
  p.dst = DnnlTensor::channels_last(std::move(dst_dims), dtype);
  const ScopedNumThreads scope(threads);
  return DnnlPool::supports(p);
}

class PoolTactic : public Tactic {
 public:
  explicit PoolTactic(DnnlPoolStepParams params) : params_(std::move(params)) {}

  std::string name() const override { return "dnnl.pool"; }

  Status lower(Node& node, EngineLowering& lowering) override {
    const Shape& dims = node.result()->shape();
    const std::vector<int> order = Layout::channels_last(static_cast<int>(dims.size())).order;
    StepDesc step{"dnnl.pool", {}, {}, to_json(params_), node.origin.to_string(),
                  std::string(node.op_name())};
    step.inputs.push_back(lowering.materialize(lowering.view(node.operand(0)), order, node.origin));
    const PlanView place = lowering.allocate(node.result());
    const std::vector<DimExpr> strides = dense_strides(dims, order);
    bool direct = true;
    for (size_t i = 0; i < dims.size(); ++i) {
      direct = direct && (dims[i].is_value(1) || place.strides[i] == strides[i]);
    }
    const PlanView target =
        direct ? place : lowering.allocate_temp(node.result()->dtype(), dims, order);
    step.outputs.push_back(target);
    lowering.emit(std::move(step));
    if (!direct) {
      lowering.emit({"copy", {target}, {place}, Json::object(), node.origin.to_string(), "copy"});
    }
    return {};
  }

 private:
  DnnlPoolStepParams params_;
};

class PoolProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "dnnl.pool"; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    if (!node.is("max_pool") && !node.is("avg_pool") && !node.is("adaptive_avg_pool")) return;
    auto params = params_of(node);
    Status status = params.status();
    if (status.ok()) status = supported(node, *params, device.threads);
    if (status.ok()) {
      out.tactics.push_back(std::make_unique<PoolTactic>(std::move(params).value()));
    } else {
      out.refusals.push_back({"dnnl.pool", status.message()});
    }
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_dnnl_pool_provider() {
  return std::make_unique<PoolProvider>();
}

}  // namespace kiln
