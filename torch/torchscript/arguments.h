// Arguments of a method made from descriptions of tensors, without Python.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "torch/torchscript/import.h"

namespace kiln::torchscript {

// A tensor argument; sizes in elements. Where min and max differ, the program takes all sizes
// between them. Dims at the same position with the same range are one size, as in Python.
struct ScriptInput {
  std::vector<int64_t> min, opt, max;
  c10::ScalarType dtype = c10::ScalarType::Float;
  c10::MemoryFormat format = c10::MemoryFormat::Contiguous;
  // Bounds of example values, the upper one excluded. Not given: normally distributed floats, and
  // integers 0 and 1, so that an index is in range.
  std::optional<std::pair<double, double>> domain;
};

// Where the tensors of a module lie.
c10::Device home_of(const torch::jit::Module& module);

class ArgumentBuilder {
 public:
  explicit ArgumentBuilder(c10::Device home) : home_(home) {}

  // A tensor of the usual sizes that stands for `input`, the same for the same calls. `name` is for
  // K1101: ranks that differ, sizes out of order, an empty range of values.
  Result<at::Tensor> example(const ScriptInput& input, const std::string& name);

  // One call of a method with this schema, whose first argument is self: the first arguments by
  // position, in which tensors of example() stand for what they describe; the others take their
  // defaults. Lists, tuples and dicts get the types that the schema wants.
  // K1101: too many or too few, or one of another type.
  Result<Arguments> finish(const std::vector<c10::IValue>& values,
                           const c10::FunctionSchema& schema);

 private:
  c10::Device home_;
  uint64_t seed_ = 0x6b696c6e;                // of values: not 0, with which weights are often made
  std::map<std::string, std::string> names_;  // position and range -> symbol
  std::vector<std::pair<at::Tensor, std::vector<CaptureDim>>> dims_;
  SymbolRanges symbols_;
};

}  // namespace kiln::torchscript
