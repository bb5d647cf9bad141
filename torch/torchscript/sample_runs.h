// What the modules of a program are called with, as runs of it show: the arguments that a part of
// it is compiled for.
#pragma once

#include <string>
#include <vector>

#include <kiln/status.h>

#include "torch/torchscript/import.h"

namespace kiln::torchscript {

// Runs of a program: on the example arguments, on other values, and where sizes vary at several
// sizes. They show how sizes depend on those of the inputs, and which depend on values.
class SampleRuns {
 public:
  // K1145, K1146: the run on the examples failed. Where another one raises it shows nothing.
  static Result<SampleRuns> of(const Callee& callee, const Arguments& arguments);

  // Whether a run calls `forward` of the module at the path.
  bool calls(const std::string& path) const;

  // The arguments of a program that serves all calls of the module, in which sizes that differ
  // vary: by the symbols of the program's inputs where they follow from these, by ones of their
  // own where not. Empty with `why_not` where there is no such program.
  std::optional<Arguments> arguments_of(const std::string& path, std::string& why_not) const;

 private:
  struct Run {
    SymbolValues sizes;  // of the symbols
    ModuleCalls calls;
  };

  SymbolRanges symbols_;
  std::vector<Run> runs_;
};

}  // namespace kiln::torchscript
