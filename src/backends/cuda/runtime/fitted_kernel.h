// Plans are made for one GPU and run on all: what becomes of a kernel that asks for more than the
// GPU at hand has.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/plan.h"

namespace kiln::cuda {

// The kernel that computes the same in the place of `kernel` where blocks may have `shared_bytes`
// of shared memory; nothing where that is `kernel` itself.
std::optional<KernelDesc> fitted_kernel(const KernelDesc& kernel, int64_t shared_bytes);

}  // namespace kiln::cuda
