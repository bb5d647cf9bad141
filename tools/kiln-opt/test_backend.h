// A backend that does as the RUN line says, for passes that ask one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fusion/fusion_advisor.h"
#include "passes/backend_support.h"
#include "passes/pass_manager.h"

namespace kiln {

struct TestBackendOptions {
  std::vector<std::string> refused;  // ops without a kernel
  int64_t min_block_size = 1;
  int64_t epilogue = -1;  // elementwise nodes that a kernel takes; -1: nobody fuses epilogues
};

class TestBackend : public BackendSupport, public FusionAdvisor {
 public:
  explicit TestBackend(const TestBackendOptions& options);
  // Offers what the options ask for; this object must outlive the context's use.
  void provide(PassContext& context);

  Status supports(Node& node) override;
  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override;

 private:
  const TestBackendOptions& options_;
  BuildWishes wishes_;
};

}  // namespace kiln
