#include "runtime/constants.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/parallel_for.h"
#include "runtime/constant_pool.h"
#include "runtime/device_runtime.h"
#include "runtime/given_weights.h"
#include "runtime/memory.h"
#include "runtime/plan_run.h"

namespace kiln {
namespace {

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

bool same_owner(const std::shared_ptr<void>& a, const std::shared_ptr<void>& b) {
  return !a.owner_before(b) && !b.owner_before(a);
}

}  // namespace

Result<std::unique_ptr<InitPlan>> InitPlan::create(const EnginePlan& plan,
                                                   const EngineOptions& options,
                                                   const StepEnvironment& environment) {
  std::unique_ptr<InitPlan> init(new InitPlan(plan, *environment.device));
  for (const StepDesc& desc : plan.init.steps) {
    KILN_ASSIGN_OR_RETURN(auto step, StepRegistry::global().create(desc, environment));
    init->steps_.push_back(std::move(step));
  }
  init->fixed_threads_ = options.threads > 0;
  init->threads_ = init->fixed_threads_ ? options.threads : num_threads();
  if (init->on_cpu()) init->chains_ = plan_chains(plan.init);
  else init->chains_.assign(plan.init.steps.size(), 0);
  const ScopedNumThreads scope(init->threads_);
  const std::vector<const ConstantData*> none(plan.init.slots.size(), nullptr);
  KILN_ASSIGN_OR_RETURN(init->shape_, ShapePlan::make(plan.init, init->steps_, {}, init->threads_,
                                                      none, &init->chains_));
  init->chain_can_fail_.resize(plan.init.steps.size(), false);  // there are not more chains
  for (const ShapePlan::RunStep& step : init->shape_->steps) {
    if (init->on_cpu() && !step.step->can_fail()) continue;
    init->chain_can_fail_[static_cast<size_t>(init->chains_[static_cast<size_t>(step.index)])] =
        true;
  }
  return init;
}

ConstantRun::ConstantRun(InitPlan& init, const std::vector<WeightBytes>& weights,
                         const ConstantSet* old, const std::vector<bool>* changed)
    : init_plan_(init),
      plan_(init.plan_),
      init_(init.plan_.init),
      shape_(*init.shape_),
      weights_(weights),
      old_(old),
      changed_(changed),
      threads_(init.fixed_threads_ ? init.threads_ : std::min(init.threads_, num_threads())) {
  kept_.resize(init_.slots.size());
  bases_.assign(init_.slots.size(), nullptr);
  reused_.assign(init_.slots.size(), false);
  wanted_.assign(init_.steps.size(), true);
}

Status ConstantRun::check_weights() const {
  if (weights_.size() != plan_.weights.size()) {
    return Status::error("K3106", "wrong number of weights: " + std::to_string(weights_.size()) +
                                      ", expected " + std::to_string(plan_.weights.size()));
  }
  for (size_t i = 0; i < weights_.size(); ++i) {
    KILN_ASSIGN_OR_RETURN(const size_t bytes, weight_size(plan_.weights[i]));
    if (bytes != weights_[i].bytes) {
      return Status::error("K3106", "weight '" + plan_.weights[i].name + "' has " +
                                        std::to_string(weights_[i].bytes) + " bytes, expected " +
                                        std::to_string(bytes));
    }
    if (bytes != 0 && weights_[i].data == nullptr) {
      return Status::error("K3106", "weight has no data: " + plan_.weights[i].name);
    }
  }
  return {};
}

// Slots of constants that no changed weight reaches.
void ConstantRun::find_reusable() {
  std::vector<bool> dirty(init_.slots.size(), false);
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    const Slot& slot = init_.slots[i];
    dirty[i] = slot.kind == SlotKind::kInput && (*changed_)[static_cast<size_t>(slot.index)];
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
    // Weights as they are cost nothing on the CPU; elsewhere they were brought there.
    const bool computed = init_.slots[slot].kind == SlotKind::kOutput;
    if ((!computed && init_plan_.on_cpu()) || dirty[slot]) continue;
    kept_[slot] = old_->constants[k];
    bases_[slot] = kept_[slot].data;
    reused_[slot] = true;
  }
  for (const ConstantBlock& block : old_->blocks) {
    old_blocks_.push_back(block.memory);
    old_block_bytes_.push_back(block.bytes);
  }
}

void ConstantRun::find_wanted() {
  std::vector<bool> needed(init_.slots.size(), false);
  for (int slot : plan_.constants) {
    needed[static_cast<size_t>(slot)] = !reused_[static_cast<size_t>(slot)];
  }
  for (size_t k = init_.steps.size(); k-- > 0;) {
    const StepDesc& step = init_.steps[k];
    wanted_[k] = std::any_of(step.outputs.begin(), step.outputs.end(), [&](const auto& view) {
      const auto slot = static_cast<size_t>(view.slot);
      return needed[slot] && !reused_[slot];
    });
    if (!wanted_[k]) continue;
    for (const PlanView& view : step.inputs) needed[static_cast<size_t>(view.slot)] = true;
  }
}

Status ConstantRun::place_weights() {
  const Device device = init_plan_.device_.device();
  std::vector<bool> used(init_.slots.size(), init_plan_.on_cpu());
  for (int slot : plan_.constants) used[static_cast<size_t>(slot)] = true;
  for (size_t k = 0; k < init_.steps.size(); ++k) {
    if (!wanted_[k]) continue;
    for (const PlanView& view : init_.steps[k].inputs) used[static_cast<size_t>(view.slot)] = true;
  }
  std::vector<size_t> elsewhere;
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    const Slot& slot = init_.slots[i];
    if (slot.kind != SlotKind::kInput) continue;
    const WeightBytes& weight = weights_[static_cast<size_t>(slot.index)];
    if (static_cast<size_t>(shape_.slot_bytes[i]) != weight.bytes) {
      return Status::error("K3106", "weight slot and weight differ in size: " +
                                        plan_.weights[static_cast<size_t>(slot.index)].name);
    }
    if (reused_[i] || !used[i]) continue;
    bases_[i] = const_cast<void*>(weight.data);  // steps never write inputs: checked by verify()
    kept_[i] = {bases_[i], weight.bytes, {}, std::const_pointer_cast<void>(weight.owner)};
    const bool here =
        weight.device == device &&
        (init_plan_.on_cpu() || reinterpret_cast<uintptr_t>(weight.data) % 64 == 0);
    if (!here && weight.bytes != 0) elsewhere.push_back(i);
  }
  return bring_weights(elsewhere);
}

// To the plan's device, in one block.
Status ConstantRun::bring_weights(const std::vector<size_t>& slots) {
  if (slots.empty()) return {};
  DeviceRuntime& device = init_plan_.device_;
  size_t total = 0;
  for (size_t slot : slots) total += aligned(kept_[slot].bytes);
  KILN_ASSIGN_OR_RETURN(const std::shared_ptr<void> block, allocate(total));
  size_t at = 0;
  for (size_t slot : slots) {
    const size_t bytes = kept_[slot].bytes;
    const WeightBytes& weight = weights_[static_cast<size_t>(init_.slots[slot].index)];
    void* to = static_cast<char*>(block.get()) + at;
    const bool direct =
        weight.device.kind == DeviceKind::kCpu || weight.device == device.device();
    KILN_ASSIGN_OR_RETURN(const WeightBytes source,
                          direct ? Result<WeightBytes>(weight) : weight_on_host(weight));
    KILN_RETURN_IF_ERROR(device.copy(to, source.data, bytes, device.current_stream()));
    kept_[slot] = {to, bytes, {}, {block, to}};
    bases_[slot] = to;
    at += aligned(bytes);
  }
  return {};
}

// Memory of the plan's device for constants.
Result<std::shared_ptr<void>> ConstantRun::allocate(size_t bytes) {
  std::shared_ptr<void> memory = init_plan_.on_cpu() ? init_plan_.memory_.allocate(bytes)
                                                     : init_plan_.device_.allocate_lasting(bytes);
  if (memory != nullptr) return memory;
  return Status::error("K4501", "out of memory for constants of bytes " + std::to_string(bytes));
}

// Sizes of the results that are kept and not taken over: plain ones by their slot, packed ones by
// what the packing step says.
Status ConstantRun::size_results() {
  std::vector<bool> can_fail(init_.slots.size(), false);
  for (size_t k = 0; k < init_.steps.size(); ++k) {
    if (!init_plan_.chain_can_fail_[static_cast<size_t>(init_plan_.chains_[k])]) continue;
    for (const PlanView& view : init_.steps[k].outputs) {
      can_fail[static_cast<size_t>(view.slot)] = true;
    }
  }
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    const Slot& slot = init_.slots[i];
    if (slot.kind != SlotKind::kOutput || slot.packed || reused_[i]) continue;
    kept_[i].bytes = static_cast<size_t>(shape_.slot_bytes[i]);
    fresh_.push_back(i);
  }
  for (const ShapePlan::RunStep& step : shape_.steps) {
    if (!wanted_[static_cast<size_t>(step.index)]) continue;
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
  for (int slot : plan_.constants) {
    const auto i = static_cast<size_t>(slot);
    const bool there = init_.slots[i].kind == SlotKind::kInput || reused_[i] ||
                       std::find(fresh_.begin(), fresh_.end(), i) != fresh_.end();
    if (!there) {
      return Status::error("K3107", "constant is never computed: slot " + std::to_string(slot));
    }
  }
  for (size_t slot : fresh_) fresh_can_fail_.push_back(can_fail[slot]);
  return {};
}

// Small results lie together: filling a fresh page costs several times what copying to it does, and
// only large blocks get huge pages.
std::vector<ConstantRun::Group> ConstantRun::groups(bool can_fail) const {
  constexpr size_t kTogether = size_t{32} << 20, kLarge = kTogether / 4;
  std::vector<Group> groups;
  Group group;
  for (size_t i = 0; i < fresh_.size(); ++i) {
    if (fresh_can_fail_[i] != can_fail) continue;
    const size_t bytes = aligned(kept_[fresh_[i]].bytes);
    if (bytes >= kLarge) {
      groups.push_back({{fresh_[i]}, bytes});
      continue;
    }
    if (group.bytes + bytes > kTogether) groups.push_back(std::exchange(group, {}));
    group.slots.push_back(fresh_[i]);
    group.bytes += bytes;
  }
  if (!group.slots.empty()) groups.push_back(std::move(group));
  return groups;
}

void ConstantRun::place(const Group& group, std::shared_ptr<void> memory) {
  size_t at = 0;
  for (size_t slot : group.slots) {
    kept_[slot].data = bases_[slot] = static_cast<char*>(memory.get()) + at;
    kept_[slot].owner = {memory, kept_[slot].data};
    at += aligned(kept_[slot].bytes);
  }
  blocks_.push_back({std::move(memory), group.bytes});
}

// Step after step on the device's stream; what the steps leave is there when this returns.
Status ConstantRun::run_on_device() {
  DeviceRuntime& device = init_plan_.device_;
  ScopedDevice scope(device);
  const StreamHandle stream = device.current_stream();
  const size_t arena = scratch_offset(shape_);
  const std::shared_ptr<void> block = device.allocate(arena + shape_.scratch_bytes + 64, stream);
  if (block == nullptr) return Status::error("K4501", "out of memory for the init plan");
  RunBuffers buffers;
  buffers.resize(init_.slots.size(), shape_.max_views);
  buffers.bases = bases_;
  for (size_t i = 0; i < init_.slots.size(); ++i) {
    if (shape_.temp_offset[i] < 0) continue;
    buffers.bases[i] = static_cast<char*>(block.get()) + shape_.temp_offset[i];
  }
  buffers.scratch = static_cast<char*>(block.get()) + arena;
  buffers.stream = stream;
  for (const ShapePlan::RunStep& step : shape_.steps) {
    if (!wanted_[static_cast<size_t>(step.index)]) continue;
    KILN_RETURN_IF_ERROR(step.step->run(place_step(step, buffers)));
  }
  return device.synchronize(stream);
}

Status ConstantRun::run(bool can_fail) {
  if (!init_plan_.on_cpu()) return can_fail ? run_on_device() : Status();
  std::vector<std::vector<size_t>> chains(init_.steps.size());
  for (size_t k = 0; k < shape_.steps.size(); ++k) {
    const auto step = static_cast<size_t>(shape_.steps[k].index);
    const auto chain = static_cast<size_t>(init_plan_.chains_[step]);
    if (wanted_[step] && init_plan_.chain_can_fail_[chain] == can_fail) chains[chain].push_back(k);
  }
  std::erase_if(chains, [](const auto& chain) { return chain.empty(); });
  const ScopedNumThreads scope(threads_);
  return run_chains(shape_, chains, bases_, scratch_.get(), threads_);
}

Status ConstantRun::start() {
  KILN_RETURN_IF_ERROR(check_weights());
  if (old_ != nullptr) {
    find_reusable();
    find_wanted();
  }
  old_ = nullptr;
  KILN_RETURN_IF_ERROR(place_weights());
  KILN_RETURN_IF_ERROR(size_results());
  if (init_plan_.on_cpu()) {
    scratch_ = allocate_block(chains_block_bytes(shape_, threads_));
    if (scratch_ == nullptr) return Status::error("K4501", "out of memory for the init plan");
  }
  for (const Group& group : groups(true)) {
    KILN_ASSIGN_OR_RETURN(std::shared_ptr<void> memory, allocate(group.bytes));
    place(group, std::move(memory));
  }
  return run(true);
}

Status ConstantRun::place(std::shared_ptr<const ConstantSet>* retired) {
  const std::vector<Group> late = groups(false);
  std::vector<std::shared_ptr<void>> memory(late.size());
  std::vector<size_t> own = retired == nullptr ? std::vector<size_t>() : own_blocks(**retired);
  std::vector<bool> found(late.size(), false);
  for (size_t i = 0; i < late.size(); ++i) {
    const auto block = std::find(own.begin(), own.end(), late[i].bytes);
    found[i] = block != own.end();
    if (found[i]) {
      own.erase(block);
      continue;
    }
    KILN_ASSIGN_OR_RETURN(memory[i], allocate(late[i].bytes));
  }
  if (std::find(found.begin(), found.end(), true) != found.end()) {
    ConstantMemory::Collection collection(init_plan_.memory_);
    retired->reset();
    for (size_t i = 0; i < late.size(); ++i) {
      if (!found[i]) continue;
      memory[i] = collection.take(late[i].bytes);
      KILN_CHECK_MSG(memory[i] != nullptr, "memory of constants did not come back");
    }
  }
  for (size_t i = 0; i < late.size(); ++i) place(late[i], std::move(memory[i]));
  return {};
}

// Sizes of the blocks that nobody but `set` holds. Its holder is the caller alone, so that nobody
// can get at it: not through the engine, nor, from here on, through the pool. The counts can only
// fall then, and what is found here stays true.
std::vector<size_t> ConstantRun::own_blocks(const ConstantSet& set) {
  std::vector<size_t> own;
  for (const ConstantBlock& block : set.blocks) {
    std::vector<const ConstantData*> inside;
    for (const ConstantData& constant : set.constants) {
      if (same_owner(constant.owner, block.memory)) inside.push_back(&constant);
    }
    ConstantPool::global().withdraw(inside);
    if (block.memory.use_count() == static_cast<long>(inside.size()) + 1) {
      own.push_back(block.bytes);
    } else {
      for (const ConstantData* constant : inside) ConstantPool::global().intern(*constant);
    }
  }
  return own;
}

// Puts constants that the process has already in the place of fresh ones.
void ConstantRun::share(ConstantSet& set) {
  for (size_t slot : fresh_) {
    if (!init_plan_.on_cpu()) break;  // what lies elsewhere is not compared
    ConstantData& constant = kept_[slot];
    ConstantData pooled = ConstantPool::global().intern(constant);
    if (pooled.data != constant.data) set.shared_bytes += constant.bytes;
    constant = std::move(pooled);
  }
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (init_.slots[i].kind == SlotKind::kOutput) set.owned_bytes += kept_[i].bytes;
  }
}

std::shared_ptr<const ConstantSet> ConstantRun::finish() {
  const Status status = run(false);
  KILN_CHECK_MSG(status.ok(), "a step that cannot fail did");
  auto set = std::make_shared<ConstantSet>();
  static std::atomic<uint64_t> versions{0};
  set->version = ++versions;
  share(*set);
  for (int slot : plan_.constants) set->constants.push_back(kept_[static_cast<size_t>(slot)]);
  // Blocks in which nothing lies any more, since equal constants were there already, are let go.
  for (size_t i = 0; i < old_blocks_.size(); ++i) {
    if (auto memory = old_blocks_[i].lock()) {
      blocks_.push_back({std::move(memory), old_block_bytes_[i]});
    }
  }
  for (ConstantBlock& block : blocks_) {
    const bool used = std::any_of(
        set->constants.begin(), set->constants.end(),
        [&](const ConstantData& constant) { return same_owner(constant.owner, block.memory); });
    if (used) set->blocks.push_back(std::move(block));
  }
  blocks_.clear();
  kept_.clear();
  return set;
}

}  // namespace kiln
