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
  int find(const std::string& name) const;  // -1: none
  Status check(const std::string& name, const TensorView& other, int* index) const;

  std::vector<TensorInfo> infos;
  std::vector<Tensor> tensors;  // parallel to infos
  mutable std::mutex mutex;     // held by a run from beginning to end

 private:
  std::shared_ptr<Engine> engine_;  // whose weights are the initial values
};

}  // namespace kiln
