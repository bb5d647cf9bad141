// Iteration domains of tile programs: which values one loop nest can compute together.
#pragma once

#include <optional>
#include <vector>

#include "fusion/index_map.h"
#include "ir/graph.h"

namespace kiln {

// The domain over values of shape `full`. Without rows it is one dim per dim of `full`. With rows,
// `axes` of `full` come last and form the row; with `groups`, dim 1 is split into groups, and the
// row is (channels of the group, all later dims), as group norm needs.
struct TileDomain {
  Shape full;
  std::vector<int64_t> axes;  // sorted; empty: no rows
  int64_t groups = 0;

  bool has_rows() const { return !axes.empty() || groups != 0; }
  bool same_rows(const TileDomain& other) const {
    return axes == other.axes && groups == other.groups;
  }
  int row_rank() const;
  // Domain dims in the order of `order` (memory order of `full`, outermost first; empty: logical);
  // row dims keep their order among themselves and stand last.
  std::vector<DimExpr> extents(const std::vector<int>& order) const;
  // Map of a value of shape `full`.
  IndexMap full_map(const std::vector<int>& order) const;
  // Shape of `full` with the row axes as 1, and without them. Meaningless with groups.
  Shape reduced_shape(bool keepdim) const;
};

// Can one statement list compute this node (tile_builder.h)? Views are not counted: they cost
// nothing outside either.
bool is_tileable(Node& node);

// What domain the node asks for: elementwise ops the shape of their result, reductions and norms
// the shape of their operand with rows. Precondition: is_tileable(node).
TileDomain domain_of(Node& node);

}  // namespace kiln
