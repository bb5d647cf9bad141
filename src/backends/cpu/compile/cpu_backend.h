// The CPU backend as the compiler sees it.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/provider_list.h"

namespace kiln {

std::unique_ptr<Backend> make_cpu_backend(const DeviceSpec& device);
// All of them, whatever is disabled.
ProviderList cpu_providers();

// Providers, one file each; the list and its order is in cpu_backend.cpp.
std::unique_ptr<KernelProvider> make_dnnl_conv_provider();      // conv, conv_transpose
std::unique_ptr<KernelProvider> make_dnnl_matmul_provider();    // linear, matmul
std::unique_ptr<KernelProvider> make_dnnl_pool_provider();      // max_pool, avg_pool
std::unique_ptr<KernelProvider> make_attention_provider();
std::unique_ptr<KernelProvider> make_tile_provider();           // fusions of kind "tile"
std::unique_ptr<KernelProvider> make_movement_provider();       // reorder, pad, roll, flip, ...
std::unique_ptr<KernelProvider> make_indexing_provider();       // embedding, gather, scatter, ...
std::unique_ptr<KernelProvider> make_pool_provider();           // own pools and resize
std::unique_ptr<KernelProvider> make_gemm_provider();           // own matmul, conv: after oneDNN

// How a provider's epilogue ability is asked before fusions are formed: the number of leading nodes
// of `epilogue` that oneDNN's post-ops (or the provider's own kernel) can express.
int dnnl_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue);

}  // namespace kiln
