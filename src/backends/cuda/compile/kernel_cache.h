// Kernels to machine code: printed, compiled side by side, kept in the user's cache folder.
#pragma once

#include "backends/cuda/runtime/kernel_compiler.h"
#include "runtime/native_code.h"

namespace kiln::cuda {

// The compiler that this library registers with the runtime. Entries of the cache are
// KEY.cubin with the key made of the source, the device headers, the options, NVRTC's version and
// the compute capability. A folder that cannot be used is no error: everything is compiled then,
// and the log says why.
KernelCompiler& nvrtc_kernel_compiler();

// All kernels that running the plan may need on GPUs that machine code for compute capability `sm`
// runs on: the plan's, those of the runtime's own copies, and what takes their place on GPUs with
// less shared memory (fitted_kernel.h).
std::vector<KernelDesc> native_kernels(const EnginePlan& plan, int sm);
// Their code. K5305, K5306.
Result<NativeCode> compile_native(const EnginePlan& plan, int sm);

}  // namespace kiln::cuda
