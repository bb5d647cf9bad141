// The CUDA backend as the compiler sees it.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/cuda/compile/library_providers.h"
#include "backends/provider_list.h"

namespace kiln::cuda {

std::unique_ptr<Backend> make_cuda_backend(const DeviceSpec& device,
                                           const LibraryWishes& wishes = {});
// All of them, whatever is disabled; best first.
ProviderList cuda_providers(const LibraryWishes& wishes = {});

// Providers, one file each; the list and its order is in cuda_backend.cpp.
std::unique_ptr<KernelProvider> make_tile_provider();  // fusions of kind "tile"

}  // namespace kiln::cuda
