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

// The code of all kernels that running the plan on a GPU of compute capability `sm` may need, those
// of the runtime's own copies included. K5305, K5306.
Result<NativeCode> compile_native(const EnginePlan& plan, int sm);

}  // namespace kiln::cuda
