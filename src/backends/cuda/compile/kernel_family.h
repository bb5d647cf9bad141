// CUDA C++ for kernel descriptions. A family is a kind of kernel with parameters; its printer makes
// the source, its step (backends/cuda/runtime) knows how to launch it. The same source goes to
// NVRTC and, with the emulated device headers, to the host compiler.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <kiln/status.h>

#include "runtime/plan.h"

namespace kiln::cuda {

struct KernelSource {
  std::string text;   // includes device headers by name: #include "device/tile.h"
  std::string entry;  // the one kernel that it defines
};

using KernelPrinter = Result<KernelSource> (*)(const Json& params);
void register_kernel_family(std::string_view family, KernelPrinter printer);
// K2610 for an unknown family or for parameters that it does not understand.
Result<KernelSource> print_kernel(const KernelDesc& kernel);

#define KILN_CUDA_KERNEL_FAMILY(identifier, family, printer)       \
  [[maybe_unused]] static const bool kiln_family_##identifier = [] { \
    ::kiln::cuda::register_kernel_family(family, printer);         \
    return true;                                                   \
  }()

// The device headers (backends/cuda/device/*.h), embedded when Kiln is built.
struct DeviceHeader {
  std::string_view name;  // "device/platform.h"
  std::string_view text;
};
const std::vector<DeviceHeader>& device_headers();

}  // namespace kiln::cuda
