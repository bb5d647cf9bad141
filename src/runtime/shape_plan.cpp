#include "runtime/shape_plan.h"

#include <algorithm>
#include <map>

namespace kiln {
namespace {

// No single buffer of a plan may be larger; sums of a few thousand such sizes do not overflow.
constexpr int64_t kMaxBufferBytes = int64_t{1} << 46;
// Nor all of them together.
constexpr int64_t kMaxTotalBytes = int64_t{1} << 52;

bool is_empty(const ConcreteView& view) {
  return std::find(view.dims.begin(), view.dims.end(), 0) != view.dims.end();
}

// The whole of its slot, each element once: what a host call must fill, because later steps may
// read any element of the slot.
bool covers_slot(const ConcreteView& view) {
  if (view.num_elements() != view.slot_elements) return false;
  if (view.slot_elements == 0) return true;
  std::vector<size_t> by_stride;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] != 1) by_stride.push_back(i);
  }
  std::sort(by_stride.begin(), by_stride.end(),
            [&](size_t a, size_t b) { return view.strides[a] < view.strides[b]; });
  int64_t expected = 1;
  for (size_t i : by_stride) {
    if (view.strides[i] != expected) return false;
    expected *= view.dims[i];
  }
  return view.offset == 0;
}

// First and last element of a view in bounds that is not empty.
std::pair<int64_t, int64_t> extent_of(const ConcreteView& view) {
  int64_t low = view.offset, high = view.offset;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    const int64_t span = (view.dims[i] - 1) * view.strides[i];
    (span < 0 ? low : high) += span;
  }
  return {low, high};
}

// Kernels take operands that do not overlap their results, but for results in place of an operand.
bool overlaps_badly(const ConcreteView& input, const ConcreteView& output) {
  if (is_empty(input) || is_empty(output)) return false;
  bool same = input.dims == output.dims && input.offset == output.offset;
  for (size_t i = 0; same && i < input.dims.size(); ++i) {
    same = input.dims[i] == 1 || input.strides[i] == output.strides[i];
  }
  if (same) return false;
  const auto [input_low, input_high] = extent_of(input);
  const auto [output_low, output_high] = extent_of(output);
  return input_low <= output_high && output_low <= input_high;
}

}  // namespace

size_t scratch_offset(const ShapePlan& shape) {
  return (static_cast<size_t>(shape.arena_bytes) + 255) / 256 * 256;
}

Result<ConcreteView> concretize(const PlanView& view, const Plan& plan,
                                const std::vector<int64_t>& slot_elements,
                                const SymbolValues& symbols) {
  const Slot& slot = plan.slots[static_cast<size_t>(view.slot)];
  ConcreteView result;
  result.dtype = slot.dtype;
  result.kind = slot.kind;
  KILN_ASSIGN_OR_RETURN(result.dims, evaluate(view.dims, symbols));
  KILN_ASSIGN_OR_RETURN(result.strides, evaluate(view.strides, symbols));
  KILN_ASSIGN_OR_RETURN(result.offset, view.offset.evaluate(symbols));
  result.slot_elements = slot_elements[static_cast<size_t>(view.slot)];
  if (slot.packed || slot.kind == SlotKind::kObject) return result;
  if (!result.in_bounds()) {
    return Status::error("K3110", "view leaves its buffer: slot " + std::to_string(view.slot) +
                                      " of " + std::to_string(result.slot_elements) + " elements");
  }
  if (is_empty(result)) result.offset = 0;  // it may have been anything
  return result;
}

Result<std::unique_ptr<ShapePlan>> ShapePlan::make(const Plan& plan,
                                                   const std::vector<std::unique_ptr<Step>>& steps,
                                                   SymbolValues symbols, int threads,
                                                   const std::vector<const ConstantData*>& packed,
                                                   const std::vector<int>* chains) {
  auto result = std::make_unique<ShapePlan>();
  result->threads = threads;
  const size_t num_slots = plan.slots.size();
  std::vector<int64_t> elements(num_slots, 0);
  int64_t total_bytes = 0;
  result->slot_bytes.assign(num_slots, 0);
  result->temp_offset.assign(num_slots, -1);
  for (size_t i = 0; i < num_slots; ++i) {
    const Slot& slot = plan.slots[i];
    if (slot.packed || slot.kind == SlotKind::kObject) continue;
    KILN_ASSIGN_OR_RETURN(elements[i], slot.num_elements.evaluate(symbols));
    const auto size = static_cast<int64_t>(dtype_bytes(slot.dtype));
    if (elements[i] < 0 || elements[i] > kMaxBufferBytes / size) {
      return Status::error("K4103", "buffer size is out of range: slot " + std::to_string(i) +
                                        ", elements " + std::to_string(elements[i]));
    }
    result->slot_bytes[i] = elements[i] * size;
    total_bytes += result->slot_bytes[i];
    if (total_bytes > kMaxTotalBytes) {
      return Status::error("K4103", "all buffers together are too large");
    }
  }

  std::vector<int> first(num_slots, -1), last(num_slots, -1), chain_of(num_slots, 0);
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const StepDesc& desc = plan.steps[k];
    const bool host = desc.kind == "host.call";
    BindContext context;
    context.symbols = &symbols;
    context.threads = threads;
    bool all_empty = !desc.outputs.empty() && !host;
    auto add = [&](const PlanView& view, std::vector<ConcreteView>& out,
                   std::vector<Address>& addresses) -> Status {
      auto concrete = concretize(view, plan, elements, symbols);
      if (!concrete.ok()) {
        return std::move(concrete).status().at("step " + std::to_string(k) + " " + desc.kind);
      }
      const auto slot = static_cast<size_t>(view.slot);
      concrete->packed = packed[slot];
      addresses.push_back({view.slot, concrete->offset * static_cast<int64_t>(
                                                             dtype_bytes(plan.slots[slot].dtype))});
      out.push_back(std::move(*concrete));
      return {};
    };
    RunStep step;
    step.index = static_cast<int>(k);
    step.host = host;
    for (const PlanView& view : desc.inputs) {
      KILN_RETURN_IF_ERROR(add(view, context.inputs, step.inputs));
    }
    for (const PlanView& view : desc.outputs) {
      KILN_RETURN_IF_ERROR(add(view, context.outputs, step.outputs));
      const Slot& slot = plan.slots[static_cast<size_t>(view.slot)];
      if (slot.packed || context.outputs.back().num_elements() != 0) all_empty = false;
    }
    const int position = static_cast<int>(result->steps.size());
    auto touch = [&](const PlanView& view) {
      const auto slot = static_cast<size_t>(view.slot);
      if (first[slot] < 0) first[slot] = position;
      last[slot] = position;
      if (chains != nullptr) chain_of[slot] = (*chains)[k];
    };
    if (all_empty) continue;
    for (size_t j = 0; j < desc.outputs.size(); ++j) {
      const auto slot = static_cast<size_t>(desc.outputs[j].slot);
      if (plan.slots[slot].packed) continue;
      if (plan.slots[slot].kind == SlotKind::kHost && !covers_slot(context.outputs[j])) {
        return Status::error("K3111",
                             "result of a host call is not the whole of its buffer: slot " +
                                 std::to_string(slot))
            .at("step " + std::to_string(k) + " " + desc.kind);
      }
      for (size_t i = 0; i < desc.inputs.size(); ++i) {
        if (desc.inputs[i].slot != desc.outputs[j].slot) continue;
        if (host || overlaps_badly(context.inputs[i], context.outputs[j])) {
          return Status::error("K3111", "result overlaps an operand: slot " + std::to_string(slot))
              .at("step " + std::to_string(k) + " " + desc.kind);
        }
      }
    }
    auto bound = steps[k]->bind(context);
    if (!bound.ok()) {
      return std::move(bound).status().at(desc.kind + " " + desc.label + " " + desc.origin);
    }
    step.step = std::move(bound).value();
    std::for_each(desc.inputs.begin(), desc.inputs.end(), touch);
    std::for_each(desc.outputs.begin(), desc.outputs.end(), touch);
    result->scratch_bytes = std::max(result->scratch_bytes, step.step->scratch_bytes());
    result->max_views = std::max({result->max_views, step.inputs.size(), step.outputs.size()});
    result->steps.push_back(std::move(step));
  }

  struct Requests {
    std::vector<ArenaRequest> requests;
    std::vector<size_t> slots;
  };
  std::map<int, Requests> arenas;  // by chain
  for (size_t i = 0; i < num_slots; ++i) {
    const Slot& slot = plan.slots[i];
    if (last[i] < 0) continue;
    if (slot.kind == SlotKind::kTemp) {
      Requests& arena = arenas[chain_of[i]];
      arena.requests.push_back({result->slot_bytes[i], first[i], last[i]});
      arena.slots.push_back(i);
    } else if (slot.kind == SlotKind::kHost || (slot.kind == SlotKind::kObject && slot.index < 0)) {
      result->steps[static_cast<size_t>(last[i])].released.push_back(static_cast<int>(i));
    }
  }
  for (const auto& [chain, arena] : arenas) {
    const ArenaLayout layout = plan_arena(arena.requests);
    for (size_t i = 0; i < arena.slots.size(); ++i) {
      result->temp_offset[arena.slots[i]] = layout.offsets[i];
    }
    result->arena_bytes = std::max(result->arena_bytes, layout.bytes);
  }
  result->symbols = std::move(symbols);
  return result;
}

}  // namespace kiln
