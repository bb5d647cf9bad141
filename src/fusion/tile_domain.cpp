#include "fusion/tile_domain.h"

#include <algorithm>

#include "fusion/tile_builder.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

std::vector<int64_t> last_axes(int rank, int64_t count) {
  std::vector<int64_t> axes;
  for (int64_t a = rank - count; a < rank; ++a) axes.push_back(a);
  return axes;
}

}  // namespace

int TileDomain::row_rank() const {
  if (groups != 0) return static_cast<int>(full.size()) - 1;
  return static_cast<int>(axes.size());
}

namespace {

// Dims of `full` in domain order: outer ones by memory order, then the row axes.
std::vector<size_t> dim_order(const TileDomain& domain, const std::vector<int>& order) {
  std::vector<size_t> dims;
  auto is_row = [&](size_t d) {
    return std::find(domain.axes.begin(), domain.axes.end(), static_cast<int64_t>(d)) !=
           domain.axes.end();
  };
  for (size_t i = 0; i < domain.full.size(); ++i) {
    const size_t d = order.empty() ? i : static_cast<size_t>(order[i]);
    if (!is_row(d)) dims.push_back(d);
  }
  for (int64_t axis : domain.axes) dims.push_back(static_cast<size_t>(axis));
  return dims;
}

}  // namespace

std::vector<DimExpr> TileDomain::extents(const std::vector<int>& order) const {
  std::vector<DimExpr> result;
  if (groups != 0) {
    DimExpr per_group = DimExpr::floordiv(full[1], groups);
    result = {full[0], DimExpr(groups), per_group};
    result.insert(result.end(), full.begin() + 2, full.end());
    return result;
  }
  for (size_t d : dim_order(*this, order)) result.push_back(full[d]);
  return result;
}

IndexMap TileDomain::full_map(const std::vector<int>& order) const {
  IndexMap map;
  const std::vector<DimExpr> sizes = extents(order);
  if (groups != 0) {
    map.dims.push_back(AffineIndex::along(sizes, 0));
    AffineIndex channel = AffineIndex::along(sizes, 2);
    if (groups != 1) channel.scale[1] = DimExpr::floordiv(full[1], groups);
    map.dims.push_back(std::move(channel));
    for (size_t d = 2; d < full.size(); ++d) map.dims.push_back(AffineIndex::along(sizes, d + 1));
    return map;
  }
  const std::vector<size_t> dims = dim_order(*this, order);
  map.dims.resize(full.size());
  for (size_t i = 0; i < dims.size(); ++i) map.dims[dims[i]] = AffineIndex::along(sizes, i);
  return map;
}

Shape TileDomain::reduced_shape(bool keepdim) const {
  Shape shape;
  for (size_t d = 0; d < full.size(); ++d) {
    const bool row = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d)) != axes.end();
    if (!row) shape.push_back(full[d]);
    if (row && keepdim) shape.emplace_back(1);
  }
  return shape;
}

TileDomain domain_of(Node& node) {
  TileDomain domain;
  if (node.op->has(kReduction)) {
    domain.full = node.operand(0)->shape();
    domain.axes = node.get_ints("axes");
    std::sort(domain.axes.begin(), domain.axes.end());
    return domain;
  }
  domain.full = node.result()->shape();
  const int rank = node.result()->tensor().rank();
  if (node.is("softmax") || node.is("log_softmax")) {
    if (rank > 0) domain.axes = {node.get_int("axis")};
  } else if (node.is("layer_norm") || node.is("rms_norm")) {
    domain.axes = last_axes(rank, node.get_int("num_axes"));
  } else if (node.is("group_norm")) {
    domain.groups = node.get_int("groups");
  }
  return domain;
}

}  // namespace kiln
