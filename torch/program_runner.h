// Running one program on at::Tensors: what the Python callable and the torch operators share. Knows
// nothing of Python.
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <kiln/program.h>

#include "runtime/host.h"
#include "runtime/plan.h"

namespace kiln {

// The values of one run, by position. Tensors are kept so that their sizes and memory stay.
struct ProgramCall {
  std::vector<at::Tensor> inputs;
  std::vector<TensorView> input_views;
  std::vector<std::shared_ptr<HostObject>> input_objects;  // of inputs that are no plain tensors
  std::vector<int64_t> numbers;                            // of those that determine sizes
  // Results, and after the run views of inputs and results; a result that is defined before the run
  // is written to. Undefined where an output is a whole input or another output.
  std::vector<at::Tensor> outputs;
  std::vector<TensorView> output_views;
  std::vector<std::shared_ptr<HostObject>> output_objects;  // of outputs that only torch knows
};

// Runs one program from any number of threads; contexts are pooled.
class ProgramRunner {
 public:
  explicit ProgramRunner(std::shared_ptr<Program> program);

  Program& program() { return *program_; }
  const EnginePlan& plan() const { return *plan_; }

  // Makes room for `count` inputs, which need not be the number that the program wants: the run
  // says what is wrong then.
  void start(ProgramCall& call, size_t count) const;
  bool is_object_input(size_t index) const {
    return index < plan_->inputs.size() && plan_->inputs[index].is_object;
  }
  // Precondition: !is_object_input(index). K4102, K4107, K4112.
  Status set_input(ProgramCall& call, size_t index, at::Tensor tensor) const;
  // Precondition: is_object_input(index). K4111 for another value than an integer where the input
  // determines a size.
  Status set_input_object(ProgramCall& call, size_t index, const c10::IValue& value) const;
  // Memory for result `index`, of any strides; instead of a fresh tensor. K4102, K4107, K4112.
  Status set_output(ProgramCall& call, size_t index, at::Tensor tensor) const;

  // Allocates the results that were not set and runs. Nothing is thrown. K4118 when a written input
  // shares memory with another one. Calls of a program with state exclude each other.
  Status run(ProgramCall& call);

  // A context of the pool for torch's current stream; whoever's run failed does not give it back.
  std::unique_ptr<ExecutionContext> take_context();
  void give_back(std::unique_ptr<ExecutionContext> context);
  size_t contexts_made() const { return contexts_made_; }
  // Working memory of the contexts that wait for a run.
  size_t idle_bytes();

 private:
  std::shared_ptr<Program> program_;
  const EnginePlan* plan_;
  Device device_;
  std::vector<bool> written_;  // by input
  std::mutex state_mutex_;  // runs of a program with state exclude each other
  std::mutex mutex_;        // the pool
  std::vector<std::unique_ptr<ExecutionContext>> idle_;
  size_t contexts_made_ = 0;
};

// Fresh tensors for the results of the shapes that `context` is prepared for, where `tensors` has
// none yet, and views of all.
void allocate_outputs(ExecutionContext& context, std::vector<at::Tensor>& tensors,
                      std::vector<TensorView>& views);

}  // namespace kiln
