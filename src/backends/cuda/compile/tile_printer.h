// CUDA C++ for tile kernels.
#pragma once

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/tile_kernel.h"

namespace kiln::cuda {

KernelSource print_tile_kernel(const TileKernel& kernel);

}  // namespace kiln::cuda
