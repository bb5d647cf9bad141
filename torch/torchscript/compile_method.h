// A method of a TorchScript module compiled without Python: what torch_tensorrt::ts and the `kiln`
// tool stand on.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <kiln/builder.h>

#include "base/json.h"
#include "torch/torchscript/arguments.h"

namespace kiln::torchscript {

struct ScriptCompileOptions {
  BuildOptions build;                               // metadata and name are filled in
  std::vector<std::string> torch_executed_ops;      // aten::add, aten::add.Tensor
  std::vector<std::string> torch_executed_modules;  // paths
  bool hooks = true;  // forward runs between the module's own; those of a submodule run its callers
};

struct CompiledMethod {
  std::unique_ptr<CompiledProgram> program;
  std::vector<std::pair<std::string, at::Tensor>> weights;  // by the program's names
  std::vector<std::string> notes;
};

// K1101: the module has no such method.
Result<Callee> callee_of(const torch::jit::Module& module, const std::string& method);

// `arguments` are those of ArgumentBuilder::finish(). K1145 and K1146 as import_callee, which also
// fills in `failure`; the errors of compile().
Result<CompiledMethod> compile_method(const torch::jit::Module& module, const std::string& method,
                                      const Arguments& arguments,
                                      const ScriptCompileOptions& options,
                                      ImportFailure* failure = nullptr);

// The report of its program, with the notes of the import.
Result<Json> report_of(const CompiledMethod& compiled);

// A module (torch/script_module.h) with fresh buffers whose `forward` is the compiled method.
Result<torch::jit::Module> module_of(const CompiledMethod& compiled,
                                     const ScriptCompileOptions& options);

}  // namespace kiln::torchscript
