#include "backends/cpu/compile/cpu_backend.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "backends/cpu/runtime/dnnl_api.h"
#include "base/build_id.h"
#include "base/names.h"
#include "base/options.h"
#include "base/parallel_for.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// What EngineLowering does by itself.
bool is_structural(Node& node) {
  return node.is("aten.call") || node.is("concat") || node.is("reshape") || node.is("permute") ||
         node.is("expand") || node.is("slice");
}

std::vector<std::unique_ptr<KernelProvider>> all_providers() {
  std::vector<std::unique_ptr<KernelProvider>> providers;
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

// The debug switch disable_providers: names separated by +.
std::vector<std::string> disabled_providers() {
  std::vector<std::string> names;
  std::string_view rest = debug_options().disable_providers;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('+'), rest.size());
    if (end > 0) names.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const DeviceSpec& device) : device_(device), providers_(all_providers()) {
    const std::vector<std::string> disabled = disabled_providers();
    std::erase_if(providers_, [&](const auto& provider) {
      return std::find(disabled.begin(), disabled.end(), provider->name()) != disabled.end();
    });
    // Epilogues are formed for oneDNN alone.
    takes_epilogues_ = std::none_of(disabled.begin(), disabled.end(), [](const auto& name) {
      return name.starts_with("dnnl.");
    });
  }

  std::string target() const override { return device_.target(); }
  std::string surroundings() const override {
    const auto& [kind, isa, threads, l1_bytes, l2_bytes] = device_;
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
    return takes_epilogues_ ? dnnl_epilogue_length(anchor, epilogue) : 0;
  }

 private:
  DeviceSpec device_;
  std::vector<std::unique_ptr<KernelProvider>> providers_;
  bool takes_epilogues_ = true;
};

}  // namespace

Status check_disabled_providers() {
  std::vector<std::string> known;
  for (const auto& provider : all_providers()) known.emplace_back(provider->name());
  for (const std::string& name : disabled_providers()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return Status::error("K1002", "unknown provider in disable_providers: " + name,
                         unknown_name_hint(name, known));
  }
  return {};
}

std::unique_ptr<Backend> make_cpu_backend(const DeviceSpec& device) {
  return std::make_unique<CpuBackend>(device);
}

}  // namespace kiln
