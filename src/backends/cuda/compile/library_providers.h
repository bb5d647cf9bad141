// Kernels of NVIDIA's libraries: cuBLASLt for matrix products, cuDNN for convolutions and
// attention.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/compile/product_epilogue.h"
#include "backends/cuda/runtime/cublaslt_step.h"
#include "ir/graph.h"
#include "tuning/device_spec.h"
#include "tuning/kernel_provider.h"

namespace kiln::cuda {

// What the user wishes of them.
struct LibraryWishes {
  bool allow_tf32 = false;  // f32 products of matrices and convolutions may round to TF32
  bool tune = false;        // candidates are timed when a shape is first run
};

// Those that take epilogues along, best first.
std::vector<std::unique_ptr<KernelProvider>> library_providers(const LibraryWishes& wishes);
// Versions and wishes, for keys of what was compiled; begins with a space.
std::string library_surroundings(const LibraryWishes& wishes);

std::unique_ptr<KernelProvider> make_cublaslt_provider(const LibraryWishes& wishes);
// Of a product and the whole of its epilogue, which cuBLASLt takes.
CublasLtStepParams cublaslt_step_params(Node& anchor, const ProductEpilogue& epilogue,
                                        const LibraryWishes& wishes, int sm);
// Own kernels for what the libraries are slow at.
std::unique_ptr<KernelProvider> make_multistage_gemm_provider(const LibraryWishes& wishes);
std::unique_ptr<KernelProvider> make_attention_provider(const LibraryWishes& wishes);
std::unique_ptr<KernelProvider> make_cudnn_conv_provider(const LibraryWishes& wishes);
// `own`: of Kiln's own attention kernel, whose steps stand in where cuDNN does not compute it.
std::unique_ptr<KernelProvider> make_cudnn_sdpa_provider(const LibraryWishes& wishes,
                                                         std::unique_ptr<KernelProvider> own);

// FusionAdvisor::epilogue_length for the anchors that the libraries compute; 0 for others.
int library_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue,
                            const DeviceSpec& device, const LibraryWishes& wishes);

// FusionAdvisor::channel_multiple: 16-bit convolutions load 16 bytes of channels at a time.
int64_t library_channel_multiple(Node& conv);

// FusionAdvisor::adds_mask.
bool cudnn_sdpa_adds_mask(Node& attention, const DeviceSpec& device, const LibraryWishes& wishes);

// Parts of library_epilogue_length, by library.
int cublaslt_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue);
// 0 also where the library is expected to be faster.
int multistage_gemm_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue,
                                    const DeviceSpec& device, const LibraryWishes& wishes);
int cudnn_conv_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue,
                               const DeviceSpec& device, const LibraryWishes& wishes);

}  // namespace kiln::cuda
