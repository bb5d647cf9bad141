// Attention on Kiln's own kernel. q, k and v are read where they lie, mostly as views of one packed
// projection; batch dims are brought to [batch, heads].
#include "backends/cpu/compile/cpu_backend.h"
#include "base/check.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// [..., heads, length, dim] as [batch, heads, length, dim]; copies only where more than two batch
// dims cannot be merged by strides.
PlanView as_four_dims(const PlanView& view, const Origin& origin, EngineLowering& lowering) {
  const size_t rank = view.dims.size();
  PlanView result = view;
  while (result.dims.size() < 4) {
    result.dims.insert(result.dims.begin(), DimExpr(1));
    result.strides.insert(result.strides.begin(), DimExpr(0));
  }
  if (rank <= 4) return result;
  const Shape batch(view.dims.begin(), view.dims.end() - 3);
  Shape dims{num_elements(batch)};
  dims.insert(dims.end(), view.dims.end() - 3, view.dims.end());
  PlanView merged;
  if (reshape_view(view, dims, &merged)) return merged;
  KILN_CHECK(reshape_view(lowering.materialize(view, {}, origin), dims, &merged));
  return merged;
}

// The mask with the rank of the scores; dims that it lacks have size 1. More than four dims are
// expanded to the sizes of the scores, so that batch dims can be merged.
PlanView mask_view(const PlanView& mask, const Shape& scores) {
  PlanView result = mask;
  while (result.dims.size() < scores.size()) {
    result.dims.insert(result.dims.begin(), DimExpr(1));
    result.strides.insert(result.strides.begin(), DimExpr(0));
  }
  if (scores.size() <= 4) return result;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (result.dims[i] == scores[i]) continue;
    result.dims[i] = scores[i];
    result.strides[i] = DimExpr(0);
  }
  return result;
}

class AttentionTactic : public Tactic {
 public:
  std::string name() const override { return "attention"; }

  Status lower(Node& node, EngineLowering& lowering) override {
    const Shape& q_shape = node.operand(0)->shape();
    StepDesc step{"attention", {}, {}, Json::object(), node.origin.to_string(), "attention"};
    for (int i = 0; i < 3; ++i) {
      step.inputs.push_back(as_four_dims(lowering.view(node.operand(i)), node.origin, lowering));
    }
    if (node.has_operand(3)) {
      Shape scores = q_shape;
      scores.back() = node.operand(1)->shape()[q_shape.size() - 2];
      const PlanView mask = mask_view(lowering.view(node.operand(3)), scores);
      step.inputs.push_back(as_four_dims(mask, node.origin, lowering));
    }
    step.params.set("causal", node.get_bool("is_causal"));
    step.params.set("scale", node.get_float("scale"));

    const PlanView result = lowering.allocate(node.result());
    PlanView out = result;
    if (q_shape.size() <= 4) {
      out = as_four_dims(result, node.origin, lowering);
    } else {
      const Shape batch(result.dims.begin(), result.dims.end() - 3);
      Shape dims{num_elements(batch)};
      dims.insert(dims.end(), result.dims.end() - 3, result.dims.end());
      if (!reshape_view(result, dims, &out)) {
        // The result is part of a larger buffer: compute beside it and copy.
        const PlanView dense = lowering.allocate_temp(node.result()->dtype(), result.dims);
        KILN_CHECK(reshape_view(dense, dims, &out));
        step.outputs.push_back(out);
        lowering.emit(std::move(step));
        lowering.emit({"copy", {dense}, {result}, Json::object(), node.origin.to_string(),
                       "attention"});
        return {};
      }
    }
    step.outputs.push_back(out);
    lowering.emit(std::move(step));
    return {};
  }
};

class AttentionProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "attention"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    if (!node.is("attention")) return;
    const DType dtype = node.operand(0)->dtype();
    if (dtype != DType::kF32 && dtype != DType::kF64) {
      out.refusals.push_back(
          {"attention", "no kernel for dtype " + std::string(dtype_name(dtype))});
      return;
    }
    if (node.has_operand(3)) {
      const DType mask = node.operand(3)->dtype();
      if (mask != DType::kBool && mask != dtype) {
        out.refusals.push_back({"attention", "mask of another dtype, " +
                                                 std::string(dtype_name(mask))});
        return;
      }
    }
    out.tactics.push_back(std::make_unique<AttentionTactic>());
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_attention_provider() {
  return std::make_unique<AttentionProvider>();
}

}  // namespace kiln
