// A loaded program: its plan, its steps, the constants computed from the weights and the shapes it
// has been bound to. Immutable but for the cache of shapes and the constants, which are replaced as
// a whole; shared by all contexts and threads.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <kiln/program.h>

#include "runtime/host.h"
#include "runtime/plan.h"
#include "runtime/shape_plan.h"
#include "runtime/step.h"

namespace kiln {

// Bytes of a weight: contiguous, EnginePlan::weights' dtype and dims, borrowed.
struct WeightBytes {
  const void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
};

struct EngineOptions {
  int threads = 0;  // 0: what parallel_for would use at each run
  Host* host = nullptr;
};

// The results of one run of the init plan.
struct ConstantSet {
  std::vector<ConstantData> constants;  // by EnginePlan::constants
  size_t owned_bytes = 0;               // computed and packed, not borrowed
};

class Engine {
 public:
  // Verifies the plan, creates the steps and runs the init plan. Weights may be null-length only
  // when the plan does not read them.
  static Result<std::shared_ptr<Engine>> create(EnginePlan plan, std::vector<WeightBytes> weights,
                                                EngineOptions options);

  const EnginePlan& plan() const { return plan_; }
  const EngineOptions& options() const { return options_; }
  std::shared_ptr<const ConstantSet> constants() const;
  // Reruns the init plan on new weights, all of them, by position; running contexts keep the old
  // constants until their run ends. On error the old constants stay.
  Status update_weights(std::vector<WeightBytes> weights);
  // Program::update_weights().
  Status update_weights(const std::vector<WeightView>& given);

  // What one set of input shapes comes to. Shared, immutable.
  struct Binding {
    std::vector<int64_t> input_dims;  // of all tensor inputs, concatenated; the key
    int threads = 1;
    std::vector<TensorSpec> outputs;  // by position; strides as in the signature
    std::vector<TensorSpec> inputs;   // expected strides
    std::unique_ptr<ShapePlan> shape;
  };
  // The binding for these inputs, made on first use; the cache holds kMaxBindings, least recently
  // used ones go. K4101 count, K4102 dtype, K4104 rank, K4105 size out of range, K4106 sizes that
  // contradict each other, K4107 device.
  Result<std::shared_ptr<const Binding>> bind(const std::vector<TensorView>& inputs);
  // As bind() without building steps.
  Result<std::vector<TensorSpec>> infer_shapes(const std::vector<TensorView>& inputs);
  // How often a new binding was made; for tests and reports.
  int64_t bindings_made() const;

  static constexpr size_t kMaxBindings = 64;

 private:
  Engine() = default;
  Status replace_weights(std::vector<WeightBytes> weights);
  Result<std::shared_ptr<const ConstantSet>> run_init(const std::vector<WeightBytes>& weights);
  Status check_inputs(const std::vector<TensorView>& inputs, SymbolValues& symbols) const;
  Result<std::vector<TensorSpec>> output_specs(const SymbolValues& symbols) const;

  EnginePlan plan_;
  EngineOptions options_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::mutex update_mutex_;  // held during an update; guards weights_
  std::vector<WeightBytes> weights_;
  mutable std::mutex mutex_;  // constants_ and bindings_
  std::shared_ptr<const ConstantSet> constants_;
  std::list<std::shared_ptr<const Binding>> bindings_;  // most recently used first
  int64_t bindings_made_ = 0;
};

}  // namespace kiln
