// The CUDA backend without libraries, for tests: every step is a kernel of Kiln's own.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/compile/copy_kernel.h"
#include "backends/cuda/compile/cuda_backend.h"
#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/own_providers.h"
#include "backends/provider_list.h"

namespace kiln {

class OwnCudaKernels : public Backend {
 public:
  // `multiprocessors`: of a device that small programs fill; 0: as many as the data sheet says.
  explicit OwnCudaKernels(int multiprocessors = 0)
      : device_(DeviceSpec::gpu(90).value()), providers_(cuda::cuda_providers()) {
    if (multiprocessors > 0) device_.multiprocessors = multiprocessors;
    std::erase_if(providers_,
                  [](const auto& provider) { return !provider->name().starts_with("cuda."); });
  }
  std::string target() const override { return device_.target(); }
  std::string surroundings() const override { return "own kernels"; }
  const ProviderList& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }
  Status supports(Node& node) override { return find_support(node, providers_, device_, "cuda"); }
  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override {
    const bool takes_activation = cuda::is_depthwise(anchor) || cuda::is_direct_conv(anchor);
    if (takes_activation) return cuda::activation_length(epilogue);
    return cuda::multistage_gemm_epilogue_length(anchor, epilogue, device_, {});
  }
  void finish(EnginePlan& plan) const override { cuda::lower_copies(plan); }

 private:
  DeviceSpec device_;
  ProviderList providers_;
};

}  // namespace kiln
