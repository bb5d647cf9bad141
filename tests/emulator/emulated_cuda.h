// The emulator as this process's CUDA: plans for "cuda:sm_90" run on it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "emulator/emulator.h"
#include "emulator/host_compiler.h"

namespace kiln::emulator {

// Prints kernel descriptions and compiles them for the host.
class HostKernelCompiler : public cuda::KernelCompiler {
 public:
  static HostKernelCompiler& instance();
  Result<std::vector<cuda::CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                                    int sm) override;
  HostCompiler& host() { return host_; }
  // Applied to every image that is handed out; for tests that put another in its place.
  void set_replacement(std::function<void(const cuda::KernelSource&, cuda::CompiledKernel&)> f) {
    replace_ = std::move(f);
  }

 private:
  HostCompiler host_;
  std::function<void(const cuda::KernelSource&, cuda::CompiledKernel&)> replace_;
};

// Puts driver, compiler and the views' bounds in place; as often as one likes.
void use_emulated_cuda();

}  // namespace kiln::emulator
