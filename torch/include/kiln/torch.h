// Kiln programs in C++ programs with libtorch. Links libkiln_torch.
//
// A `.ts` file needs nothing of this: torch::jit::load reads it once libkiln_torch is loaded.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>

#include <kiln/program.h>
#include <kiln/status.h>

namespace kiln {

// A `.kiln` file that was saved from Python as a TorchScript module with the model's signature;
// what Kiln has no kernel for runs in ATen. `options.host` and `options.weights` have no effect.
// torch::jit::Module::save writes a `.ts` file.
// K1019: arguments or results that TorchScript cannot express. K3120: the file does not describe
// them. K3301: an operator that needs options.allow_ops. Otherwise as Program::load.
Result<::torch::jit::Module> load_script_module(const std::string& path,
                                                const LoadOptions& options = {});

// The same from the bytes of such a file, which are copied.
Result<::torch::jit::Module> script_module_from_bytes(const std::string& bytes,
                                                      const LoadOptions& options = {});

}  // namespace kiln
