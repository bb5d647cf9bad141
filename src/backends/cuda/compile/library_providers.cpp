#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/patch_product.h"
#include "backends/cuda/runtime/cublaslt_api.h"
#include "backends/cuda/runtime/cudnn_api.h"
#include "backends/cuda/runtime/driver.h"

namespace kiln::cuda {

std::vector<std::unique_ptr<KernelProvider>> library_providers(const LibraryWishes& wishes) {
  std::vector<std::unique_ptr<KernelProvider>> providers;
  // What both compute, convolutions of patches, is faster as a product.
  providers.push_back(make_cublaslt_provider(wishes));
  providers.push_back(make_cudnn_conv_provider(wishes));
  return providers;
}

std::string library_surroundings(const LibraryWishes& wishes) {
  const auto blas = cublaslt_info();
  const auto dnn = cudnn_info();
  std::string text = blas.ok() ? " cublaslt " + blas->version : " no cublaslt";
  text += dnn.ok() ? " cudnn " + dnn->version : " no cudnn";
  // What cuDNN offers depends on it: docs/decisions/017.
  text += driver().ok() ? " driver" : " no driver";
  return text + (wishes.allow_tf32 ? " tf32" : "") + (wishes.tune ? " tuned" : "");
}

int library_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue,
                            const DeviceSpec& device, const LibraryWishes& wishes) {
  if (anchor.is("linear") || anchor.is("matmul") || is_patch_product(anchor)) {
    return cublaslt_epilogue_length(anchor, epilogue);
  }
  if (anchor.is("conv") || anchor.is("conv_transpose")) {
    return cudnn_conv_epilogue_length(anchor, epilogue, device, wishes);
  }
  return 0;
}

int64_t library_channel_multiple(Node& conv) {
  const DType dtype = conv.result()->dtype();
  const bool half = is_half(dtype);
  return half && cudnn().ok() && !is_patch_product(conv) ? 8 : 1;
}

}  // namespace kiln::cuda
