// What backends do with their providers.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tuning/kernel_provider.h"

namespace kiln {

using ProviderList = std::vector<std::unique_ptr<KernelProvider>>;

// The debug switch disable_providers: names separated by +.
std::vector<std::string> disabled_providers();
void remove_disabled(ProviderList& providers);
// K1002 when it names a provider that is in none of the lists.
Status check_disabled_providers(const std::vector<const ProviderList*>& lists);

// Can a provider of the list compute the node, or does EngineLowering by itself? K2412 with the
// refusals; `backend` is named in the message.
Status find_support(Node& node, const ProviderList& providers, const DeviceSpec& device,
                    std::string_view backend);

}  // namespace kiln
