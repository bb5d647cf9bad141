// Runs an engine for one caller at a time: checks inputs, finds the binding, sets addresses, runs.
// At shapes seen before nothing is allocated here.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "runtime/engine.h"
#include "runtime/memory_overlap.h"
#include "runtime/plan_replay.h"
#include "runtime/plan_run.h"

namespace kiln {

class ExecutionContext::Impl {
 public:
  // `state`: null for one of its own.
  explicit Impl(std::shared_ptr<Engine> engine, std::shared_ptr<State> state = nullptr);
  ~Impl();

  // Step 1: checks the inputs and selects the binding; after it output_specs() is valid.
  Status prepare(const std::vector<TensorView>& inputs);
  const std::vector<TensorSpec>& output_specs() const { return current_->outputs; }
  const Engine::Binding& binding() const { return *current_; }
  // Step 2: runs. `outputs` has one view per output; those that are views of inputs, are written
  // into inputs or are objects are ignored. Inputs must be those of prepare().
  Status run(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs);
  // Around 1 and 2, for callers that leave the state to the context: a copy of their inputs, kept
  // here, and the tensors of the state at its end, which is locked then.
  std::vector<TensorView>& all_inputs(const std::vector<TensorView>& inputs) {
    return all_inputs_ = inputs;
  }
  // The stream of later runs; see ExecutionContext::set_stream.
  void set_stream(StreamHandle stream) {
    given_stream_ = stream;
    stream_given_ = true;
  }
  StreamHandle next_stream() const {
    return stream_given_ ? given_stream_ : device_.current_stream();
  }
  // Where the last run was put; meaningless before the first.
  StreamHandle last_stream() const { return stream_; }
  bool ran() const { return ran_; }
  Status add_state(std::vector<TensorView>& inputs, std::unique_lock<std::mutex>* lock);
  // Before 2: finds the outputs that are views; all of them, or those with memory to be copied to.
  Status place_views(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs,
                     bool wanted);
  Status copy_views(const std::vector<TensorView>& outputs);
  const TensorView* output_view(size_t output) const {  // null: it is no view
    return views_[output].placed ? &views_[output].view : nullptr;
  }
  // Object inputs must be set before run(), object outputs are there after it.
  void set_input_object(int input, std::shared_ptr<HostObject> object);
  std::shared_ptr<HostObject> take_output_object(int output);

  // Durations of the steps of the last run, when profiling is on, parallel to
  // binding().shape->steps.
  void set_profiling(bool on) { profiling_ = on; }
  const std::vector<double>& step_seconds() const { return step_seconds_; }

  // What replaying came to at the shapes of the current binding; null where nothing is replayed.
  const ReplayReport* replay_report() const;

  Engine& engine() { return *engine_; }
  size_t arena_bytes() const { return block_.bytes; }
  // The arena, and copies of inputs and outputs whose own memory would not do.
  size_t held_bytes() const;

 private:
  bool on_device(const TensorView& view) const { return view.device == device_.device(); }
  bool matches(const Engine::Binding& binding, const std::vector<TensorView>& inputs,
               int threads) const;
  Status take_stream();
  // The replay of the current binding; null: run step by step.
  PlanReplay* replay();
  struct DeviceBlock;
  void release(DeviceBlock& block);
  Status activate(std::shared_ptr<const Engine::Binding> binding);
  // Addresses for the steps, staging where the caller's memory does not fit.
  Status place_inputs(const std::vector<TensorView>& inputs);
  Status place_outputs(const std::vector<TensorView>& outputs);
  Status copy_back(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs);
  // Address to hand to the steps for a caller's view: its own, or that of a dense copy when its
  // strides differ, when it is not aligned to its elements, or when `separate` asks for it.
  Result<void*> stage(const TensorView& view, const TensorSpec& expected, size_t index,
                      bool copy_in, bool separate);

  // Memory of the device, for work on the context's stream; `stream` is the one it was made for.
  struct DeviceBlock {
    std::shared_ptr<void> memory;
    size_t bytes = 0;
    StreamHandle stream = nullptr;
  };
  bool grow(DeviceBlock& block, size_t bytes);

  struct OutputView {
    bool placed = false;
    StridedWindow window;
    TensorView view;
  };

  std::shared_ptr<Engine> engine_;
  DeviceRuntime& device_;
  StreamHandle stream_ = nullptr;  // of the current run; of the last one between runs
  bool ran_ = false;
  StreamHandle given_stream_ = nullptr;
  bool stream_given_ = false;
  std::shared_ptr<State> state_;
  std::vector<TensorView> all_inputs_;
  std::vector<OutputView> views_;                             // by output
  std::vector<std::shared_ptr<const Engine::Binding>> seen_;  // most recently used first
  std::shared_ptr<const Engine::Binding> current_;
  std::shared_ptr<const Engine::Binding> active_;  // what the buffers are set up for
  uint64_t constants_version_ = 0;  // whose addresses are in the buffers; held by runs only
  RunBuffers buffers_;
  DeviceBlock block_;
  struct Staging {
    DeviceBlock block;
    bool used = false;
  };
  // Of the bindings that ran last, most recent first.
  struct BindingReplay {
    std::shared_ptr<const Engine::Binding> binding;
    std::unique_ptr<PlanReplay> replay;
  };
  static constexpr size_t kMaxReplays = 16;
  std::vector<BindingReplay> replays_;
  std::vector<Staging> staging_;               // inputs, then outputs
  std::vector<MemorySpan> spans_;              // inputs, then outputs, of the current run
  std::vector<bool> input_written_;            // some output is written into this input
  std::vector<int> input_slot_, output_slot_;  // slot of each position, -1 when unused
  bool poison_ = false;                        // debug switch poison_arena
  bool profiling_ = false;
  std::vector<double> step_seconds_;
};

}  // namespace kiln
