// The tensors of a State, in memory of its own.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <kiln/program.h>

#include "runtime/engine.h"

namespace kiln {

// A tensor as users see it.
TensorInfo describe(const TensorSignature& signature, const SymbolRanges& ranges);

class State::Impl {
 public:
  struct Tensor {
    std::vector<int64_t> dims;
    size_t bytes = 0;
    std::shared_ptr<void> memory;
    TensorView view;  // contiguous
  };

  // K4501 without memory.
  static Result<std::shared_ptr<State>> create(std::shared_ptr<Engine> engine);

  Status reset();
  // Work of the caller goes on `stream` from now on, after what was done on the one before. Under
  // `mutex`.
  Status use_on(StreamHandle stream);
  // Between a tensor of the state and one of its shape here or on the host, any strides.
  Status copy(const TensorView& from, const TensorView& to);
  int find(const std::string& name) const;  // -1: none
  Status check(const std::string& name, const TensorView& other, int* index) const;

  std::vector<TensorInfo> infos;
  std::vector<Tensor> tensors;  // parallel to infos
  mutable std::mutex mutex;     // held by a run from beginning to end

 private:
  Status copy_here(const TensorView& from, const TensorView& to);

  std::shared_ptr<Engine> engine_;  // whose weights are the initial values
  DeviceRuntime* device_ = nullptr;
  StreamHandle stream_ = nullptr;  // of the last work
  bool used_ = false;
};

}  // namespace kiln
