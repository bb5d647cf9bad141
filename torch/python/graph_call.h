// What Dynamo calls for a graph that needs nothing around it: one C++ call per call of the graph.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace kiln {

class NativeProgram;

// Arguments of a graph whose values belong to a program: the tensors it was built from, with their
// version and memory at the time of construction. Used under the GIL.
class FrozenArguments {
 public:
  // `tensors`: a list or tuple of tensors, as long as `positions`.
  FrozenArguments(std::vector<size_t> positions, PyObject* tensors);
  ~FrozenArguments();
  FrozenArguments(const FrozenArguments&) = delete;
  FrozenArguments& operator=(const FrozenArguments&) = delete;

  size_t size() const { return entries_.size(); }
  // Positions of the arguments that are another tensor now, or hold other values or memory.
  // `arguments`: the list or tuple of all arguments of a call.
  std::vector<size_t> changed(PyObject* arguments) const;
  bool current(PyObject* arguments) const;

 private:
  struct Entry {
    size_t position;
    PyObject* tensor;
    int64_t version;  // -1 for an inference tensor, which counts none
    const void* data;  // `tensor.data = other` counts no version
  };

  static bool current(const Entry& entry, PyObject* argument);

  std::vector<Entry> entries_;
};

// Calls a bound program with the arguments that are not frozen, as long as the frozen ones are
// current; all else goes to a slower callable, which may bind anew. Used under the GIL.
class GraphCall {
 public:
  // `slow` takes the same arguments.
  explicit GraphCall(PyObject* slow);
  ~GraphCall();
  GraphCall(const GraphCall&) = delete;
  GraphCall& operator=(const GraphCall&) = delete;

  // `dynamic`: positions of the program's inputs. `keep` owns `frozen` and `program`.
  void bind(const FrozenArguments* frozen, std::vector<size_t> dynamic, NativeProgram* program,
            PyObject* keep);
  // A new list of results, or null with a Python error set. `arguments` is a tuple.
  PyObject* call(PyObject* arguments) const;

 private:
  struct Target;

  PyObject* slow_;
  std::shared_ptr<const Target> target_;
};

}  // namespace kiln
