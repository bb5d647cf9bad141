// The callable that Python holds: tensors in, tensors out, one crossing per call.
#pragma once

#include <Python.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <kiln/program.h>

#include "torch/python/followed_weights.h"

namespace kiln {

// Runs one program from any number of threads; contexts are pooled.
class NativeProgram {
 public:
  // `weights` are tensors behind the program's weights, as they were when it was made.
  explicit NativeProgram(std::shared_ptr<Program> program, FollowedWeights weights = {});

  Program& program() { return *program_; }
  // New tensors for some weights, which are followed from now on. Nothing changes on error. Call
  // with the GIL, which is released meanwhile.
  Status update_weights(FollowedWeights weights);
  // `inputs`: a list or tuple with one object per program input (tensors; numbers for object
  // inputs). Returns a new list of the results that are the program's own (not written inputs), or
  // null with a Python error set. Releases the GIL while running.
  PyObject* run(PyObject* inputs);
  // Median seconds of `repeats` C++ runs on these inputs with preallocated outputs, and of the
  // allocation of the outputs alone.
  std::pair<double, double> time_run(PyObject* inputs, int64_t repeats);
  // Seconds per step of one profiled run, with kind, label, origin and implementation: JSON array.
  std::string profile(PyObject* inputs, int64_t repeats);
  // A list of new tensors with the initial values of Program::state_infos(), or null with a Python
  // error set.
  PyObject* initial_state();
  // Contexts made so far.
  size_t contexts_made() const { return contexts_made_; }

 private:
  Status take_changed_weights();
  std::unique_ptr<ExecutionContext> take_context();
  void give_back(std::unique_ptr<ExecutionContext> context);

  std::shared_ptr<Program> program_;
  // Read with the GIL or update_mutex_, written with both. Whoever waits for the mutex has released
  // the GIL.
  FollowedWeights weights_;
  std::mutex update_mutex_;
  std::mutex mutex_;
  std::mutex state_mutex_;  // runs of a program with state exclude each other
  std::vector<std::unique_ptr<ExecutionContext>> idle_;
  size_t contexts_made_ = 0;
};

// Sets kiln's Python exception from a failed status.
void set_python_error(const Status& status);
// The exception class; called once by the package.
void set_error_class(PyObject* error_class);

}  // namespace kiln
