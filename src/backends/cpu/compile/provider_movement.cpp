// Moving elements: reorder, flip, roll, pad, scans, sorts, and sources that are no tile programs.
#include <algorithm>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/step_tactic.h"

namespace kiln {
namespace {

// Literals travel in the plan as text; larger ones should have become weights.
constexpr int64_t kMaxLiteralBytes = 1 << 20;

Status lower_copy(const PlanView& source, Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "copy");
  step.inputs.push_back(source);
  step.outputs.push_back(lowering.allocate(node.result()));
  lowering.emit(std::move(step));
  return {};
}

Status lower_reorder(Node& node, EngineLowering& lowering) {
  return lower_copy(lowering.view(node.operand(0)), node, lowering);
}

Status lower_flip(Node& node, EngineLowering& lowering) {
  PlanView source = lowering.view(node.operand(0));
  for (int64_t axis : node.get_ints("axes")) {
    const auto i = static_cast<size_t>(axis);
    source.offset += (source.dims[i] - 1) * source.strides[i];
    source.strides[i] = -source.strides[i];
  }
  return lower_copy(source, node, lowering);
}

Status lower_roll(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "pad");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  std::vector<DimExpr> low(step.inputs[0].dims.size());
  const std::vector<int64_t>& axes = node.get_ints("axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    low[static_cast<size_t>(axes[i])] = node.get_dims("shifts")[i];
  }
  step.params.set("mode", "roll");
  step.params.set("low", dims_param(low));
  step.params.set("value", 0.0);
  lowering.emit(std::move(step));
  return {};
}

Status lower_pad(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "pad");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("mode", node.get_string("mode"));
  step.params.set("low", dims_param(node.get_dims("low")));
  step.params.set("value", node.get_float("value"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_scan(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "scan");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("op", node.is("cumsum") ? "sum" : "prod");
  step.params.set("axis", node.get_int("axis"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_sort(Node& node, EngineLowering& lowering) {
  const bool topk = node.is("topk");
  StepDesc step = step_for(node, "sort");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs = {lowering.allocate(node.result(0)), lowering.allocate(node.result(1))};
  step.params.set("axis", node.get_int("axis"));
  step.params.set("descending", node.get_bool(topk ? "largest" : "descending"));
  // What torch leaves open is defined here: in order, and stable.
  step.params.set("sorted", true);
  lowering.emit(std::move(step));
  return {};
}

Status lower_iota(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "iota");
  step.outputs.push_back(lowering.allocate(node.result()));
  step.params.set("start", node.get_dim("start").to_string());
  step.params.set("step", node.get_dim("step").to_string());
  step.params.set("scale", node.get_float("scale"));
  step.params.set("offset", node.get_float("offset"));
  lowering.emit(std::move(step));
  return {};
}

Status lower_constant(Node& node, EngineLowering& lowering) {
  const auto& value = std::get<HostTensor>(node.attr("value"));
  StepDesc step = step_for(node, "literal");
  step.outputs.push_back(lowering.allocate(node.result()));
  std::string hex;
  constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = 0; i < value.num_bytes(); ++i) {
    const auto byte = static_cast<unsigned>(value.bytes()[i]);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  step.params.set("bytes", std::move(hex));
  lowering.emit(std::move(step));
  return {};
}

struct Entry {
  std::string_view op;
  LowerFunction lower;
};
constexpr Entry kEntries[] = {
    {"reorder", lower_reorder}, {"flip", lower_flip},       {"roll", lower_roll},
    {"pad", lower_pad},         {"cumsum", lower_scan},     {"cumprod", lower_scan},
    {"sort", lower_sort},       {"topk", lower_sort},       {"iota", lower_iota},
    {"constant", lower_constant},
};

class MovementProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "movement"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    for (const Entry& entry : kEntries) {
      if (entry.op != node.op_name()) continue;
      if (!node.result()->tensor().layout.is_strided()) {
        out.refusals.push_back({"movement", "result has a blocked or packed layout"});
        return;
      }
      if (node.is("constant")) {
        const auto bytes = std::get<HostTensor>(node.attr("value")).num_bytes();
        if (bytes > static_cast<size_t>(kMaxLiteralBytes)) {
          out.refusals.push_back({"movement", "literal is too large for a plan"});
          return;
        }
      }
      out.tactics.push_back(std::make_unique<StepTactic>(std::string(entry.op), entry.lower));
    }
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_movement_provider() {
  return std::make_unique<MovementProvider>();
}

}  // namespace kiln
