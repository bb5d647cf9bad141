// Nodes back into aten.calls, by each op's to_aten().
#pragma once

#include <string>

#include "ir/graph.h"

namespace kiln {

// Replaces the node by the calls that its op emits in its place, with its origin and no effects;
// the node is erased. The full names of the calls, separated by ", ". On failure (K2206 and the
// like: the op has no ATen form for this node) the graph is as it was.
Result<std::string> replace_by_aten(Node* node);

}  // namespace kiln
