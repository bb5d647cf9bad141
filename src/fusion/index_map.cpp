#include "fusion/index_map.h"

namespace kiln {
namespace {

size_t domain_rank(const IndexMap& map) { return map.dims.empty() ? 0 : map.dims[0].scale.size(); }

AffineIndex scaled(const AffineIndex& index, const DimExpr& factor) {
  AffineIndex result = index;
  result.offset *= factor;
  for (DimExpr& scale : result.scale) scale *= factor;
  return result;
}

AffineIndex sum(const AffineIndex& a, const AffineIndex& b) {
  AffineIndex result = a;
  result.offset += b.offset;
  for (size_t i = 0; i < result.scale.size(); ++i) result.scale[i] += b.scale[i];
  return result;
}

}  // namespace

std::string IndexMap::to_string() const {
  std::string text;
  for (const AffineIndex& index : dims) {
    text += "(" + index.offset.to_string();
    for (const DimExpr& scale : index.scale) text += "," + scale.to_string();
    text += ")";
  }
  return text;
}

IndexMap permute_operand_map(const IndexMap& result, const std::vector<int64_t>& order) {
  IndexMap map;
  map.dims.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    map.dims[static_cast<size_t>(order[i])] = result.dims[i];
  }
  return map;
}

IndexMap expand_operand_map(const IndexMap& result, const Shape& operand, const Shape& shape) {
  IndexMap map;
  const size_t added = shape.size() - operand.size();
  for (size_t i = 0; i < operand.size(); ++i) {
    map.dims.push_back(operand[i] == shape[added + i] ? result.dims[added + i]
                                                      : AffineIndex::zero(domain_rank(result)));
  }
  return map;
}

IndexMap slice_operand_map(const IndexMap& result, int64_t axis, const DimExpr& start,
                           const DimExpr& step) {
  IndexMap map = result;
  AffineIndex& index = map.dims[static_cast<size_t>(axis)];
  index = scaled(index, step);
  index.offset += start;
  return map;
}

std::optional<IndexMap> reshape_operand_map(const IndexMap& result, const Shape& operand,
                                            const Shape& shape) {
  // Groups of result dims whose product is one operand dim; dims of size 1 stand outside groups.
  IndexMap map;
  const size_t rank = domain_rank(result);
  size_t at = 0;
  for (const DimExpr& extent : operand) {
    if (extent.is_value(1)) {
      map.dims.push_back(AffineIndex::zero(rank));
      continue;
    }
    while (at < shape.size() && shape[at].is_value(1)) ++at;
    AffineIndex index = AffineIndex::zero(rank);
    DimExpr covered = 1;
    while (!(covered == extent)) {
      if (at == shape.size()) return std::nullopt;
      index = sum(scaled(index, shape[at]), result.dims[at]);
      covered *= shape[at];
      ++at;
    }
    map.dims.push_back(std::move(index));
  }
  while (at < shape.size()) {
    if (!shape[at++].is_value(1)) return std::nullopt;
  }
  return map;
}

IndexMap broadcast_operand_map(const IndexMap& result, const Shape& operand) {
  IndexMap map;
  const size_t added = result.dims.size() - operand.size();
  for (size_t i = 0; i < operand.size(); ++i) {
    map.dims.push_back(operand[i].is_value(1) ? AffineIndex::zero(domain_rank(result))
                                              : result.dims[added + i]);
  }
  return map;
}

}  // namespace kiln
