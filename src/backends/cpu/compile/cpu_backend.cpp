#include "backends/cpu/compile/cpu_backend.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "backends/cpu/runtime/dnnl_api.h"
#include "base/build_id.h"
#include "base/options.h"
#include "base/parallel_for.h"

namespace kiln {

ProviderList cpu_providers() {
  ProviderList providers;
  // A provider stands before those that compute the same more slowly.
  providers.push_back(make_dnnl_conv_provider());
  providers.push_back(make_dnnl_matmul_provider());
  providers.push_back(make_dnnl_pool_provider());
  providers.push_back(make_attention_provider());
  providers.push_back(make_tile_provider());
  providers.push_back(make_indexing_provider());
  providers.push_back(make_movement_provider());
  providers.push_back(make_pool_provider());
  providers.push_back(make_gemm_provider());
  return providers;
}

namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const DeviceSpec& device) : device_(device), providers_(cpu_providers()) {
    const std::vector<std::string> disabled = disabled_providers();
    remove_disabled(providers_);
    // Epilogues are formed for oneDNN alone.
    takes_epilogues_ = std::none_of(disabled.begin(), disabled.end(), [](const auto& name) {
      return name.starts_with("dnnl.");
    });
  }

  std::string target() const override { return device_.target(); }
  std::string surroundings() const override {
    const auto& [kind, isa, threads, l1_bytes, l2_bytes, multiprocessors, shared_bytes, bandwidth] =
        device_;
    std::string text = isa + " threads " + std::to_string(threads) + " l1 " +
                       std::to_string(l1_bytes) + " l2 " + std::to_string(l2_bytes);
    // Tactics ask how many threads there are now, whatever the program will have.
    text += " now " + std::to_string(num_threads());
    const auto library = dnnl_library_info();
    if (!library.ok()) return text + " no onednn: " + library.status().to_string();
    text += " onednn " + library->version + " " + library->isa + " " +
            file_identity(library->path);
    // oneDNN takes settings from variables of its own, such as the precision of its arithmetic.
    std::vector<std::string> settings;
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
      const std::string_view setting = *variable;
      if (setting.starts_with("ONEDNN_") || setting.starts_with("DNNL_")) {
        settings.emplace_back(setting);
      }
    }
    std::sort(settings.begin(), settings.end());
    for (const std::string& setting : settings) text += " " + setting;
    return text;
  }
  const ProviderList& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }

  Status supports(Node& node) override { return find_support(node, providers_, device_, "cpu"); }

  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override {
    return takes_epilogues_ ? dnnl_epilogue_length(anchor, epilogue) : 0;
  }

 private:
  DeviceSpec device_;
  ProviderList providers_;
  bool takes_epilogues_ = true;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const DeviceSpec& device) {
  return std::make_unique<CpuBackend>(device);
}

}  // namespace kiln
