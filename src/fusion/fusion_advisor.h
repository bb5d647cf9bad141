// What fusion passes ask the backend.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace kiln {

class FusionAdvisor {
 public:
  virtual ~FusionAdvisor() = default;
  // How many nodes of `epilogue` (elementwise nodes, each the only user of the one before, the
  // first the only user of the anchor's result) some kernel for `anchor` computes in its epilogue.
  virtual int epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) = 0;
};

}  // namespace kiln
