#include "kiln-opt/test_backend.h"

#include <algorithm>

namespace kiln {

TestBackend::TestBackend(const TestBackendOptions& options) : options_(options) {
  precision_.storage = options.precisions;
  wishes_.min_block_size = static_cast<int>(options.min_block_size);
}

void TestBackend::provide(PassContext& context) {
  context.provide<BuildWishes>(&wishes_);
  context.provide<PrecisionWishes>(&precision_);
  if (!options_.refused.empty() || !options_.refused_dtypes.empty())
    context.provide<BackendSupport>(this);
  if (options_.epilogue >= 0 || options_.channels > 1 || options_.adds_masks) {
    context.provide<FusionAdvisor>(this);
  }
}

Status TestBackend::supports(Node& node) {
  const auto contains = [](const auto& list, const auto& entry) {
    return std::find(list.begin(), list.end(), entry) != list.end();
  };
  const std::string op(node.op_name());
  if (contains(options_.refused, op)) return Status::error("K2711", "no kernel for " + op);
  if (node.is("cast") || !node.result()->type.is_tensor()) return {};
  const DType dtype = node.result()->dtype();
  const std::string name(dtype_name(dtype));
  if (!contains(options_.refused_dtypes, dtype) && !contains(options_.refused, op + ":" + name)) {
    return {};
  }
  return Status::error("K2711", "no kernel for " + op + " in " + name);
}

int TestBackend::epilogue_length(Node&, const std::vector<Node*>& epilogue) {
  const int64_t taken = std::max<int64_t>(options_.epilogue, 0);
  return static_cast<int>(std::min(taken, static_cast<int64_t>(epilogue.size())));
}

}  // namespace kiln
