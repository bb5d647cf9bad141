// Where code for kernels comes from. libkiln, when it is loaded, registers its compiler (NVRTC
// behind a cache on disk); with the runtime alone only files that bring their code can run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <kiln/status.h>

#include "runtime/plan.h"

namespace kiln::cuda {

struct CompiledKernel {
  std::string image;       // a cubin, for cuModuleLoadData
  std::string entry;       // name of the function in it
};

class KernelCompiler {
 public:
  virtual ~KernelCompiler() = default;
  // Code for a device of compute capability `sm` (90), parallel to `kernels`. Compiles side by
  // side. K5305 no NVRTC, K5306 a kernel does not compile (with the compiler's log), K2610 a
  // description that no family understands.
  virtual Result<std::vector<CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                                      int sm) = 0;
};

// Stands for the sources of kernels and of their launches in this build: machine code that was made
// by other ones may take other arguments.
std::string_view kernel_convention();

void set_kernel_compiler(KernelCompiler* compiler);  // lives as long as the process
KernelCompiler* kernel_compiler();                   // null: none is there

}  // namespace kiln::cuda
