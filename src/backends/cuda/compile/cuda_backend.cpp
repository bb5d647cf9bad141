#include "backends/cuda/compile/cuda_backend.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "backends/cuda/compile/copy_kernel.h"
#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/own_providers.h"

namespace kiln::cuda {
namespace {

class CudaBackend : public Backend {
 public:
  CudaBackend(const DeviceSpec& device, const LibraryWishes& wishes)
      : device_(device), wishes_(wishes), providers_(cuda_providers(wishes)) {
    remove_disabled(providers_);
    takes_epilogues_ = has_libraries();
    has_depthwise_ = has("cuda.depthwise");
    has_direct_conv_ = has("cuda.direct_conv");
    has_multistage_gemm_ = has("cuda.multistage_gemm");
    adds_masks_ = has("cudnn.sdpa");
  }

  std::string target() const override { return device_.target(); }
  std::string surroundings() const override {
    // Plans hold schedules, and schedules follow these numbers.
    return "multiprocessors " + std::to_string(device_.multiprocessors) + " shared " +
           std::to_string(device_.shared_bytes_per_block) + " l2 " +
           std::to_string(device_.l2_bytes) + " bandwidth " +
           std::to_string(device_.memory_bytes_per_second) + library_surroundings(wishes_);
  }
  const ProviderList& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }
  Status supports(Node& node) override { return find_support(node, providers_, device_, "cuda"); }
  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override {
    if (has_direct_conv_ && is_direct_conv(anchor)) return activation_length(epilogue);
    if (is_depthwise(anchor)) return has_depthwise_ ? activation_length(epilogue) : 0;
    if (has_multistage_gemm_) {
      const int own = multistage_gemm_epilogue_length(anchor, epilogue, device_, wishes_);
      if (own > 0) return own;
    }
    return takes_epilogues_ ? library_epilogue_length(anchor, epilogue, device_, wishes_) : 0;
  }
  void finish(EnginePlan& plan) const override { lower_copies(plan); }
  int64_t channel_multiple(Node& conv) override {
    if (has_direct_conv_ && is_direct_conv(conv)) return 1;
    return takes_epilogues_ ? library_channel_multiple(conv) : 1;
  }
  bool adds_mask(Node& attention) override {
    return adds_masks_ && cudnn_sdpa_adds_mask(attention, device_, wishes_);
  }

 private:
  // A fusion for a library that is disabled would find no kernel.
  bool has_libraries() const {
    const ProviderList libraries = library_providers(wishes_);
    return std::all_of(libraries.begin(), libraries.end(),
                       [&](const auto& library) { return has(library->name()); });
  }
  bool has(std::string_view name) const {
    return std::any_of(providers_.begin(), providers_.end(),
                       [&](const auto& provider) { return provider->name() == name; });
  }

  DeviceSpec device_;
  LibraryWishes wishes_;
  ProviderList providers_;
  bool takes_epilogues_ = true, has_depthwise_ = true, has_direct_conv_ = true;
  bool has_multistage_gemm_ = true;
  bool adds_masks_ = false;
};

}  // namespace

ProviderList cuda_providers(const LibraryWishes& wishes) {
  // A provider stands before those that compute the same more slowly.
  ProviderList providers;
  providers.push_back(make_direct_conv_provider());
  providers.push_back(make_depthwise_provider());
  providers.push_back(make_multistage_gemm_provider(wishes));
  for (auto& library : library_providers(wishes)) providers.push_back(std::move(library));
  providers.push_back(make_cudnn_sdpa_provider(wishes, make_attention_provider(wishes)));
  providers.push_back(make_attention_provider(wishes));
  providers.push_back(make_tile_provider());
  providers.push_back(make_indexing_provider());
  providers.push_back(make_movement_provider());
  providers.push_back(make_pool_provider());
  providers.push_back(make_gemm_provider());
  return providers;
}

std::unique_ptr<Backend> make_cuda_backend(const DeviceSpec& device, const LibraryWishes& wishes) {
  return std::make_unique<CudaBackend>(device, wishes);
}

}  // namespace kiln::cuda
