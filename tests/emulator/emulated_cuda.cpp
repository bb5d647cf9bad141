#include "emulator/emulated_cuda.h"

#include "backends/cuda/runtime/launch.h"

namespace kiln::emulator {

HostKernelCompiler& HostKernelCompiler::instance() {
  static auto* compiler = new HostKernelCompiler();  // lives as long as the process
  return *compiler;
}

Result<std::vector<cuda::CompiledKernel>> HostKernelCompiler::compile(
    const std::vector<KernelDesc>& kernels, int) {
  std::vector<cuda::KernelSource> sources;
  for (const KernelDesc& kernel : kernels) {
    KILN_ASSIGN_OR_RETURN(cuda::KernelSource source, cuda::print_kernel(kernel));
    sources.push_back(std::move(source));
  }
  KILN_ASSIGN_OR_RETURN(std::vector<cuda::CompiledKernel> compiled, host_.compile(sources));
  for (size_t i = 0; replace_ && i < sources.size(); ++i) replace_(sources[i], compiled[i]);
  return compiled;
}

void use_emulated_cuda() {
  cuda::set_driver_for_test(&Emulator::instance().driver());
  cuda::set_kernel_compiler(&HostKernelCompiler::instance());
  cuda::set_launch_observer_for_test([](const std::vector<cuda::AddressRange>& ranges) {
    std::vector<Extent> extents;
    for (const cuda::AddressRange& range : ranges) {
      extents.push_back({range.begin, range.end});
    }
    Emulator::instance().set_extents(std::move(extents));
  });
}

}  // namespace kiln::emulator
