// A TorchScript module compiled without Python, in parts where it cannot be compiled as a whole.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "torch/torchscript/compile_method.h"

namespace kiln::torchscript {

struct CompiledModule {
  torch::jit::Module module;  // takes and returns what the original does
  Json report;                // of several programs: summed up
  // For each module path that stays in TorchScript why; empty where one program does it all.
  std::vector<std::pair<std::string, std::string>> kept;
  std::vector<std::string> irs;  // of the programs: the IR after simplify
};

// `forward` of a module, with its own hooks. Where something in it cannot be compiled (K1145), the
// method that it stands in stays in TorchScript and so do its callers; the submodules that they
// call become programs of their own (module_parts.h), for what runs of the module call them with,
// with ranges where that varies. Weights on the CPU are shared with the module.
// Not with options.build.strict: then K1145, as where no part can be compiled. K1146 where the
// program raises an exception; the errors of compile_method().
Result<CompiledModule> compile_module(const torch::jit::Module& module, const Arguments& arguments,
                                      const ScriptCompileOptions& options);

}  // namespace kiln::torchscript
