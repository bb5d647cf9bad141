// Attention on Kiln's own kernel. q, k and v are read where they lie, mostly as views of one packed
// projection; batch dims are brought to [batch, heads].
#include <cmath>
#include <utility>

#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/attention_kernel.h"
#include "backends/operand_views.h"
#include "backends/step_tactic.h"

namespace kiln::cuda {
namespace {

Status lower_attention(Node& node, EngineLowering& lowering) {
  const DType dtype = node.result()->dtype();
  StepDesc step = step_for(node, "cuda.attention");
  const AttentionViews views = attention_views(node, lowering);
  const PlanView& out = views.out;
  step.inputs = views.inputs;
  step.outputs.push_back(out);

  const PlanView& q = step.inputs[0];
  const PlanView& k = step.inputs[1];
  const PlanView& v = step.inputs[2];
  const PlanView* mask = step.inputs.size() == 4 ? &step.inputs[3] : nullptr;
  AttentionKernel kernel;
  kernel.dtype = dtype;
  kernel.head_dim = q.dims[3].value();
  kernel.value_dim = v.dims[3].value();
  kernel.matrix = AttentionKernel::keys_for(dtype, true, kernel.head_dim, kernel.value_dim) > 0;
  kernel.keys = AttentionKernel::keys_for(dtype, kernel.matrix, kernel.head_dim, kernel.value_dim);
  kernel.causal = node.get_bool("is_causal");
  const double scale = node.get_float("scale");
  // Without a depth all scores are zero, whatever the scale.
  kernel.scale = scale != 0             ? scale
                 : kernel.head_dim == 0 ? 1.0
                                        : 1.0 / std::sqrt(static_cast<double>(kernel.head_dim));
  kernel.mask = mask != nullptr;
  if (kernel.mask) kernel.mask_dtype = node.operand(3)->dtype();
  kernel.q_eight = kernel.matrix && takes_width(q, 3, 8);
  kernel.k_eight = kernel.matrix && takes_width(k, 3, 8);
  kernel.v_eight = kernel.matrix && takes_width(v, 3, 8);
  kernel.o_eight = kernel.matrix && takes_width(out, 3, 8);
  kernel.wide = !all_narrow({&q, &k, &v, &out}, lowering.symbols()) ||
                (mask != nullptr && !all_narrow({mask}, lowering.symbols()));
  KILN_ASSIGN_OR_RETURN(const NamedSizes<DimExpr> sizes, attention_sizes(q, k, v, mask, out));
  kernel.sizes = KernelSizes(sizes);
  step.params.set("kernel", lowering.kernel({AttentionKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  if (views.copies) {
    emit_copy(views.beside, views.result, dtype, node.origin, "attention", lowering);
  }
  return {};
}

class AttentionProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "cuda.attention"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    if (!node.is("attention")) return;
    const DType dtype = node.operand(0)->dtype();
    const auto refuse = [&](std::string reason) {
      out.refusals.push_back({"cuda.attention", std::move(reason)});
    };
    const DimExpr& head = node.operand(0)->shape().back();
    const DimExpr& value = node.operand(2)->shape().back();
    if (!head.is_constant() || !value.is_constant()) return refuse("head sizes are symbolic");
    if (AttentionKernel::keys_for(dtype, false, head.value(), value.value()) == 0) {
      return refuse("heads are too large, " + head.to_string() + " and " + value.to_string());
    }
    out.tactics.push_back(std::make_unique<StepTactic>("attention", lower_attention));
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_attention_provider() {
  return std::make_unique<AttentionProvider>();
}

}  // namespace kiln::cuda
