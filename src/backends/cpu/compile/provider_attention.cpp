// Attention on Kiln's own kernel. q, k and v are read where they lie, mostly as views of one packed
// projection; batch dims are brought to [batch, heads].
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/operand_views.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

class AttentionTactic : public Tactic {
 public:
  std::string name() const override { return "attention"; }

  Status lower(Node& node, EngineLowering& lowering) override {
    StepDesc step{"attention", {}, {}, Json::object(), node.origin.to_string(), "attention"};
    const AttentionViews views = attention_views(node, lowering);
    step.inputs = views.inputs;
    step.outputs.push_back(views.out);
    step.params.set("causal", node.get_bool("is_causal"));
    step.params.set("scale", node.get_float("scale"));
    lowering.emit(std::move(step));
    if (views.copies) {
      lowering.emit({"copy", {views.beside}, {views.result}, Json::object(),
                     node.origin.to_string(), "attention"});
    }
    return {};
  }
};

class AttentionProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "attention"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    if (!node.is("attention")) return;
    const DType dtype = node.operand(0)->dtype();
    if (node.has_operand(3)) {
      const DType mask = node.operand(3)->dtype();
      const bool wide = mask == DType::kF32 && dtype != DType::kF64;
      if (mask != DType::kBool && mask != dtype && !wide) {
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
