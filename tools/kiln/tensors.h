// Tensors of the kiln tool: memory of inputs and outputs, random data, shapes from the command
// line.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <kiln/program.h>

#include "runtime/plan.h"

namespace kiln::tool {

// A contiguous (or signature-ordered) tensor with 64-byte aligned memory of its own.
struct Tensor {
  TensorSpec spec;
  std::shared_ptr<void> memory;

  size_t bytes() const;
  TensorView view() const;  // refers to this object's shape and strides
};

// K4501 when there is no memory for it.
Result<Tensor> make_tensor(TensorSpec spec);

// "1x3x224x224", "" and "scalar" for rank 0.
std::string show_shape(const std::vector<int64_t>& shape);

// "--shape" options: NAME=1x3x224x224 for an input, SYMBOL=4 for a size symbol. Sizes that are not
// given are the lowest that the program takes. K1007 wrong text, unknown name or a size that the
// signature does not allow.
struct ChosenShapes {
  SymbolValues symbols;
  std::vector<std::vector<int64_t>> inputs;  // by position
};
Result<ChosenShapes> choose_shapes(const EnginePlan& plan, const std::vector<std::string>& options);

// Inputs of these shapes with data that is the same on every run: normal deviates for floats, 0 and
// 1 for integers and bools (so that they are valid as ids, types and masks), and for numbers that
// are sizes (named in `metadata`) their value.
Result<std::vector<Tensor>> random_inputs(const EnginePlan& plan, const ChosenShapes& shapes,
                                          const std::string& metadata);

// The views in order, for ExecutionContext::run.
std::vector<TensorView> views_of(const std::vector<Tensor>& tensors);

}  // namespace kiln::tool
