// Attention on Kiln's own kernel. q, k and v are read where they lie, mostly as views of one packed
// projection; batch dims are brought to [batch, heads].
#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "backends/cuda/compile/attention_choice.h"
#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/attention_kernel.h"
#include "backends/operand_views.h"
#include "backends/step_tactic.h"
#include "base/options.h"

namespace kiln::cuda {
namespace {

int64_t constant_or_zero(const DimExpr& size) { return size.is_constant() ? size.value() : 0; }

// The tilings that the debug switch names, or those that are expected to be the fastest; one of
// them for every GPU.
std::vector<AttentionTiling> choose(const AttentionProblem& problem, const DeviceSpec& device,
                                    bool tune) {
  const std::vector<AttentionTiling> possible = attention_tilings(problem, device);
  std::vector<AttentionTiling> chosen;
  std::string_view rest = debug_options().attention_tilings;
  if (rest == "none") rest = {};  // some kernel has to stand in for cuDNN
  if (rest == "all" || (rest.empty() && tune)) {
    chosen = possible;
  } else if (rest.empty()) {
    chosen = {possible[0]};
  }
  while (!rest.empty() && rest != "all") {
    const size_t end = std::min(rest.find('+'), rest.size());
    const auto tiling = parse_attention_tiling(rest.substr(0, end));
    if (tiling.ok() && std::find(possible.begin(), possible.end(), *tiling) != possible.end()) {
      chosen.push_back(*tiling);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const auto by_warps = [](const AttentionTiling& tiling) { return !tiling.warpgroup; };
  if (std::none_of(chosen.begin(), chosen.end(), by_warps)) {
    chosen.push_back(*std::find_if(possible.begin(), possible.end(), by_warps));
  }
  return chosen;
}

class AttentionTactic : public Tactic {
 public:
  AttentionTactic(const DeviceSpec& device, bool tune) : device_(device), tune_(tune) {}

  std::string name() const override { return "attention"; }

  Status lower(Node& node, EngineLowering& lowering) override {
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
    kernel.causal = node.get_bool("is_causal");
    const double scale = node.get_float("scale");
    // Without a depth all scores are zero, whatever the scale.
    kernel.scale = scale != 0             ? scale
                   : kernel.head_dim == 0 ? 1.0
                                          : 1.0 / std::sqrt(static_cast<double>(kernel.head_dim));
    kernel.mask = mask != nullptr;
    if (kernel.mask) kernel.mask_dtype = node.operand(3)->dtype();
    kernel.wide = !all_narrow({&q, &k, &v, &out}, lowering.symbols()) ||
                  (mask != nullptr && !all_narrow({mask}, lowering.symbols()));
    KILN_ASSIGN_OR_RETURN(const NamedSizes<DimExpr> sizes, attention_sizes(q, k, v, mask, out));
    kernel.sizes = KernelSizes(sizes);
    add_kernels(kernel, step, lowering);
    lowering.emit(std::move(step));
    if (views.copies) {
      emit_copy(views.beside, views.result, dtype, node.origin, "attention", lowering);
    }
    return {};
  }

 private:
  void add_kernels(AttentionKernel& kernel, StepDesc& step, EngineLowering& lowering) const {
    AttentionStepParams params;
    kernel.matrix = AttentionKernel::takes_matrix(kernel.dtype, kernel.head_dim, kernel.value_dim);
    if (!kernel.matrix) {
      kernel.tiling.keys =
          AttentionKernel::simt_keys(kernel.dtype, kernel.head_dim, kernel.value_dim);
      step.params.set(params.kernel_key(0), lowering.kernel({kernel.family(), kernel.to_json()}));
      return;
    }
    const PlanView& q = step.inputs[0];
    const PlanView& k = step.inputs[1];
    kernel.q_eight = takes_width(q, 3, 8);
    kernel.k_eight = takes_width(k, 3, 8);
    kernel.v_eight = takes_width(step.inputs[2], 3, 8);
    kernel.o_eight = takes_width(step.outputs[0], 3, 8);
    if (kernel.mask) {
      for (const KernelSizes::Entry& entry : kernel.sizes.entries()) {
        if (entry.name == "m2") kernel.mask_of_columns = entry.baked == 0;
      }
      kernel.mask_pairs = !kernel.mask_of_columns && takes_width(step.inputs[3], 3, 2);
    }
    AttentionProblem problem;
    problem.rows = constant_or_zero(q.dims[2]);
    problem.columns = constant_or_zero(k.dims[2]);
    problem.head_dim = kernel.head_dim;
    problem.value_dim = kernel.value_dim;
    problem.mask_of_rows = kernel.mask && !kernel.mask_of_columns;
    problem.all_eight = kernel.all_eight();
    const std::vector<AttentionTiling> tilings = choose(problem, device_, tune_);
    for (size_t i = 0; i < tilings.size(); ++i) {
      kernel.tiling = tilings[i];
      kernel.once = problem.columns > 0 && problem.columns <= kernel.tiling.keys;
      step.params.set(params.kernel_key(static_cast<int64_t>(i)),
                      lowering.kernel({kernel.family(), kernel.to_json()}));
    }
    params.kernels = static_cast<int64_t>(tilings.size());
    params.preferred_keys = preferred_attention_keys(problem, tilings[0]);
    params.tune = tune_ && tilings.size() > 1;
    params.add_to(step.params);
  }

  DeviceSpec device_;
  bool tune_;
};

class AttentionProvider : public KernelProvider {
 public:
  explicit AttentionProvider(const LibraryWishes& wishes) : tune_(wishes.tune) {}

  std::string_view name() const override { return "cuda.attention"; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    if (!node.is("attention")) return;
    const DType dtype = node.operand(0)->dtype();
    const auto refuse = [&](std::string reason) {
      out.refusals.push_back({"cuda.attention", std::move(reason)});
    };
    const DimExpr& head = node.operand(0)->shape().back();
    const DimExpr& value = node.operand(2)->shape().back();
    if (!head.is_constant() || !value.is_constant()) return refuse("head sizes are symbolic");
    if (AttentionKernel::simt_keys(dtype, head.value(), value.value()) == 0) {
      return refuse("heads are too large, " + head.to_string() + " and " + value.to_string());
    }
    out.tactics.push_back(std::make_unique<AttentionTactic>(device, tune_));
  }

 private:
  bool tune_;
};

}  // namespace

std::unique_ptr<KernelProvider> make_attention_provider(const LibraryWishes& wishes) {
  return std::make_unique<AttentionProvider>(wishes);
}

}  // namespace kiln::cuda
