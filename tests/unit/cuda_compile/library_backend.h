// NVIDIA's libraries before the CPU's own kernels, on host memory: programs run whole, and what the
// providers ask of the (fake) libraries shows in the results.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cuda/compile/library_providers.h"
#include "unit/cuda_runtime/fake_cublaslt.h"
#include "unit/cuda_runtime/library_step.h"

namespace kiln::cuda_test {

class LibraryBackend : public Backend {
 public:
  explicit LibraryBackend(const cuda::LibraryWishes& wishes = {}) : wishes_(wishes) {
    register_host_memory_device();
    device_.kind = DeviceKind::kCuda;
    device_.isa = "sm_90";
    providers_.push_back(cuda::make_cublaslt_provider(wishes));
    providers_.push_back(cuda::make_cudnn_conv_provider(wishes));
    for (auto make : {make_attention_provider, make_tile_provider, make_indexing_provider,
                      make_movement_provider, make_pool_provider, make_gemm_provider}) {
      providers_.push_back(make());
    }
  }
  std::string target() const override { return "hostcuda:sm_90"; }
  std::string surroundings() const override { return "libraries on the host"; }
  const std::vector<std::unique_ptr<KernelProvider>>& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }
  Status supports(Node& node) override {
    Candidates candidates;
    for (const auto& provider : providers_) provider->candidates(node, device_, candidates);
    if (!candidates.tactics.empty()) return {};
    return Status::error("K2412", "no kernel");
  }
  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override {
    return cuda::library_epilogue_length(anchor, epilogue, device_, wishes_);
  }
  int64_t channel_multiple(Node& conv) override { return cuda::library_channel_multiple(conv); }

 private:
  DeviceSpec device_;
  cuda::LibraryWishes wishes_;
  std::vector<std::unique_ptr<KernelProvider>> providers_;
};

// The named provider's answer to a node alone: "" when it has a tactic, else the refusal.
inline std::string refusal_of(Node& node, KernelProvider& provider) {
  Candidates candidates;
  DeviceSpec device;
  device.kind = DeviceKind::kCuda;
  device.isa = "sm_90";
  provider.candidates(node, device, candidates);
  if (!candidates.tactics.empty()) return "";
  return candidates.refusals.empty() ? "not meant for it" : candidates.refusals[0].reason;
}

}  // namespace kiln::cuda_test
