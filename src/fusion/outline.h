// Moves nodes into the body of a `fused` node.
#pragma once

#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace kiln {

// `members` in graph order. The new node takes what the members take from outside (each value once)
// and gives what others use of them; sources of one element (constants, full) are copied into the
// body. Layouts stay. Afterwards the graph is sorted. Precondition: no path leaves and re-enters
// the members.
Node* outline(Graph& graph, const std::vector<Node*>& members, std::string_view anchor,
              std::string_view kind);

// The inverse: the body's nodes in place of the fused node.
void inline_fused(Node* fused);

// Would one node made of `members` depend on itself? `group_of` (may be null) names nodes that will
// be one node: a step into one of them is a step into all.
class GroupMap;
bool creates_cycle(const std::vector<Node*>& members, GroupMap* groups);

// Orders nodes so that operands come first; otherwise the order stays. Effects keep their order.
void sort_nodes(Graph& graph);

// Nodes that are going to be one node.
class GroupMap {
 public:
  virtual ~GroupMap() = default;
  virtual const std::vector<Node*>* members_with(Node* node) = 0;  // null: alone
};

}  // namespace kiln
