// Affine maps from the points of an iteration domain to the elements of a value.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/dim.h"

namespace kiln {

// offset + sum over domain dims of index * scale[dim].
struct AffineIndex {
  DimExpr offset;
  std::vector<DimExpr> scale;

  static AffineIndex zero(size_t domain_rank) { return {0, std::vector<DimExpr>(domain_rank)}; }
  // The index along domain dim `d`. Dims of extent 1 never count, so that one index has one form.
  static AffineIndex along(const std::vector<DimExpr>& extents, size_t d) {
    AffineIndex index = zero(extents.size());
    if (!extents[d].is_value(1)) index.scale[d] = 1;
    return index;
  }
  bool operator==(const AffineIndex&) const = default;
};

// One index per dim of the value.
struct IndexMap {
  std::vector<AffineIndex> dims;

  bool operator==(const IndexMap&) const = default;
  std::string to_string() const;
};

// Maps of the operand of a view from the map of its result. Empty when it is not affine (a reshape
// that merges dims of the operand).
IndexMap permute_operand_map(const IndexMap& result, const std::vector<int64_t>& order);
IndexMap expand_operand_map(const IndexMap& result, const Shape& operand, const Shape& shape);
IndexMap slice_operand_map(const IndexMap& result, int64_t axis, const DimExpr& start,
                           const DimExpr& step);
std::optional<IndexMap> reshape_operand_map(const IndexMap& result, const Shape& operand,
                                            const Shape& shape);
// Map of an operand of an elementwise op under the broadcasting rule.
IndexMap broadcast_operand_map(const IndexMap& result, const Shape& operand);

}  // namespace kiln
