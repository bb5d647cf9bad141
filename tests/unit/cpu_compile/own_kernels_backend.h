// Kiln's own kernels alone, as on a machine without the library.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/compile/cpu_backend.h"
#include "tuning/device_spec.h"

namespace kiln {

class OwnKernelsBackend : public Backend {
 public:
  OwnKernelsBackend() {
    for (auto make : {make_attention_provider, make_tile_provider, make_indexing_provider,
                      make_movement_provider, make_pool_provider, make_gemm_provider}) {
      providers_.push_back(make());
    }
  }
  std::string target() const override { return device_.target(); }
  std::string surroundings() const override { return "own kernels"; }
  const std::vector<std::unique_ptr<KernelProvider>>& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }
  Status supports(Node& node) override {
    Candidates candidates;
    for (const auto& provider : providers_) provider->candidates(node, device_, candidates);
    if (!candidates.tactics.empty()) return {};
    return Status::error("K2412", "no kernel of our own");
  }
  int epilogue_length(Node&, const std::vector<Node*>&) override { return 0; }

 private:
  DeviceSpec device_ = DeviceSpec::host();
  std::vector<std::unique_ptr<KernelProvider>> providers_;
};

}  // namespace kiln
