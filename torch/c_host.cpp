// PyTorch for programs that are loaded through the C API.
#include <kiln/c_api.h>

#include "torch/torch_host.h"

kiln_host* kiln_torch_host(void) { return reinterpret_cast<kiln_host*>(kiln::torch_host()); }
