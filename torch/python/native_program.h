// The callable that Python holds: tensors in, tensors out, one crossing per call.
#pragma once

#include <Python.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <kiln/program.h>

#include "torch/python/followed_weights.h"

namespace kiln {

class ProgramRunner;

// A runner with Python objects as inputs and outputs; thread-safe.
class NativeProgram {
 public:
  // `weights` are tensors behind the program's weights, as they were when it was made.
  explicit NativeProgram(std::shared_ptr<Program> program, FollowedWeights weights = {});
  explicit NativeProgram(std::shared_ptr<ProgramRunner> runner, FollowedWeights weights = {});

  Program& program();
  const std::shared_ptr<ProgramRunner>& runner() const { return runner_; }
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
  // What replaying came to in the context that ran last on torch's current stream, at its last
  // shapes (runtime/plan_replay.h): a JSON object, empty where nothing is replayed.
  std::string replays();
  size_t working_bytes() const;  // of the contexts that wait for a run
  // A list of new tensors with the initial values of Program::state_infos(), or null with a Python
  // error set.
  PyObject* initial_state();
  // Takes in the weights that were changed in place since they were read.
  Status follow_weights();

 private:
  Status take_changed_weights();

  std::shared_ptr<ProgramRunner> runner_;
  // Read with the GIL or update_mutex_, written with both. Whoever waits for the mutex has released
  // the GIL.
  FollowedWeights weights_;
  std::mutex update_mutex_;
};

// Sets kiln's Python exception from a failed status.
void set_python_error(const Status& status);
// The exception class; called once by the package.
void set_error_class(PyObject* error_class);

}  // namespace kiln
