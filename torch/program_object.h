// __torch__.torch.classes.kiln.Program: a compiled program as a value of PyTorch. It travels
// through torch.export.save and load, torch.jit.save and load, AOTInductor and nativert by its
// pickled state.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <kiln/status.h>

#include "torch/program_runner.h"

namespace kiln {

// The state: a JSON text {"format": 1, "weights": [{"name", "xxh128"}]}, the program as the bytes
// of a `.kiln` file without weights, and the weights under the names of the text.
struct ProgramState {
  at::Tensor program;               // uint8, one dim
  std::vector<std::string> names;   // of the weights
  std::vector<at::Tensor> weights;  // contiguous, on the CPU

  // The text. It is made when the state is asked for: weights may have changed in place.
  std::string describe() const;
};

class ProgramObject : public torch::CustomClassHolder {
 public:
  // Loads a program from a state by the rules for files from strangers (see ScopedLoadOptions).
  // Objects made of the same memory share one program, so copies cost nothing.
  // K3121 for a state that is not one; K31xx, K33xx, K51xx as for files.
  static Result<c10::intrusive_ptr<ProgramObject>> load(const std::string& description,
                                                        at::Tensor program,
                                                        std::vector<at::Tensor> weights);
  // A program that runs in this process already, with the state that will be saved for it.
  static c10::intrusive_ptr<ProgramObject> wrap(std::shared_ptr<ProgramRunner> runner,
                                                ProgramState state);

  ProgramRunner& runner() const { return *shared_->runner; }
  const std::shared_ptr<ProgramRunner>& shared_runner() const { return shared_->runner; }
  const ProgramState& state() const { return shared_->state; }

 private:
  struct Shared {
    ProgramState state;
    std::shared_ptr<ProgramRunner> runner;
  };
  static std::shared_ptr<Shared> find(const ProgramState& state);
  static void remember(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;

 public:
  // For make_intrusive; load() and wrap() are what others call.
  explicit ProgramObject(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
};

}  // namespace kiln
