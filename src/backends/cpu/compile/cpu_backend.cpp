#include "backends/cpu/compile/cpu_backend.h"

#include <utility>

#include "ir/op_def.h"

namespace kiln {
namespace {

// What EngineLowering does by itself.
bool is_structural(Node& node) {
  return node.is("aten.call") || node.is("concat") || node.is("reshape") || node.is("permute") ||
         node.is("expand") || node.is("slice");
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const DeviceSpec& device) : device_(device) {
    // A provider stands before those that compute the same more slowly.
    providers_.push_back(make_dnnl_conv_provider());
    providers_.push_back(make_dnnl_matmul_provider());
    providers_.push_back(make_dnnl_pool_provider());
    providers_.push_back(make_attention_provider());
    providers_.push_back(make_tile_provider());
    providers_.push_back(make_indexing_provider());
    providers_.push_back(make_movement_provider());
    providers_.push_back(make_pool_provider());
    providers_.push_back(make_gemm_provider());
  }

  std::string target() const override { return device_.target(); }
  const std::vector<std::unique_ptr<KernelProvider>>& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }

  Status supports(Node& node) override {
    if (is_structural(node)) return {};
    Candidates candidates;
    for (const auto& provider : providers_) {
      provider->candidates(node, device_, candidates);
      if (!candidates.tactics.empty()) return {};
    }
    std::string reasons;
    for (const Refusal& refusal : candidates.refusals) {
      reasons += (reasons.empty() ? "" : "; ") + refusal.provider + ": " + refusal.reason;
    }
    if (reasons.empty()) reasons = "no provider knows " + std::string(node.op_name());
    return Status::error("K2412", "no cpu kernel: " + reasons);
  }

  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override {
    return dnnl_epilogue_length(anchor, epilogue);
  }

 private:
  DeviceSpec device_;
  std::vector<std::unique_ptr<KernelProvider>> providers_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const DeviceSpec& device) {
  return std::make_unique<CpuBackend>(device);
}

}  // namespace kiln
