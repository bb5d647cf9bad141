// Which operators of a method the importer has no rule for, from its graph alone.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>
#include <vector>

#include <kiln/status.h>

namespace kiln::torchscript {

// Names ("aten::logcumsumexp"), sorted and once each, of the operators that would stay in PyTorch:
// those on tensors without a rule, and those whose result is no tensor but depends on the elements
// of one. Shapes and dtypes may keep others there; only compiling tells.
// K1101: the module has no such method.
Result<std::vector<std::string>> operators_without_rule(const torch::jit::Module& module,
                                                        const std::string& method);

}  // namespace kiln::torchscript
