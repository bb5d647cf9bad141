// What the providers of gathers and scatters share: the ops, which indices they take, and the
// steps' operands.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backends/step_tactic.h"

namespace kiln {

struct IndexedAxes {
  std::vector<int64_t> axes;  // of the table: one for each index tensor
  int64_t at;                 // where the joint dims of the index tensors stand in the result
  bool negative;              // indices may count from the end
};

// What differs between backends: each function completes a step whose kind and views are set.
struct IndexingSteps {
  std::string prefix;  // of the kinds of its steps: "cuda."
  // "index" (embedding, index_select, index): table, index tensors -> result.
  // "index_put": values, index tensors -> table, which holds the operand's values already.
  Status (*index)(StepDesc& step, Node& node, const IndexedAxes& axes, EngineLowering& lowering);
  // table, indices -> result
  Status (*gather)(StepDesc& step, Node& node, EngineLowering& lowering);
  // indices, values -> table, which holds the operand's values already
  Status (*scatter)(StepDesc& step, Node& node, EngineLowering& lowering);
};

// Refuses indices that are no integers of 32 or 64 bits, and several of different dtypes.
std::unique_ptr<KernelProvider> make_indexing_provider(std::string name, IndexingSteps steps);

}  // namespace kiln
