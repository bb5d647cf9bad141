#include "kiln-opt/test_backend.h"

#include <algorithm>

namespace kiln {

TestBackend::TestBackend(const TestBackendOptions& options) : options_(options) {
  wishes_.min_block_size = static_cast<int>(options.min_block_size);
}

void TestBackend::provide(PassContext& context) {
  context.provide<BuildWishes>(&wishes_);
  if (!options_.refused.empty()) context.provide<BackendSupport>(this);
  if (options_.epilogue >= 0) context.provide<FusionAdvisor>(this);
}

Status TestBackend::supports(Node& node) {
  const auto& refused = options_.refused;
  if (std::find(refused.begin(), refused.end(), node.op_name()) == refused.end()) return {};
  return Status::error("K2711", "no kernel for " + std::string(node.op_name()));
}

int TestBackend::epilogue_length(Node&, const std::vector<Node*>& epilogue) {
  return static_cast<int>(
      std::min<int64_t>(options_.epilogue, static_cast<int64_t>(epilogue.size())));
}

}  // namespace kiln
