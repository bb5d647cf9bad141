#include "runtime/constants.h"

#include <algorithm>
#include <string_view>

#include "base/parallel_for.h"
#include "runtime/constant_pool.h"
#include "runtime/given_weights.h"
#include "runtime/memory.h"
#include "runtime/plan_run.h"

namespace kiln {
namespace {

Status check_weights(const EnginePlan& plan, const std::vector<WeightBytes>& weights) {
  if (weights.size() != plan.weights.size()) {
    return Status::error("K3106", "wrong number of weights: " + std::to_string(weights.size()) +
                                      ", expected " + std::to_string(plan.weights.size()));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    KILN_ASSIGN_OR_RETURN(const size_t bytes, weight_size(plan.weights[i]));
    if (bytes != weights[i].bytes) {
      return Status::error("K3106", "weight '" + plan.weights[i].name + "' has " +
                                        std::to_string(weights[i].bytes) + " bytes, expected " +
                                        std::to_string(bytes));
    }
    if (bytes != 0 && weights[i].data == nullptr) {
      return Status::error("K3106", "weight has no data: " + plan.weights[i].name);
    }
  }
  return {};
}

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// What one run of an init plan computes and keeps.
class InitRun {
 public:
  InitRun(const EnginePlan& plan, const std::vector<WeightBytes>& weights,
          const ConstantUpdate& update)
      : plan_(plan), init_(plan.init), weights_(weights), update_(update) {}

  Result<std::shared_ptr<const ConstantSet>> run(const EngineOptions& options);

 private:
  void find_reusable();
  std::vector<bool> wanted_steps() const;
  Status place_weights(const ShapePlan& shape);
  Status size_results(const ShapePlan& shape, const std::vector<bool>& wanted);
  bool restore(ConstantKeeper& keeper);
  void keep(ConstantKeeper& keeper) const;
  Status allocate();
  Status allocate_together(const std::vector<size_t>& slots);
  void place(const std::vector<size_t>& slots, const std::shared_ptr<void>& block);
  void share(ConstantSet& set);

  const EnginePlan& plan_;
  const Plan& init_;
  const std::vector<WeightBytes>& weights_;
  const ConstantUpdate& update_;
  std::vector<ConstantData> kept_;  // per slot
  std::vector<void*> bases_;        // per slot
  std::vector<bool> reused_;        // per slot: taken over from the old constants
  std::vector<size_t> fresh_;       // slots that need memory
};

// Slots of constants that no changed weight reaches.
void InitRun::find_reusable() {
  if (update_.old == nullptr) return;
  std::vector<bool> dirty(init_.slots.size(), false);
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    const Slot& slot = init_.slots[i];
    dirty[i] = slot.kind == SlotKind::kInput && (*update_.changed)[static_cast<size_t>(slot.index)];
  }
  for (const StepDesc& step : init_.steps) {
    const bool reached = std::any_of(step.inputs.begin(), step.inputs.end(), [&](const auto& view) {
      return dirty[static_cast<size_t>(view.slot)];
    });
    if (!reached) continue;
    for (const PlanView& view : step.outputs) dirty[static_cast<size_t>(view.slot)] = true;
  }
  for (size_t k = 0; k < plan_.constants.size(); ++k) {
    const auto slot = static_cast<size_t>(plan_.constants[k]);
    if (init_.slots[slot].kind != SlotKind::kOutput || dirty[slot]) continue;
    kept_[slot] = update_.old->constants[k];
    bases_[slot] = kept_[slot].data;
    reused_[slot] = true;
  }
}

// Steps that something which is not taken over needs.
std::vector<bool> InitRun::wanted_steps() const {
  std::vector<bool> wanted(init_.steps.size(), true);
  if (update_.old == nullptr) return wanted;
  std::vector<bool> needed(init_.slots.size(), false);
  for (int slot : plan_.constants) {
    needed[static_cast<size_t>(slot)] = !reused_[static_cast<size_t>(slot)];
  }
  for (size_t k = init_.steps.size(); k-- > 0;) {
    const StepDesc& step = init_.steps[k];
    wanted[k] = std::any_of(step.outputs.begin(), step.outputs.end(), [&](const auto& view) {
      const auto slot = static_cast<size_t>(view.slot);
      return needed[slot] && !reused_[slot];
    });
    if (!wanted[k]) continue;
    for (const PlanView& view : step.inputs) needed[static_cast<size_t>(view.slot)] = true;
  }
  return wanted;
}

Status InitRun::place_weights(const ShapePlan& shape) {
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    const Slot& slot = init_.slots[i];
    if (slot.kind != SlotKind::kInput) continue;
    const WeightBytes& weight = weights_[static_cast<size_t>(slot.index)];
    if (static_cast<size_t>(shape.slot_bytes[i]) != weight.bytes) {
      return Status::error("K3106", "weight slot and weight differ in size: " +
                                        plan_.weights[static_cast<size_t>(slot.index)].name);
    }
    bases_[i] = const_cast<void*>(weight.data);  // steps never write inputs: checked by verify()
    kept_[i] = {bases_[i], weight.bytes, {}, std::const_pointer_cast<void>(weight.owner)};
  }
  return {};
}

// Sizes of the results that are kept and not taken over: plain ones by their slot, packed ones by
// what the packing step says.
Status InitRun::size_results(const ShapePlan& shape, const std::vector<bool>& wanted) {
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    const Slot& slot = init_.slots[i];
    if (slot.kind != SlotKind::kOutput || slot.packed || reused_[i]) continue;
    kept_[i].bytes = static_cast<size_t>(shape.slot_bytes[i]);
    fresh_.push_back(i);
  }
  for (const ShapePlan::RunStep& step : shape.steps) {
    if (!wanted[static_cast<size_t>(step.index)]) continue;
    for (size_t j = 0; j < step.outputs.size(); ++j) {
      const auto slot = static_cast<size_t>(step.outputs[j].slot);
      if (!init_.slots[slot].packed) continue;
      kept_[slot].bytes = step.step->packed_bytes(static_cast<int>(j));
      if (kept_[slot].bytes == 0) {
        return Status::error(
            "K3107", "step does not pack: " + init_.steps[static_cast<size_t>(step.index)].kind);
      }
      kept_[slot].format = step.step->packed_format(static_cast<int>(j));
      fresh_.push_back(slot);
    }
  }
  return {};
}

// Gives the results the bytes that were kept. False when there are none.
bool InitRun::restore(ConstantKeeper& keeper) {
  std::vector<size_t> sizes;
  size_t total = 0;
  for (size_t slot : fresh_) {
    sizes.push_back(kept_[slot].bytes);
    total += aligned(kept_[slot].bytes);
  }
  // One block for all: there are more huge pages in it. Costs nothing until it is written.
  const std::shared_ptr<void> block = allocate_block(total);
  if (block == nullptr || !keeper.restore(weights_, sizes, block.get())) return false;
  place(fresh_, block);
  return true;
}

void InitRun::keep(ConstantKeeper& keeper) const {
  std::vector<std::string_view> constants;
  for (size_t slot : fresh_) {
    constants.emplace_back(static_cast<const char*>(kept_[slot].data), kept_[slot].bytes);
  }
  keeper.keep(constants);
}

Status InitRun::allocate() {
  // Small ones lie together: filling a fresh page costs several times what copying to it does, and
  // only large blocks get huge pages.
  constexpr size_t kTogether = size_t{32} << 20, kLarge = kTogether / 4;
  std::vector<size_t> group;
  size_t group_bytes = 0;
  for (size_t slot : fresh_) {
    if (kept_[slot].bytes >= kLarge) {
      KILN_RETURN_IF_ERROR(allocate_together({slot}));
      continue;
    }
    if (group_bytes + kept_[slot].bytes > kTogether) {
      KILN_RETURN_IF_ERROR(allocate_together(group));
      group.clear();
      group_bytes = 0;
    }
    group.push_back(slot);
    group_bytes += kept_[slot].bytes + 64;
  }
  return allocate_together(group);
}

// One block for all of them.
Status InitRun::allocate_together(const std::vector<size_t>& slots) {
  size_t total = 0;
  for (size_t slot : slots) total += aligned(kept_[slot].bytes);
  const std::shared_ptr<void> block = allocate_block(total);
  if (block == nullptr) {
    return Status::error("K4501", "out of memory for constants of bytes " + std::to_string(total));
  }
  place(slots, block);
  return {};
}

// In a row, each filled up to a multiple of 64 bytes.
void InitRun::place(const std::vector<size_t>& slots, const std::shared_ptr<void>& block) {
  size_t at = 0;
  for (size_t slot : slots) {
    kept_[slot].data = bases_[slot] = static_cast<char*>(block.get()) + at;
    kept_[slot].owner = {block, kept_[slot].data};
    at += aligned(kept_[slot].bytes);
  }
}

// Puts constants that the process has already in the place of fresh ones.
void InitRun::share(ConstantSet& set) {
  for (size_t slot : fresh_) {
    ConstantData& constant = kept_[slot];
    ConstantData pooled = ConstantPool::global().intern(constant);
    if (pooled.data != constant.data) set.shared_bytes += constant.bytes;
    constant = std::move(pooled);
  }
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (init_.slots[i].kind == SlotKind::kOutput) set.owned_bytes += kept_[i].bytes;
  }
}

Result<std::shared_ptr<const ConstantSet>> InitRun::run(const EngineOptions& options) {
  kept_.resize(init_.slots.size());
  bases_.assign(init_.slots.size(), nullptr);
  reused_.assign(init_.slots.size(), false);
  KILN_RETURN_IF_ERROR(check_weights(plan_, weights_));
  std::vector<std::unique_ptr<Step>> steps;
  for (const StepDesc& desc : init_.steps) {
    KILN_ASSIGN_OR_RETURN(auto step, StepRegistry::global().create(desc, {options.host}));
    steps.push_back(std::move(step));
  }
  const int threads = options.threads > 0 ? options.threads : num_threads();
  const std::vector<const ConstantData*> none(init_.slots.size(), nullptr);
  const std::vector<int> stages = plan_stages(init_);
  std::unique_ptr<ShapePlan> shape;
  {
    ScopedNumThreads one(1);
    KILN_ASSIGN_OR_RETURN(shape, ShapePlan::make(init_, steps, {}, 1, none, &stages));
  }
  find_reusable();
  const std::vector<bool> wanted = wanted_steps();
  KILN_RETURN_IF_ERROR(place_weights(*shape));
  KILN_RETURN_IF_ERROR(size_results(*shape, wanted));
  if (options.keeper == nullptr || !restore(*options.keeper)) {
    KILN_RETURN_IF_ERROR(allocate());
    const std::shared_ptr<void> block = allocate_block(staged_block_bytes(*shape, threads));
    if (block == nullptr) return Status::error("K4501", "out of memory for the init plan");
    ScopedNumThreads scope(threads);
    KILN_RETURN_IF_ERROR(
        run_plan_staged(*shape, init_, stages, wanted, bases_, block.get(), threads));
    if (options.keeper != nullptr) keep(*options.keeper);
  }
  auto set = std::make_shared<ConstantSet>();
  share(*set);
  for (int slot : plan_.constants) {
    const auto i = static_cast<size_t>(slot);
    if (kept_[i].data == nullptr && kept_[i].bytes != 0) {
      return Status::error("K3107", "constant is never computed: slot " + std::to_string(slot));
    }
    set->constants.push_back(kept_[i]);
  }
  return std::shared_ptr<const ConstantSet>(std::move(set));
}

}  // namespace

Result<std::shared_ptr<const ConstantSet>> compute_constants(
    const EnginePlan& plan, const EngineOptions& options, const std::vector<WeightBytes>& weights,
    const ConstantUpdate& update) {
  return InitRun(plan, weights, update).run(options);
}

}  // namespace kiln
