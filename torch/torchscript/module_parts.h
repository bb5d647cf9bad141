// Which submodules of a TorchScript module become programs where the module cannot be one as a
// whole.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "torch/torchscript/import.h"
#include "torch/torchscript/submodule_uses.h"

namespace kiln::torchscript {

// A submodule that is called, and for what a program of it would be.
struct PartRequest {
  std::string path;
  torch::jit::Module module;
  Arguments arguments;
  std::vector<std::string> torch_executed_modules;  // paths that begin at the submodule
};

// What became of it: the first member that is not empty counts.
struct PartAnswer {
  std::optional<ImportFailure> stopped;      // there: the submodule stays, those below it are tried
  bool nothing_native = false;               // a program would do nothing: all of it stays
  std::string no_module;                     // why no module can stand for it (K1019); as `stopped`
  std::optional<torch::jit::Module> module;  // that stands for it; none where none is made
};

// Makes a program of a submodule, or looks what would be in it. An error is an error of the walk.
using BuildPart = std::function<Result<PartAnswer>(const PartRequest& request)>;

struct PartOptions {
  std::vector<std::string> torch_executed_modules;  // paths: they stay with all that they hold
  int64_t min_block_size = 1;                       // that `nothing_native` goes by
};

struct ModuleParts {
  std::vector<std::string> built;                        // paths of the programs
  std::map<std::string, torch::jit::Module> modules;     // that stand for them
  std::vector<std::pair<std::string, std::string>> kept;  // module path that stays, and why
};

// The method in which the import of `forward` stopped stays in TorchScript, and so do its callers
// up to the root; the submodules that they call are asked of `build`, and where they stop too those
// that these call. What they are called with show runs of the program (sample_runs.h), and what the
// methods that stay do with them besides their code (submodule_uses.h).
// K1145, K1146: the run on `arguments` failed; the errors of `build`.
Result<ModuleParts> find_parts(const Callee& callee, const Arguments& arguments,
                               const ImportFailure& stopped, const PartOptions& options,
                               const BuildPart& build, PythonUses python_uses = nullptr);

}  // namespace kiln::torchscript
