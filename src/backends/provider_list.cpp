#include "backends/provider_list.h"

#include <algorithm>

#include "base/names.h"
#include "base/options.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// What EngineLowering does by itself.
bool is_structural(Node& node) {
  return node.is("aten.call") || node.is("concat") || node.is("reshape") || node.is("permute") ||
         node.is("expand") || node.is("slice");
}

}  // namespace

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

void remove_disabled(ProviderList& providers) {
  const std::vector<std::string> disabled = disabled_providers();
  std::erase_if(providers, [&](const auto& provider) {
    return std::find(disabled.begin(), disabled.end(), provider->name()) != disabled.end();
  });
}

Status check_disabled_providers(const std::vector<const ProviderList*>& lists) {
  std::vector<std::string> known;
  for (const ProviderList* list : lists) {
    for (const auto& provider : *list) known.emplace_back(provider->name());
  }
  for (const std::string& name : disabled_providers()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return Status::error("K1002", "unknown provider in disable_providers: " + name,
                         unknown_name_hint(name, known));
  }
  return {};
}

Status find_support(Node& node, const ProviderList& providers, const DeviceSpec& device,
                    std::string_view backend) {
  if (is_structural(node)) return {};
  Candidates candidates;
  for (const auto& provider : providers) {
    provider->candidates(node, device, candidates);
    if (!candidates.tactics.empty()) return {};
  }
  std::string reasons;
  for (const Refusal& refusal : candidates.refusals) {
    reasons += (reasons.empty() ? "" : "; ") + refusal.provider + ": " + refusal.reason;
  }
  if (reasons.empty()) reasons = "no provider knows " + std::string(node.op_name());
  return Status::error("K2412", "no " + std::string(backend) + " kernel: " + reasons);
}

}  // namespace kiln
