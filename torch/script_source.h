// TorchScript's `forward` of a program: text in TorchScript's language, made from the plan and the
// description of arguments and results that a file keeps.
#pragma once

#include <torch/csrc/jit/frontend/resolver.h>

#include <string>
#include <vector>

#include <kiln/status.h>

#include "runtime/plan.h"

namespace kiln {

struct ScriptSource {
  std::string text;                     // one `def forward(self, ...)`
  torch::jit::ResolverPtr resolver;     // knows every name in `text` that TorchScript does not
  std::vector<std::string> parameters;  // names of the arguments after `self`
};

// `metadata` is what python/kiln/frontends/captured.py writes; it may come from a stranger.
// `program` is the attribute of `self` that holds the program; the buffers that the program writes
// are attributes of `self` and its submodules, at the paths that are their names in the plan.
//
// The text flattens the arguments, checks what was fixed at capture, calls kiln::run, or
// kiln::run_ordered for a program that writes its inputs, and puts the results together. Values
// that were fixed are defaults where the grammar allows. K1019: an argument or result that
// TorchScript cannot express. K3120: no such description.
Result<ScriptSource> script_source(const EnginePlan& plan, const std::string& metadata,
                                   const std::string& program);

}  // namespace kiln
