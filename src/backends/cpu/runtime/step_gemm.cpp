// "gemm": C = A B (+ bias) on Kiln's own kernel, f32 and f64, any strides.
//
// Inputs a [batch..., m, k], b [batch..., k, n] and, when there are three, bias [n] (contiguous);
// output [batch..., m, n]. Batch dims of a and b broadcast. No params.
#include <algorithm>
#include <string>

#include "backends/cpu/kernels/gemm.h"
#include "backends/cpu/runtime/step_views.h"
#include "runtime/step.h"

namespace kiln {
namespace {

constexpr std::string_view kName = "gemm";

class BoundGemm : public BoundStep {
 public:
  BoundGemm(const cpu::GemmParams& params, int threads) : plan_(params, threads) {}

  size_t scratch_bytes() const override { return plan_.scratch_bytes(); }
  Status run(const RunArgs& args) override {
    plan_.run(args.inputs[0], args.inputs[1], plan_.params.has_bias ? args.inputs[2] : nullptr,
              args.outputs[0], args.scratch);
    return {};
  }
  std::string implementation() const override { return "kiln:gemm"; }

 private:
  cpu::GemmPlan plan_;
};

// Strides of the batch dims of `view` in those of the result.
Status batch_strides(const ConcreteView& view, const ConcreteView& result, cpu::Dims* strides) {
  const size_t added = result.dims.size() - view.dims.size();
  for (size_t i = 0; i + 2 < view.dims.size(); ++i) {
    if (view.dims[i] == result.dims[added + i]) {
      (*strides)[added + i] = view.strides[i];
    } else if (view.dims[i] != 1) {
      return Status::error("K3245", "gemm: batch dims do not broadcast, " +
                                        std::to_string(view.dims[i]) + " and " +
                                        std::to_string(result.dims[added + i]));
    }
  }
  return {};
}

class GemmStep : public Step {
 public:
  Result<std::unique_ptr<BoundStep>> bind(const BindContext& given) const override {
    BindContext context = given;
    KILN_RETURN_IF_ERROR(cpu::check_views(kName, context));
    const ConcreteView& a = context.inputs[0];
    const ConcreteView& b = context.inputs[1];
    const ConcreteView& c = context.outputs[0];
    const size_t ra = a.dims.size(), rb = b.dims.size(), rc = c.dims.size();
    if (ra < 2 || rb < 2 || rc < ra || rc < rb) {
      return Status::error("K3245", "gemm: ranks of the operands do not fit");
    }
    for (const ConcreteView* view : {&b, &c}) {
      KILN_RETURN_IF_ERROR(cpu::check_dtype(kName, *view, a.dtype));
    }
    cpu::GemmParams p;
    p.dtype = a.dtype;
    p.m = c.dims[rc - 2];
    p.n = c.dims[rc - 1];
    p.k = a.dims[ra - 1];
    if (a.dims[ra - 2] != p.m || b.dims[rb - 2] != p.k || b.dims[rb - 1] != p.n) {
      return Status::error("K3245", "gemm: sizes of the operands do not fit");
    }
    p.a_strides = {a.strides[ra - 2], a.strides[ra - 1]};
    p.b_strides = {b.strides[rb - 2], b.strides[rb - 1]};
    p.c_strides = {c.strides[rc - 2], c.strides[rc - 1]};
    p.batch_rank = static_cast<int>(rc - 2);
    std::copy(c.dims.begin(), c.dims.end() - 2, p.batch_sizes.begin());
    std::copy(c.strides.begin(), c.strides.end() - 2, p.c_batch_strides.begin());
    KILN_RETURN_IF_ERROR(batch_strides(a, c, &p.a_batch_strides));
    KILN_RETURN_IF_ERROR(batch_strides(b, c, &p.b_batch_strides));
    if (context.inputs.size() == 3) {
      const ConcreteView& bias = context.inputs[2];
      KILN_RETURN_IF_ERROR(cpu::check_dims(kName, bias, {p.n}));
      KILN_RETURN_IF_ERROR(cpu::check_dtype(kName, bias, a.dtype));
      if (!bias.is_contiguous()) {
        return Status::error("K3245", "gemm: bias is not contiguous");
      }
      p.has_bias = true;
    }
    KILN_RETURN_IF_ERROR(p.validate());
    return std::unique_ptr<BoundStep>(new BoundGemm(p, context.threads));
  }
};

Result<std::unique_ptr<Step>> make_gemm(const StepDesc& desc, const StepEnvironment&) {
  KILN_RETURN_IF_ERROR(cpu::check_counts(desc, 2, 3, 1));
  return std::unique_ptr<Step>(new GemmStep());
}

KILN_STEP(gemm, "gemm", make_gemm);

}  // namespace
}  // namespace kiln
