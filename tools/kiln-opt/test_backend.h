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
  std::vector<std::string> refused;  // ops without a kernel, or OP:DTYPE
  std::vector<DType> refused_dtypes;  // dtypes without a kernel, but for casts
  std::vector<DType> precisions;      // the user's wish
  int64_t min_block_size = 1;
  int64_t channels = 1;   // multiple that convolutions want
  bool adds_masks = false;  // attention wants masks that are added
  int64_t epilogue = -1;  // elementwise nodes that a kernel takes; -1: nobody fuses epilogues
};

class TestBackend : public BackendSupport, public FusionAdvisor {
 public:
  explicit TestBackend(const TestBackendOptions& options);
  // Offers what the options ask for; this object must outlive the context's use.
  void provide(PassContext& context);

  Status supports(Node& node) override;
  int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) override;
  int64_t channel_multiple(Node&) override { return options_.channels; }
  bool adds_mask(Node&) override { return options_.adds_masks; }

 private:
  const TestBackendOptions& options_;
  BuildWishes wishes_;
  PrecisionWishes precision_;
};

}  // namespace kiln
