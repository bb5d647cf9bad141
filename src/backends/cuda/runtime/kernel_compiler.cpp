#include "backends/cuda/runtime/kernel_compiler.h"

#include <atomic>

namespace kiln::cuda {
namespace {
std::atomic<KernelCompiler*> registered{nullptr};
}

void set_kernel_compiler(KernelCompiler* compiler) { registered.store(compiler); }
KernelCompiler* kernel_compiler() { return registered.load(); }

}  // namespace kiln::cuda
