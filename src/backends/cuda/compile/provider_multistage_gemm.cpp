// Products of 16-bit matrices by Kiln's own kernels, with what comes behind them: where they are
// expected to be faster than the library's, with the kernels that the library would need for the
// rest, and everywhere where there is none. For few tiles that is multistage_gemm; for many, on
// sm_90, warpgroup_gemm, with one of the others along for GPUs that have no such instructions.
//
// Sizes decide, so they must be numbers.
#include <algorithm>
#include <optional>
#include <utility>

#include "backends/cuda/compile/gemm_choice.h"
#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/patch_product.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/compile/product_epilogue.h"
#include "backends/cuda/compile/warpgroup_choice.h"
#include "backends/cuda/runtime/cublaslt_api.h"
#include "backends/provider_list.h"
#include "base/check.h"
#include "base/options.h"
#include "base/status.h"
#include "fusion/anchor.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.multistage_gemm";
// Fewer rows, or less depth, are no work for matrix instructions.
constexpr int64_t kMinRows = 9, kMinDepth = 32;
// When times are measured: so many tilings, and also where the model thinks that the library is
// faster by less than this.
constexpr size_t kTimedTilings = 10, kTimedWarpgroups = 3;
constexpr double kDoubt = 1.5;
// When they are not, by so much those by warpgroups must be expected to be faster than the library,
// where it computes the same.
constexpr double kSure = 1.08;

bool takes_activation(const KernelActivation&, DType) { return true; }

ProductEpilogue epilogue_of(Node& anchor, const std::vector<Node*>& nodes) {
  return product_epilogue(anchor, nodes, takes_activation);
}

// Of a matmul whose second operand is no transpose: its weights, which are laid out anew at load.
bool turns_weights(Node& anchor) {
  return anchor.is("matmul") && !anchor.get_bool("transpose_b");
}

// The product's sizes; nothing, with the reason, where it is not one for these kernels. `b`: the
// second operand outside.
std::optional<GemmProblem> problem_of(Node& anchor, Value* b, const DeviceSpec& device,
                                      std::string* reason) {
  const auto no = [&](std::string why) {
    *reason = std::move(why);
    return std::nullopt;
  };
  const Shape& shape = anchor.result()->shape();
  const DType dtype = anchor.result()->dtype();
  if (!is_half(dtype)) {
    return no("dtype " + std::string(dtype_name(dtype)));
  }
  if (device.sm() < 80) return no("no matrix instructions for it on " + device.isa);
  const Shape &left = anchor.operand(0)->shape(), &right = b->shape();
  if (anchor.is("matmul")) {
    if (right.size() != 2 || left.size() < 2) return no("several products");
    if (anchor.get_bool("transpose_a") || (turns_weights(anchor) && !b->is_constant_argument())) {
      return no("operands do not lie along the depth");
    }
  }
  if (anchor.is("conv") && !is_patch_product(anchor)) return no("no product of matrices");
  const DimExpr n = shape[product_column_dim(anchor)];
  const DimExpr all = num_elements(shape);
  const DimExpr k = anchor.is("conv") ? num_elements(Shape(right.begin() + 1, right.end()))
                                      : left.back();
  if (!n.is_constant() || !all.is_constant() || !k.is_constant()) return no("sizes are no numbers");
  if (all.value() == 0 || k.value() % 8 != 0) return no("depth " + std::to_string(k.value()));
  GemmProblem problem{all.value() / n.value(), n.value(), k.value()};
  if (problem.m < kMinRows || problem.k < kMinDepth) return no("too small");
  return problem;
}

struct Choice {
  std::vector<GemmTiling> tilings;  // none: the library is better
  std::vector<WarpgroupTiling> warpgroups;  // before these
  bool tune = false;
  bool library = false;  // may stand in
  int nodes = 0;         // of the epilogue
};

// The tilings that the debug switch names.
void force_tilings(const GemmProblem& problem, const DeviceSpec& device, Choice* choice) {
  std::string_view rest = debug_options().gemm_tilings;
  if (rest == "none") return;
  const bool by_warpgroups = takes_warpgroups(problem, device);
  if (rest == "all" || rest == "warpgroups") {
    choice->tilings = gemm_tilings(problem, device);
    if (rest == "warpgroups") choice->tilings.resize(1);
    if (by_warpgroups) choice->warpgroups = warpgroup_tilings(problem.add);
    return;
  }
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('+'), rest.size());
    const auto tiling = parse_gemm_tiling(rest.substr(0, end));
    if (tiling.ok()) choice->tilings.push_back(*tiling);
    const auto warpgroup = parse_warpgroup_tiling(rest.substr(0, end), problem.add);
    if (warpgroup.ok() && by_warpgroups) choice->warpgroups.push_back(*warpgroup);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (choice->tilings.empty() && !choice->warpgroups.empty()) {
    choice->tilings = {gemm_tilings(problem, device)[0]};
  }
}

// The first `count` of tilings that differ in more than their number of stages.
std::vector<GemmTiling> first_unlike(const std::vector<GemmTiling>& tilings, size_t count) {
  std::vector<GemmTiling> result;
  for (const GemmTiling& tiling : tilings) {
    const bool alike = std::any_of(result.begin(), result.end(), [&](GemmTiling other) {
      other.stages = tiling.stages;
      return other == tiling;
    });
    if (!alike && result.size() < count) result.push_back(tiling);
  }
  return result;
}

// Where nodes are fused already, whoever takes the anchor must take them all.
Choice choose(const Anchor& match, const std::vector<Node*>& nodes, const DeviceSpec& device,
              const LibraryWishes& wishes, std::string* reason) {
  Choice choice;
  Node& anchor = *match.anchor;
  const bool fused = match.node != match.anchor;
  std::optional<GemmProblem> problem =
      problem_of(anchor, match.outer(anchor.operand(1)), device, reason);
  if (!problem) return choice;
  const ProductEpilogue epilogue = epilogue_of(anchor, nodes);
  problem->add = epilogue.add != nullptr;
  problem->costly = epilogue.activation.kind != KernelActivation::Kind::kNone &&
                    epilogue.activation.kind != KernelActivation::Kind::kRelu &&
                    epilogue.activation.kind != KernelActivation::Kind::kClip;
  choice.nodes = epilogue.nodes;
  const std::vector<std::string> disabled = disabled_providers();
  const bool library = cublaslt().ok() && std::find(disabled.begin(), disabled.end(),
                                                    "cublaslt") == disabled.end();
  const int by_library = library ? cublaslt_epilogue_length(anchor, nodes) : 0;
  choice.library = library && by_library == choice.nodes;
  const std::string& forced = debug_options().gemm_tilings;
  if (!forced.empty()) {
    force_tilings(*problem, device, &choice);
    choice.tune = wishes.tune;
    *reason = "gemm_tilings=" + forced;
    return choice;
  }
  const std::vector<GemmTiling> tilings = gemm_tilings(*problem, device);
  double others = library_gemm_time(*problem, device);
  if (by_library < choice.nodes) others += elementwise_time(*problem, device);
  const double by_warps = own_gemm_time(*problem, tilings[0], device);
  double own = by_warps;
  // Where the library has everything that is behind the sums, and that is an addend, those are at
  // par with it, so that only a measurement can tell (docs/decisions/020).
  std::vector<WarpgroupTiling> warpgroups;
  if (wishes.tune || !choice.library || !problem->add) {
    warpgroups = warpgroup_gemm_tilings(*problem, device);
  }
  const auto time_of = [&](const WarpgroupTiling& tiling) {
    return warpgroup_gemm_time(*problem, tiling, device) *
           (choice.library && !wishes.tune ? kSure : 1);
  };
  if (!warpgroups.empty()) own = std::min(own, time_of(warpgroups[0]));
  const bool must = fused && by_library < static_cast<int>(nodes.size());
  if (library && !must && own > others * (wishes.tune && choice.library ? kDoubt : 1)) {
    *reason = "the library is expected to be faster";
    return choice;
  }
  choice.tune = wishes.tune;
  // One by warps at least, which runs on any GPU; the others where they may be the fastest.
  const double doubt = wishes.tune ? kDoubt : 1;
  const bool warps = by_warps <= own * doubt;
  choice.tilings = first_unlike(tilings, wishes.tune && warps ? kTimedTilings : 1);
  for (const WarpgroupTiling& tiling : warpgroups) {
    const double time = time_of(tiling);
    if (time > own * doubt || choice.warpgroups.size() == (wishes.tune ? kTimedWarpgroups : 1)) {
      break;
    }
    choice.warpgroups.push_back(tiling);
  }
  return choice;
}

PlanView transposed(PlanView view) {
  std::swap(view.dims[0], view.dims[1]);
  std::swap(view.strides[0], view.strides[1]);
  return view;
}

class MultistageTactic : public Tactic {
 public:
  MultistageTactic(Anchor match, Choice choice, const LibraryWishes& wishes, int sm)
      : match_(std::move(match)), choice_(std::move(choice)), wishes_(wishes), sm_(sm) {}

  std::string name() const override { return "multistage_gemm"; }
  int absorbed() const override { return static_cast<int>(match_.epilogue.size()); }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& anchor = *match_.anchor;
    const ProductEpilogue epilogue = epilogue_of(anchor, match_.epilogue);
    KILN_CHECK_EQ(epilogue.nodes, static_cast<int>(match_.epilogue.size()));
    const bool conv = anchor.is("conv");
    const Shape& shape = anchor.result()->shape();
    const DimExpr n = shape[product_column_dim(anchor)];
    const DimExpr m = num_elements(shape).value() / n.value();
    StepDesc step{std::string(kName), {}, {}, Json::object(), node.origin.to_string(),
                  match_.label()};

    // The view as a matrix, by a copy where its strides cannot say it.
    const auto matrix = [&](const PlanView& view, const Shape& dims) {
      PlanView result;
      if (reshape_view(view, dims, &result)) return result;
      KILN_CHECK(reshape_view(lowering.materialize(view, {}, node.origin), dims, &result));
      return result;
    };
    // With rows that are read by 16 bytes.
    const auto operand = [&](const PlanView& view, const Shape& dims) {
      const PlanView result = matrix(view, dims);
      if (takes_width(result, 1, 8)) return result;
      PlanView dense = lowering.allocate_temp(anchor.result()->dtype(), dims);
      lowering.emit({"copy", {result}, {dense}, Json::object(), node.origin.to_string(), "copy"});
      return dense;
    };
    const auto columns_last = [&](const PlanView& view) {
      return conv ? channels_at_end(view) : view;
    };
    Value *a = match_.outer(anchor.operand(0)), *b = match_.outer(anchor.operand(1));
    PlanView left, right;
    if (conv) {
      const PatchViews views = patch_views(anchor, a, b, lowering, node.origin);
      left = views.pixels;
      right = views.weight;
    } else {
      left = lowering.view(a);
      right = turns_weights(anchor) ? transposed(lowering.constant_in_order(b, {1, 0}))
                                    : lowering.view(b);
    }
    const DimExpr k = right.dims.back();
    step.inputs = {operand(left, {m, k}), transposed(operand(right, {n, k}))};

    MultistageGemm kernel;
    kernel.dtype = anchor.result()->dtype();
    kernel.alpha = epilogue.alpha;
    kernel.activation = epilogue.activation;
    Value* bias = anchor.has_operand(2) ? anchor.operand(2) : epilogue.bias;
    if (bias != nullptr) {
      kernel.bias = true;
      step.inputs.push_back(matrix(lowering.view(match_.outer(bias)), {n}));
    }
    if (epilogue.add != nullptr) {
      kernel.add = true;
      step.inputs.push_back(
          matrix(columns_last(lowering.view(match_.outer(epilogue.add))), {m, n}));
    }
    const PlanView place = columns_last(lowering.allocate(node.result()));
    PlanView target;
    const bool direct = reshape_view(place, {m, n}, &target);
    if (!direct) target = lowering.allocate_temp(kernel.dtype, {m, n});
    step.outputs = {target};
    KILN_RETURN_IF_ERROR(add_kernels(kernel, epilogue, step, lowering));
    lowering.emit(std::move(step));
    if (!direct) copy_to_place(target, place, node, lowering);
    return {};
  }

 private:
  Status add_kernels(MultistageGemm& kernel, const ProductEpilogue& epilogue, StepDesc& step,
                     EngineLowering& lowering) {
    const PlanView& c = step.outputs[0];
    const PlanView* bias = kernel.bias ? &step.inputs[2] : nullptr;
    const PlanView* d = kernel.add ? &step.inputs.back() : nullptr;
    KILN_ASSIGN_OR_RETURN(
        const NamedSizes<DimExpr> sizes,
        multistage_gemm_sizes(step.inputs[0], step.inputs[1], bias, d, c));
    kernel.sizes = KernelSizes(sizes);
    kernel.four = takes_width(c, 1, 4) && (bias == nullptr || takes_width(*bias, 0, 4)) &&
                  (d == nullptr || takes_width(*d, 1, 4));
    kernel.wide =
        !all_narrow({&step.inputs[0], &step.inputs[1], bias, d, &c}, lowering.symbols());
    MultistageGemmStepParams params;
    params.kernels = static_cast<int64_t>(choice_.tilings.size());
    params.tune = choice_.tune;
    for (size_t i = 0; i < choice_.tilings.size(); ++i) {
      kernel.tiling = choice_.tilings[i];
      step.params.set(MultistageGemmStepParams::kernel_key(static_cast<int64_t>(i)),
                      lowering.kernel({MultistageGemm::kFamily, kernel.to_json()}));
    }
    add_warpgroups(kernel, sizes, step, lowering, &params);
    // What the library wants of its operands, beyond what they have.
    const auto dense = [](const PlanView* view) {
      return view == nullptr || view->strides.back().is_value(1);
    };
    const bool stands_in = choice_.tune || params.warpgroup_kernels > 0;
    if (choice_.library && stands_in && dense(bias) && dense(d) && dense(&c)) {
      params.otherwise_kind = "cuda.cublaslt";
      params.otherwise_params =
          cublaslt_step_params(*match_.anchor, epilogue, wishes_, sm_).to_json();
    }
    params.add_to(step.params);
    return {};
  }

  // The same by warpgroups, where the operands lie as they need them. Their sizes are arguments:
  // a kernel takes long to compile, and products of several sizes share one.
  void add_warpgroups(const MultistageGemm& product, const NamedSizes<DimExpr>& sizes,
                      StepDesc& step, EngineLowering& lowering,
                      MultistageGemmStepParams* params) {
    const PlanView &a = step.inputs[0], &b = step.inputs[1];
    bool eight = takes_width(step.outputs[0], 1, 8);
    if (product.bias) eight = eight && takes_width(step.inputs[2], 0, 8);
    if (product.add) eight = eight && takes_width(step.inputs.back(), 1, 8);
    const auto apart = [&](const DimExpr& stride) {
      return stride.is_constant() && stride.value() >= a.dims[1].value();
    };
    if (!eight || !apart(a.strides[0]) || !apart(b.strides[1])) return;
    WarpgroupGemm kernel{product, {}};
    NamedSizes<DimExpr> arguments = sizes;
    for (auto& entry : arguments.entries) entry.size = DimExpr::symbol("any");
    kernel.sizes = KernelSizes(arguments);
    for (const WarpgroupTiling& tiling : choice_.warpgroups) {
      kernel.tiling = tiling;
      step.params.set(MultistageGemmStepParams::warpgroup_key(params->warpgroup_kernels++),
                      lowering.kernel({WarpgroupGemm::kFamily, kernel.to_json()}));
    }
  }

  Anchor match_;
  Choice choice_;
  LibraryWishes wishes_;
  int sm_;
};

class MultistageGemmProvider : public KernelProvider {
 public:
  explicit MultistageGemmProvider(const LibraryWishes& wishes) : wishes_(wishes) {}
  std::string_view name() const override { return kName; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"linear", "matmul", "conv"}, &match)) return;
    if (match.anchor->is("conv") && !is_patch_product(*match.anchor)) return;
    std::string reason;
    Choice choice = choose(match, match.epilogue, device, wishes_, &reason);
    if (choice.tilings.empty()) {
      out.refusals.push_back({std::string(kName), reason});
      return;
    }
    const auto absorbed = static_cast<size_t>(choice.nodes);
    if (absorbed < match.epilogue.size()) {
      Node* next = match.epilogue[absorbed];
      out.refusals.push_back({std::string(kName), "no epilogue for " +
                                                      std::string(next->op_name())});
      return;
    }
    out.tactics.push_back(std::make_unique<MultistageTactic>(std::move(match), std::move(choice),
                                                             wishes_, device.sm()));
  }

 private:
  LibraryWishes wishes_;
};

}  // namespace

int multistage_gemm_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue,
                                    const DeviceSpec& device, const LibraryWishes& wishes) {
  const bool product = anchor.is("linear") || anchor.is("matmul") || is_patch_product(anchor);
  std::string reason;
  if (!product) return 0;
  const Choice choice = choose({&anchor, &anchor, {}}, epilogue, device, wishes, &reason);
  return choice.tilings.empty() ? 0 : choice.nodes;
}

std::unique_ptr<KernelProvider> make_multistage_gemm_provider(const LibraryWishes& wishes) {
  return std::make_unique<MultistageGemmProvider>(wishes);
}

}  // namespace kiln::cuda
