// "dnnl.pool": max and average pooling by oneDNN. Params: dnnl_step_params.h.
#include <algorithm>
#include <utility>

#include "backends/cpu/runtime/dnnl_step_operands.h"
#include "backends/cpu/runtime/dnnl_step_params.h"
#include "base/parallel_for.h"
#include "runtime/step.h"

namespace kiln {
namespace {

Status bad(std::string what) { return Status::error("K3221", std::move(what)); }

class BoundPool : public BoundStep {
 public:
  explicit BoundPool(std::unique_ptr<DnnlPool> pool) : pool_(std::move(pool)) {}

  size_t scratch_bytes() const override { return pool_->scratchpad_bytes(); }
  Status run(const RunArgs& args) override {
    return pool_->run({args.inputs[0], args.outputs[0], {}, args.scratch});
  }
  std::string implementation() const override { return "dnnl:" + pool_->implementation(); }

 private:
  std::unique_ptr<DnnlPool> pool_;
};

class PoolStep : public Step {
 public:
  explicit PoolStep(DnnlPoolStepParams params) : params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    const ScopedNumThreads scope(context.threads);
    const DType dtype = context.inputs[0].dtype;
    KILN_RETURN_IF_ERROR(check_dnnl_dtype(dtype));
    DnnlPoolParams p;
    p.kind = params_.kind;
    KILN_ASSIGN_OR_RETURN(p.src, dnnl_operand(context.inputs[0], dtype));
    KILN_ASSIGN_OR_RETURN(p.dst, dnnl_operand(context.outputs[0], dtype));
    const size_t rank = params_.kernel.size() + 2;
    if (p.src.dims.size() != rank || p.dst.dims.size() != rank ||
        p.src.dims[0] != p.dst.dims[0] || p.src.dims[1] != p.dst.dims[1]) {
      return bad("operands of a pooling do not fit");
    }
    p.kernel = params_.kernel;
    p.stride = params_.stride;
    p.dilation = params_.dilation;
    p.padding_begin = params_.padding;
    for (size_t i = 0; i + 2 < rank; ++i) {
      const int64_t in = p.src.dims[i + 2], out = p.dst.dims[i + 2];
      constexpr int64_t kMaxDim = int64_t{1} << 30;
      if (in > kMaxDim || out > kMaxDim) return bad("operand of a pooling is too large");
      if (p.kernel[i] == 0) p.kernel[i] = in;
      const int64_t extent = p.dilation[i] * (p.kernel[i] - 1) + 1;
      const int64_t needed = (out - 1) * p.stride[i] + extent - in - p.padding_begin[i];
      p.padding_end.push_back(std::max<int64_t>(needed, 0));
      const int64_t reach = in + p.padding_begin[i] + p.padding_end[i] - extent;
      // A window wholly in the padding has no maximum and no average.
      if (reach < 0 || reach / p.stride[i] + 1 != out || p.padding_begin[i] >= extent ||
          p.padding_end[i] >= extent) {
        return bad("output of a pooling has another shape");
      }
    }
    auto pool = DnnlPool::create(p);
    if (!pool.ok() && pool.status().code() == "K4602") {
      p.allow_reference = true;
      pool = DnnlPool::create(p);
    }
    if (!pool.ok()) return std::move(pool).status();
    return std::unique_ptr<BoundStep>(new BoundPool(std::move(pool).value()));
  }

 private:
  DnnlPoolStepParams params_;
};

Result<std::unique_ptr<Step>> make_pool(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(DnnlPoolStepParams params, dnnl_pool_params_from_json(desc.params));
  if (desc.inputs.size() != 1 || desc.outputs.size() != 1) {
    return bad("pooling with a wrong number of operands");
  }
  return std::unique_ptr<Step>(new PoolStep(std::move(params)));
}

KILN_STEP(dnnl_pool, "dnnl.pool", make_pool);

}  // namespace
}  // namespace kiln
