// Native nodes in few runs between aten.calls.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace kiln {

// The nodes in an order with the fewest runs of native nodes that data flow and effects allow: with
// K aten.calls at most K + 1. Runs take turns, and each takes every node that is ready, which is
// optimal for a given first turn; both first turns are tried. Within a run the order stays. Sources
// stand in front of their first user.
std::vector<Node*> partition_order(Graph& graph);

// The maximal runs of native nodes when nodes stand in this order.
std::vector<std::vector<Node*>> native_runs(const std::vector<Node*>& order);

}  // namespace kiln
