// The callable that Python holds: tensors in, tensors out, one crossing per call.
#pragma once

#include <Python.h>

#include <memory>
#include <string>
#include <utility>

#include <kiln/program.h>

namespace kiln {

class ProgramRunner;

// A runner with Python objects as inputs and outputs; thread-safe.
class NativeProgram {
 public:
  explicit NativeProgram(std::shared_ptr<Program> program);
  explicit NativeProgram(std::shared_ptr<ProgramRunner> runner);

  Program& program();
  const std::shared_ptr<ProgramRunner>& runner() const { return runner_; }
  // `inputs`: a list or tuple with one object per program input (tensors; numbers for object
  // inputs). Returns a new list of the results that are the program's own (not written inputs), or
  // null with a Python error set. Releases the GIL while running.
  PyObject* run(PyObject* inputs);
  // Median seconds of `repeats` C++ runs on these inputs with preallocated outputs, and of the
  // allocation of the outputs alone.
  std::pair<double, double> time_run(PyObject* inputs, int64_t repeats);
  // Seconds per step of one profiled run, with kind, label, origin and implementation: JSON array.
  std::string profile(PyObject* inputs, int64_t repeats);

 private:
  std::shared_ptr<ProgramRunner> runner_;
};

// Sets kiln's Python exception from a failed status.
void set_python_error(const Status& status);
// The exception class; called once by the package.
void set_error_class(PyObject* error_class);

}  // namespace kiln
