// What fusion passes ask the backend.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/graph.h"

namespace kiln {

class FusionAdvisor {
 public:
  virtual ~FusionAdvisor() = default;
  // How many nodes of `epilogue` (elementwise nodes, each the only user of the one before, the
  // first the only user of the anchor's result) some kernel for `anchor` computes in its epilogue.
  virtual int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) = 0;
  // Channels of the input of a convolution come best in multiples of this; 1: any number does.
  virtual int64_t channel_multiple(Node& /*conv*/) { return 1; }
  // Whether the kernel for this attention, whose mask is bool, would rather add one of minus
  // infinity and zero, of the dtype of q.
  virtual bool adds_mask(Node& /*attention*/) { return false; }
};

}  // namespace kiln
