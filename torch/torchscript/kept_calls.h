// The ATen calls in the methods of a module that stay in TorchScript, for the report.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "torch/torchscript/import.h"

namespace kiln::torchscript {

struct KeptCall {
  std::string op;           // "aten::add.Tensor"
  std::string module_path;  // whose method it stands in, functions inlined
  std::string location;     // "model.py:41"
};

// In the order of the code. What `callee` calls counts with it, but not `forward` of the modules at
// the paths `compiled`; each method counts once, a function at each place that calls it. Calls
// count as in a program: views do, questions about sizes do not. Of a branch on a constant one side
// counts, of others both.
std::vector<KeptCall> kept_calls(const Callee& callee, const std::set<std::string>& compiled);

}  // namespace kiln::torchscript
