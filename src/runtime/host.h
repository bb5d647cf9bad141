// The host: whoever executes the calls that Kiln has no kernel for. In Python and libtorch programs
// it is PyTorch's dispatcher (torch/); without one, programs with host steps do not load.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kiln/status.h>
#include <kiln/tensor.h>

#include "core/call_arg.h"

namespace kiln {

// A value that lives in the host (an at::Tensor, a list, ...), kept by reference count. When it is
// a plain tensor on a device Kiln knows, `view` describes its memory.
struct HostObject {
  virtual ~HostObject() = default;
  TensorView view;  // data null when it is no plain tensor
};

// Operand of a host call: memory of the program, or an object from an earlier call.
struct HostOperand {
  TensorView view;
  HostObject* object = nullptr;  // not null: use this
};

// What the program expects of a result. `spec.shape` empty and `is_object`: anything goes.
struct HostExpected {
  TensorSpec spec;
  bool is_object = false;
};

class HostCall {
 public:
  virtual ~HostCall() = default;
  // Executes the call. `dims` are the values of the call's symbolic integers in order of
  // appearance. A result that shares memory with an operand or with [arena, arena + arena_bytes)
  // is copied unless the call's schema declares that it writes in place; a result with other
  // strides than expected is copied; other dtype or shape than expected is K4302. Operands that are
  // tensors lie on the device that prepare() was told of, and so must results; work there goes on
  // `stream` (device_runtime.h).
  virtual Status run(const std::vector<HostOperand>& operands, const std::vector<int64_t>& dims,
                     const std::vector<HostExpected>& expected, void* stream,
                     std::vector<std::shared_ptr<HostObject>>& results) = 0;
};

class Host {
 public:
  virtual ~Host() = default;
  virtual std::string name() const = 0;  // "torch 2.11.0"
  // Resolves the operator and prepares the constant arguments. K4301 when it does not exist. The
  // call has num_results results: those of the operator's schema, then the new contents of each
  // argument that it writes (it writes copies). `device` is the program's: a device among the
  // call's arguments that is a GPU means this one.
  virtual Result<std::unique_ptr<HostCall>> prepare(const Call& call, int num_results,
                                                    const Device& device) = 0;
};

}  // namespace kiln
