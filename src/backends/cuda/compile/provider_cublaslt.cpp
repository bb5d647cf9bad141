// Matrix products by cuBLASLt, with what its epilogues compute behind them: a factor, a bias, an
// addend, then one activation.
//
// Operands are views as they are: the step finds batches and rows that are one at concrete sizes.
// A copy is made only of operands without a dense dim among their last two, and of the images of
// convolutions that are products of their patches (patch_product.h).
#include <algorithm>
#include <utility>

#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/patch_product.h"
#include "backends/cuda/compile/product_epilogue.h"
#include "backends/cuda/runtime/cublaslt_step.h"
#include "base/check.h"
#include "base/status.h"
#include "fusion/anchor.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cublaslt";
constexpr size_t kMaxRank = 8;

// The activation in the library's terms; false when it has none such.
bool as_matmul_activation(const KernelActivation& activation, MatmulActivation* out) {
  switch (activation.kind) {
    case KernelActivation::Kind::kNone: *out = MatmulActivation::kNone; return true;
    case KernelActivation::Kind::kRelu: *out = MatmulActivation::kRelu; return true;
    case KernelActivation::Kind::kGeluTanh: *out = MatmulActivation::kGeluTanh; return true;
    default: return false;
  }
}

bool takes_activation(const KernelActivation& activation, DType dtype) {
  MatmulActivation any;
  return dtype != DType::kF64 && as_matmul_activation(activation, &any);
}

ProductEpilogue epilogue_of(Node& anchor, const std::vector<Node*>& nodes) {
  return product_epilogue(anchor, nodes, takes_activation);
}

Status supported(Node& anchor) {
  const DType dtype = anchor.result()->dtype();
  if (!is_float(dtype)) {
    return Status::error("K2411", "dtype " + std::string(dtype_name(dtype)));
  }
  if (anchor.result()->shape().size() > kMaxRank) {
    return Status::error("K2411", "more than 8 dims");
  }
  return cublaslt().status();
}

bool is_unit(const PlanView& view, size_t dim) {
  return view.strides[dim].is_value(1) || view.dims[dim].is_value(1);
}

// A dim of the matrix that has one element for all.
bool repeats(const PlanView& view) {
  for (size_t i = view.dims.size() - 2; i < view.dims.size(); ++i) {
    if (view.strides[i].is_value(0) && !view.dims[i].is_value(1)) return true;
  }
  return false;
}

// An operand as [batch..., rows, columns] of `rank` dims, batch dims that repeat as 1.
PlanView matrix_view(PlanView view, bool transposed, size_t rank) {
  const size_t last = view.dims.size() - 1;
  if (transposed) {
    std::swap(view.dims[last], view.dims[last - 1]);
    std::swap(view.strides[last], view.strides[last - 1]);
  }
  const size_t missing = rank - view.dims.size();
  view.dims.insert(view.dims.begin(), missing, DimExpr(1));
  view.strides.insert(view.strides.begin(), missing, DimExpr(1));
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (view.strides[i].is_value(0)) view.dims[i] = 1;
  }
  return view;
}

// The same for results and addends, which have the product's shape: a row vector for one dim.
PlanView at_least_matrix(PlanView view) {
  if (view.dims.size() > 1) return view;
  view.dims.insert(view.dims.begin(), DimExpr(1));
  view.strides.insert(view.strides.begin(), view.dims[1]);
  return view;
}

class MatmulTactic : public Tactic {
 public:
  MatmulTactic(Anchor match, const LibraryWishes& wishes, int sm)
      : match_(std::move(match)), wishes_(wishes), sm_(sm) {}

  std::string name() const override { return std::string(kName); }
  int absorbed() const override { return static_cast<int>(match_.epilogue.size()); }

  Status lower(Node& node, EngineLowering& lowering) override {
    Node& anchor = *match_.anchor;
    const ProductEpilogue epilogue = epilogue_of(anchor, match_.epilogue);
    KILN_CHECK_EQ(epilogue.nodes, static_cast<int>(match_.epilogue.size()));
    const bool linear = anchor.is("linear"), conv = anchor.is("conv");
    const size_t rank = std::max<size_t>(anchor.result()->shape().size(), 2);
    const CublasLtStepParams params = cublaslt_step_params(anchor, epilogue, wishes_, sm_);
    StepDesc step{"cuda.cublaslt", {}, {}, {}, node.origin.to_string(), match_.label()};

    // Results and addends: the columns are the last dim.
    auto columns_last = [&](const PlanView& view) { return conv ? channels_at_end(view) : view; };
    auto operand = [&](const PlanView& given, bool transposed) {
      PlanView view = matrix_view(at_least_matrix(given), transposed, rank);
      if (!repeats(view) && (is_unit(view, rank - 1) || is_unit(view, rank - 2))) return view;
      return lowering.materialize(view, {}, node.origin);
    };
    Value *a = match_.outer(anchor.operand(0)), *b = match_.outer(anchor.operand(1));
    if (conv) {
      const PatchViews views = patch_views(anchor, a, b, lowering, node.origin);
      step.inputs = {operand(views.pixels, false), operand(views.weight, true)};
    } else {
      step.inputs.push_back(operand(lowering.view(a), !linear && anchor.get_bool("transpose_a")));
      step.inputs.push_back(operand(lowering.view(b), linear || anchor.get_bool("transpose_b")));
    }
    Value* bias = anchor.has_operand(2) ? anchor.operand(2) : epilogue.bias;
    if (bias != nullptr) {
      PlanView view = lowering.materialize(lowering.view(match_.outer(bias)), {}, node.origin);
      view.dims = {anchor.result()->shape()[product_column_dim(anchor)]};
      view.strides = {DimExpr(1)};
      step.inputs.push_back(std::move(view));
    }
    if (epilogue.add != nullptr) {
      PlanView view = at_least_matrix(columns_last(lowering.view(match_.outer(epilogue.add))));
      if (!is_unit(view, rank - 1) || repeats(view)) {
        view = lowering.materialize(view, {}, node.origin);
      }
      step.inputs.push_back(std::move(view));
    }
    const PlanView place = columns_last(lowering.allocate(node.result()));
    PlanView target = at_least_matrix(place);
    const bool direct = is_unit(target, rank - 1) && !repeats(target);
    if (!direct) target = lowering.allocate_temp(anchor.result()->dtype(), target.dims);
    step.outputs.push_back(target);
    step.params = params.to_json();
    lowering.emit(std::move(step));
    if (!direct) copy_to_place(target, place, node, lowering);
    return {};
  }

 private:
  Anchor match_;
  LibraryWishes wishes_;
  int sm_;
};

class CublasLtProvider : public KernelProvider {
 public:
  explicit CublasLtProvider(const LibraryWishes& wishes) : wishes_(wishes) {}
  std::string_view name() const override { return kName; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    Anchor match;
    if (!find_anchor(node, {"linear", "matmul", "conv"}, &match)) return;
    if (match.anchor->is("conv") && !is_patch_product(*match.anchor)) return;
    if (const Status status = supported(*match.anchor); !status.ok()) {
      out.refusals.push_back({std::string(kName), status.message()});
      return;
    }
    const auto absorbed = static_cast<size_t>(epilogue_of(*match.anchor, match.epilogue).nodes);
    if (absorbed < match.epilogue.size()) {
      Node* next = match.epilogue[absorbed];
      out.refusals.push_back(
          {std::string(kName), "no epilogue for " + std::string(next->op_name())});
      return;
    }
    out.tactics.push_back(std::make_unique<MatmulTactic>(std::move(match), wishes_, device.sm()));
  }

 private:
  LibraryWishes wishes_;
};

}  // namespace

CublasLtStepParams cublaslt_step_params(Node& anchor, const ProductEpilogue& epilogue,
                                        const LibraryWishes& wishes, int sm) {
  CublasLtStepParams params;
  params.alpha = epilogue.alpha;
  params.bias = anchor.has_operand(2) || epilogue.bias != nullptr;
  params.add = epilogue.add != nullptr;
  KILN_CHECK(as_matmul_activation(epilogue.activation, &params.activation));
  params.allow_tf32 = wishes.allow_tf32 && anchor.result()->dtype() == DType::kF32;
  params.tune = wishes.tune;
  params.workspace_bytes = library_workspace_bytes(sm);
  return params;
}

int cublaslt_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) {
  return supported(anchor).ok() ? epilogue_of(anchor, epilogue).nodes : 0;
}

std::unique_ptr<KernelProvider> make_cublaslt_provider(const LibraryWishes& wishes) {
  return std::make_unique<CublasLtProvider>(wishes);
}

}  // namespace kiln::cuda
