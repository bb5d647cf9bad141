// A method of a TorchScript module compiled without Python: what torch_tensorrt::ts and the `kiln`
// tool stand on.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <kiln/builder.h>

namespace kiln::torchscript {

// A tensor argument; sizes in elements. Where min and max differ, the program takes all sizes
// between them. Dims at the same position with the same range are one size, as in Python.
struct ScriptInput {
  std::vector<int64_t> min, opt, max;
  c10::ScalarType dtype = c10::ScalarType::Float;
  c10::MemoryFormat format = c10::MemoryFormat::Contiguous;
};

struct ScriptCompileOptions {
  BuildOptions build;                               // metadata and name are filled in
  std::vector<std::string> torch_executed_ops;      // aten::add, aten::add.Tensor
  std::vector<std::string> torch_executed_modules;  // paths
};

struct CompiledMethod {
  std::unique_ptr<CompiledProgram> program;
  std::vector<std::pair<std::string, at::Tensor>> weights;  // by the program's names
  std::vector<std::string> notes;
};

// K1101: no such method, or inputs that do not fit it; further arguments take their defaults.
// K1145, K1146 as import_callee; the errors of compile().
Result<CompiledMethod> compile_method(const torch::jit::Module& module, const std::string& method,
                                      const std::vector<ScriptInput>& inputs,
                                      const ScriptCompileOptions& options);

// The compiled method as a module (torch/script_module.h) with fresh buffers.
Result<torch::jit::Module> module_of(CompiledMethod compiled, int threads);

}  // namespace kiln::torchscript
