// A loaded program: its plan, its steps, the constants computed from the weights and the shapes it
// has been bound to. Immutable but for the cache of shapes and the constants, which are replaced as
// a whole; shared by all contexts and threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <kiln/program.h>

#include "runtime/device_runtime.h"
#include "runtime/host.h"
#include "runtime/plan.h"
#include "runtime/shape_plan.h"
#include "runtime/step.h"

namespace kiln {

// Bytes of a weight: contiguous, EnginePlan::weights' dtype and dims, borrowed. Elsewhere than on
// the plan's device: brought there when the init plan runs.
struct WeightBytes {
  const void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
  Device device = {};
};

struct EngineOptions {
  int threads = 0;  // 0: what parallel_for would use at each run
  Host* host = nullptr;
  int device_index = 0;  // which one of the plan's kind
  bool replay = true;    // record and replay where the device can (plan_replay.h)
};

struct ConstantBlock {
  std::shared_ptr<void> memory;
  size_t bytes = 0;
};

// The results of one run of the init plan.
struct ConstantSet {
  uint64_t version = 0;                 // of all sets of the process another one
  std::vector<ConstantData> constants;  // by EnginePlan::constants
  size_t owned_bytes = 0;               // computed and packed, not borrowed; shared ones included
  size_t shared_bytes = 0;              // of those, what was in the process already
  std::vector<ConstantBlock> blocks;    // in which the computed ones lie that are not shared
};

class InitPlan;

class Engine {
 public:
  ~Engine();
  // Verifies the plan, creates the steps and runs the init plan. Weights may be null-length only
  // when the plan does not read them.
  // `native`: code for its kernels from a file that is trusted, or null.
  static Result<std::shared_ptr<Engine>> create(EnginePlan plan, std::vector<WeightBytes> weights,
                                                EngineOptions options,
                                                const NativeCode* native = nullptr);

  const EnginePlan& plan() const { return plan_; }
  const EngineOptions& options() const { return options_; }
  DeviceRuntime& device() const { return *device_; }
  DeviceCode& code() const { return *code_; }
  // Waits for an update that is about to write over the old constants. Who holds what it returns
  // keeps these as they are.
  std::shared_ptr<const ConstantSet> constants() const;
  // As they are now, by EnginePlan::weights.
  std::vector<WeightBytes> weights() const;
  // Reruns the init plan on new weights, all of them, by position; running contexts keep the old
  // constants until their run ends. When there are none, the new constants take the place of the
  // old ones in memory, and runs that begin meanwhile wait. On error the old constants stay.
  Status update_weights(std::vector<WeightBytes> weights);
  // Program::update_weights().
  Status update_weights(const std::vector<WeightView>& given);

  // What one set of input shapes comes to. Shared, immutable.
  struct Binding {
    std::vector<int64_t> input_dims;  // of all tensor inputs, concatenated; the key
    int threads = 1;
    std::vector<TensorSpec> outputs;  // by position; strides as in the signature
    std::vector<TensorSpec> inputs;   // expected strides
    std::vector<std::vector<int64_t>> needed_strides;  // by input; empty: any will do
    std::vector<std::vector<ConcreteViewOp>> views;  // by output; of those that are views
    std::unique_ptr<ShapePlan> shape;
  };
  // The binding for these inputs, made on first use; the cache holds kMaxBindings, least recently
  // used ones go. K4101 count, K4102 dtype, K4104 rank, K4105 size out of range, K4106 sizes that
  // contradict each other or a condition of the plan, K4107 device.
  Result<std::shared_ptr<const Binding>> bind(const std::vector<TensorView>& inputs);
  // As bind() without building steps.
  Result<std::vector<TensorSpec>> infer_shapes(const std::vector<TensorView>& inputs);
  // How often a new binding was made; for tests and reports.
  int64_t bindings_made() const;

  static constexpr size_t kMaxBindings = 64;

 private:
  Engine();
  StepEnvironment environment() const;
  Status replace_weights(std::vector<WeightBytes> weights, const std::vector<bool>& changed);
  Status check_inputs(const std::vector<TensorView>& inputs, SymbolValues& symbols) const;
  Result<std::vector<TensorSpec>> output_specs(const SymbolValues& symbols) const;

  EnginePlan plan_;
  EngineOptions options_;
  DeviceRuntime* device_ = nullptr;
  std::shared_ptr<DeviceCode> code_;
  std::vector<std::unique_ptr<Step>> steps_;
  mutable std::mutex update_mutex_;  // held during an update; guards weights_
  std::vector<WeightBytes> weights_;
  std::unique_ptr<InitPlan> init_;  // under update_mutex_
  mutable std::mutex mutex_;        // constants_, replacing_ and bindings_
  std::shared_ptr<const ConstantSet> constants_;
  bool replacing_ = false;  // constants_ are being written over
  mutable std::condition_variable replaced_;
  std::list<std::shared_ptr<const Binding>> bindings_;  // most recently used first
  int64_t bindings_made_ = 0;
};

}  // namespace kiln
