// What the providers of gathers and scatters share: the ops, and which indices they take.
#pragma once

#include <memory>
#include <string>

#include "backends/step_tactic.h"

namespace kiln {

struct IndexingLowerings {
  LowerFunction embedding, index_select, index, index_put, gather, scatter;
};

// Refuses indices that are no integers of 32 or 64 bits, and several of different dtypes.
std::unique_ptr<KernelProvider> make_indexing_provider(std::string name,
                                                       const IndexingLowerings& lowerings);

}  // namespace kiln
