#include "runtime/plan.h"

#include <set>

#include "base/hash.h"
#include "runtime/strided_copy.h"

namespace kiln {
namespace {

// Placing the buffers takes time quadratic in their number.
constexpr size_t kMaxSlots = 50'000;

Status bad(const std::string& what) { return Status::error("K3101", "plan is not valid: " + what); }

bool is_permutation(const std::vector<int>& order, size_t rank) {
  if (order.empty()) return true;
  if (order.size() != rank) return false;
  std::set<int> seen;
  for (int dim : order) {
    if (dim < 0 || dim >= static_cast<int>(rank) || !seen.insert(dim).second) return false;
  }
  return true;
}

Status verify_signature(const TensorSignature& signature, const std::string& what) {
  if (signature.dims.size() > kMaxRank) return bad(what + " has too many dims");
  if (signature.scalar && *signature.scalar != DType::kI64 && *signature.scalar != DType::kF64 &&
      *signature.scalar != DType::kBool) {
    return bad(what + " is a number of no kind of number");
  }
  if (!signature.strides.empty() && signature.strides.size() != signature.dims.size()) {
    return bad(what + " has another number of strides than dims");
  }
  if (!is_permutation(signature.order, signature.dims.size())) {
    return bad(what + " has a memory order that is no permutation");
  }
  return {};
}

// Slots that the run itself fills before any step.
bool is_given(const EnginePlan& plan, const Slot& slot, bool init) {
  if (slot.kind == SlotKind::kInput || slot.kind == SlotKind::kConstant) return true;
  return !init && slot.kind == SlotKind::kObject && slot.index >= 0 &&
         slot.index < static_cast<int>(plan.inputs.size()) &&
         plan.inputs[static_cast<size_t>(slot.index)].is_object;
}

Status verify_plan(const EnginePlan& engine, const Plan& plan, bool init) {
  const std::string where = init ? "init plan: " : "main plan: ";
  if (plan.slots.size() > kMaxSlots || plan.steps.size() > kMaxSlots) {
    return bad(where + "too many slots or steps");
  }
  std::vector<bool> written(plan.slots.size(), false);
  std::set<int> writable_inputs;
  for (const PlanOutput& output : engine.outputs) {
    if (output.kind == PlanOutput::Kind::kWriteInput) writable_inputs.insert(output.target);
  }
  std::set<std::pair<SlotKind, int>> positions;
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    const std::string name = where + "slot " + std::to_string(i);
    written[i] = is_given(engine, slot, init);
    if (slot.packed && slot.kind != (init ? SlotKind::kOutput : SlotKind::kConstant)) {
      return bad(name + " cannot be packed");
    }
    size_t limit = 0;
    switch (slot.kind) {
      case SlotKind::kInput: limit = init ? engine.weights.size() : engine.inputs.size(); break;
      case SlotKind::kOutput: limit = init ? 0 : engine.outputs.size(); break;
      case SlotKind::kConstant: limit = init ? 0 : engine.constants.size(); break;
      case SlotKind::kHost:
        if (init) return bad(name + " has a kind that init plans do not have");
        continue;
      case SlotKind::kObject: {
        if (init) return bad(name + " has a kind that init plans do not have");
        if (slot.index < 0) continue;
        const auto index = static_cast<size_t>(slot.index);
        const bool is_input = index < engine.inputs.size() && engine.inputs[index].is_object;
        const bool is_output =
            index < engine.outputs.size() && engine.outputs[index].signature.is_object;
        if (!is_input && !is_output) {
          return bad(name + " has no such position: " + std::to_string(slot.index));
        }
        continue;
      }
      case SlotKind::kTemp: continue;
    }
    if (init && slot.kind == SlotKind::kOutput) continue;
    if (init && slot.kind == SlotKind::kConstant) return bad(name + " is a constant");
    if (slot.index < 0 || static_cast<size_t>(slot.index) >= limit) {
      return bad(name + " has no such position: " + std::to_string(slot.index));
    }
    if (slot.kind != SlotKind::kConstant && !positions.emplace(slot.kind, slot.index).second) {
      return bad(name + " repeats a position");
    }
    if (slot.kind == SlotKind::kConstant) {
      const int source = engine.constants[static_cast<size_t>(slot.index)];
      if (source < 0 || static_cast<size_t>(source) >= engine.init.slots.size()) {
        return bad(name + " refers to no slot of the init plan");
      }
      const Slot& from = engine.init.slots[static_cast<size_t>(source)];
      if ((from.kind != SlotKind::kInput && from.kind != SlotKind::kOutput) ||
          from.packed != slot.packed) {
        return bad(name + " refers to a slot of another kind");
      }
    }
    if (!init && slot.kind == SlotKind::kInput) {
      const TensorSignature& input = engine.inputs[static_cast<size_t>(slot.index)];
      if (input.is_object || input.dtype != slot.dtype ||
          !(num_elements(input.dims) == slot.num_elements)) {
        return bad(name + " differs from the input's signature");
      }
    }
    if (!init && slot.kind == SlotKind::kOutput) {
      const PlanOutput& output = engine.outputs[static_cast<size_t>(slot.index)];
      if (output.signature.is_object || output.kind != PlanOutput::Kind::kResult ||
          output.signature.dtype != slot.dtype ||
          !(num_elements(output.signature.dims) == slot.num_elements)) {
        return bad(name + " differs from the output's signature");
      }
    }
  }
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const StepDesc& step = plan.steps[k];
    const bool host = step.kind == "host.call";
    const std::string name = where + "step " + std::to_string(k) + " (" + step.kind + ")";
    if (init && host) return bad(name + " calls the host");
    auto check_view = [&](const PlanView& view) -> Status {
      if (view.slot < 0 || static_cast<size_t>(view.slot) >= plan.slots.size()) {
        return bad(name + " names no slot");
      }
      if (view.dims.size() != view.strides.size() || view.dims.size() > kMaxRank) {
        return bad(name + " has a view with wrong rank");
      }
      const Slot& slot = plan.slots[static_cast<size_t>(view.slot)];
      if (slot.kind == SlotKind::kObject && !host) return bad(name + " takes a host object");
      if (slot.packed && (!view.dims.empty() || !view.offset.is_value(0))) {
        return bad(name + " takes a view of packed bytes");
      }
      return {};
    };
    for (const PlanView& view : step.inputs) {
      KILN_RETURN_IF_ERROR(check_view(view));
      if (!written[static_cast<size_t>(view.slot)]) {
        return bad(name + " reads a slot that was not written: " + std::to_string(view.slot));
      }
      // The size of packed bytes is known only to the step that writes them.
      if (init && plan.slots[static_cast<size_t>(view.slot)].packed) {
        return bad(name + " reads packed bytes: " + std::to_string(view.slot));
      }
    }
    for (const PlanView& view : step.outputs) {
      KILN_RETURN_IF_ERROR(check_view(view));
      const auto index = static_cast<size_t>(view.slot);
      const Slot& slot = plan.slots[index];
      const bool host_slot = slot.kind == SlotKind::kHost || slot.kind == SlotKind::kObject;
      if (host_slot != host) return bad(name + " writes a slot of the wrong kind");
      if (slot.kind == SlotKind::kConstant ||
          (slot.kind == SlotKind::kInput && (init || !writable_inputs.contains(slot.index)))) {
        return bad(name + " writes a slot that is read-only");
      }
      if (slot.packed && written[index]) return bad(name + " packs a second time");
      written[index] = true;
    }
  }
  if (init) {
    for (int slot : engine.constants) {
      if (slot < 0 || static_cast<size_t>(slot) >= plan.slots.size() ||
          !written[static_cast<size_t>(slot)]) {
        return bad("constant is never computed: slot " + std::to_string(slot));
      }
    }
    return {};
  }
  std::vector<bool> found(engine.outputs.size(), false);
  for (size_t s = 0; s < plan.slots.size(); ++s) {
    const Slot& slot = plan.slots[s];
    if (slot.index < 0 || static_cast<size_t>(slot.index) >= found.size() || !written[s]) continue;
    const auto index = static_cast<size_t>(slot.index);
    const SlotKind expected =
        engine.outputs[index].signature.is_object ? SlotKind::kObject : SlotKind::kOutput;
    if (slot.kind == expected) found[index] = true;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (engine.outputs[i].kind == PlanOutput::Kind::kResult && !found[i]) {
      return bad("output is never written: " + std::to_string(i));
    }
  }
  return {};
}

// States come last, with a weight of their type to start from.
Status verify_state(const EnginePlan& plan, size_t i) {
  const TensorSignature& input = plan.inputs[i];
  const std::string name = "input " + std::to_string(i);
  if (!input.is_state) {
    if (i > 0 && plan.inputs[i - 1].is_state) return bad(name + " comes after state");
    return input.initial < 0 ? Status() : bad(name + " has an initial value but is no state");
  }
  if (input.is_object) return bad(name + " is state and an object");
  for (const DimExpr& dim : input.dims) {
    if (!dim.is_constant() || dim.value() < 0) return bad(name + " is state of no fixed size");
  }
  for (size_t j = 0; j < i; ++j) {
    if (plan.inputs[j].is_state && plan.inputs[j].name == input.name) {
      return bad(name + " repeats the name of a state");
    }
  }
  if (input.initial < 0) return {};
  if (static_cast<size_t>(input.initial) >= plan.weights.size()) {
    return bad(name + " starts from no weight");
  }
  const WeightSignature& weight = plan.weights[static_cast<size_t>(input.initial)];
  if (weight.dtype != input.dtype || Shape(weight.dims.begin(), weight.dims.end()) != input.dims) {
    return bad(name + " starts from a weight of another type");
  }
  return {};
}

// Views of outputs: of a tensor of this signature, in dims that may be. Sizes that depend on
// symbols are checked where they are known.
Status verify_view(const EnginePlan& plan, const PlanOutput& output, const std::string& name) {
  const bool of_input = output.kind == PlanOutput::Kind::kViewOfInput;
  if (!of_input && output.kind != PlanOutput::Kind::kViewOfOutput) {
    return output.view.empty() ? Status() : bad(name + " is no view");
  }
  const auto target = static_cast<size_t>(output.target);
  const TensorSignature& from = of_input ? plan.inputs[target] : plan.outputs[target].signature;
  if (!of_input && plan.outputs[target].kind != PlanOutput::Kind::kResult) {
    return bad(name + " is a view of no result");
  }
  if (from.is_object || output.signature.is_object) {
    return from.is_object && output.signature.is_object && output.view.empty()
               ? Status()
               : bad(name + " is a view of an object");
  }
  const auto dims = view_dims(output.view, from.dims);
  if (!dims.ok() || from.dtype != output.signature.dtype ||
      dims->size() != output.signature.dims.size()) {
    return bad(name + " does not fit what it views");
  }
  return {};
}

}  // namespace

Status verify(const EnginePlan& plan) {
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    KILN_RETURN_IF_ERROR(verify_signature(plan.inputs[i], "input " + std::to_string(i)));
    KILN_RETURN_IF_ERROR(verify_state(plan, i));
  }
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const PlanOutput& output = plan.outputs[i];
    KILN_RETURN_IF_ERROR(verify_signature(output.signature, "output " + std::to_string(i)));
    const size_t targets =
        output.kind == PlanOutput::Kind::kViewOfOutput ? plan.outputs.size() : plan.inputs.size();
    if (output.kind != PlanOutput::Kind::kResult &&
        (output.target < 0 || static_cast<size_t>(output.target) >= targets)) {
      return bad("output refers to no input: " + std::to_string(i));
    }
    KILN_RETURN_IF_ERROR(verify_view(plan, output, "output " + std::to_string(i)));
  }
  for (const SizeCondition& condition : plan.conditions) {
    std::set<std::string> names;
    condition.collect_symbols(names);
    for (const std::string& name : names) {
      if (!plan.symbols.contains(name)) return bad("condition names an unknown symbol: " + name);
    }
  }
  for (const WeightSignature& weight : plan.weights) {
    if (weight.dims.size() > kMaxRank) return bad("weight has too many dims: " + weight.name);
    if (!weight.fixed_hash.empty() && !Hash128::from_hex(weight.fixed_hash)) {
      return bad("hash of a weight is malformed: " + weight.name);
    }
  }
  KILN_RETURN_IF_ERROR(verify_plan(plan, plan.init, true));
  return verify_plan(plan, plan.main, false);
}

}  // namespace kiln
