// Runs init plans: constants from weights.
#pragma once

#include <memory>
#include <vector>

#include "runtime/constant_memory.h"
#include "runtime/engine.h"
#include "runtime/plan.h"
#include "runtime/shape_plan.h"
#include "runtime/step.h"

namespace kiln {

// The init plan of an engine, bound once for its creation and all updates.
class InitPlan {
 public:
  // `plan` is borrowed. Errors of creating and binding steps.
  static Result<std::unique_ptr<InitPlan>> create(const EnginePlan& plan,
                                                  const EngineOptions& options,
                                                  const StepEnvironment& environment);

 private:
  friend class ConstantRun;
  InitPlan(const EnginePlan& plan, DeviceRuntime& device) : plan_(plan), device_(device) {}
  bool on_cpu() const { return device_.device().kind == DeviceKind::kCpu; }

  const EnginePlan& plan_;
  DeviceRuntime& device_;
  bool fixed_threads_ = false;  // by the options; else no more than the process wants at each run
  int threads_ = 1;             // that the steps are bound for
  std::vector<std::unique_ptr<Step>> steps_;
  std::unique_ptr<ShapePlan> shape_;
  std::vector<int> chains_;           // plan_chains(); on a device all steps are one
  std::vector<bool> chain_can_fail_;  // by chain; on a device everything can
  ConstantMemory memory_;
};

// One computation of the constants, in three parts: what can fail, finding memory, what cannot
// fail. The third one may so write over the constants in use. One at a time for an InitPlan.
class ConstantRun {
 public:
  // `weights` are borrowed. Constants that depend on no changed weight are taken over from `old`;
  // null: everything is computed. `changed` is parallel to the weights, and borrowed.
  ConstantRun(InitPlan& init, const std::vector<WeightBytes>& weights,
              const ConstantSet* old = nullptr, const std::vector<bool>* changed = nullptr);

  // Checks the sizes of the weights (K3106) and runs the chains that can fail, in fresh memory.
  Status start();
  // Finds memory for the rest. `*retired`, when given, are the engine's constants, which nobody can
  // get meanwhile: when it is their only holder, it is let go and its memory taken, where that
  // belongs to nobody else. On error (K4501) they stay as they are.
  Status place(std::shared_ptr<const ConstantSet>* retired = nullptr);
  // Computes the rest. Equal constants of the process are shared (constant_pool.h).
  std::shared_ptr<const ConstantSet> finish();

 private:
  // Slots whose results lie together, each filled up to a multiple of 64 bytes.
  struct Group {
    std::vector<size_t> slots;
    size_t bytes = 0;
  };
  Status check_weights() const;
  void find_reusable();
  void find_wanted();
  Status place_weights();
  Status bring_weights(const std::vector<size_t>& slots);
  Status size_results();
  std::vector<Group> groups(bool can_fail) const;
  static std::vector<size_t> own_blocks(const ConstantSet& set);
  void place(const Group& group, std::shared_ptr<void> memory);
  Result<std::shared_ptr<void>> allocate(size_t bytes);
  Status run(bool can_fail);
  Status run_on_device();
  void share(ConstantSet& set);

  InitPlan& init_plan_;
  const EnginePlan& plan_;
  const Plan& init_;
  const ShapePlan& shape_;
  const std::vector<WeightBytes>& weights_;
  const ConstantSet* old_;  // during start()
  const std::vector<bool>* changed_;
  int threads_;
  std::vector<ConstantData> kept_;      // per slot
  std::vector<void*> bases_;            // per slot
  std::vector<bool> reused_;            // per slot: taken over from the old constants
  std::vector<bool> wanted_;            // per step: something that is not taken over needs it
  std::vector<size_t> fresh_;           // slots that need memory
  std::vector<bool> fresh_can_fail_;    // parallel: its chain can fail
  std::vector<ConstantBlock> blocks_;   // where they lie
  std::vector<std::weak_ptr<void>> old_blocks_;  // those of `old`, with their sizes
  std::vector<size_t> old_block_bytes_;
  std::shared_ptr<void> scratch_;
};

}  // namespace kiln
