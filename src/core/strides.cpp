#include "core/strides.h"

namespace kiln {

SymbolicStrides dense_strides(const Shape& dims, const std::vector<int>& order) {
  SymbolicStrides strides(dims.size());
  DimExpr stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    const size_t dim = order.empty() ? i : static_cast<size_t>(order[i]);
    strides[dim] = stride;
    stride *= dims[dim];
  }
  return strides;
}

bool are_contiguous(const Shape& dims, const SymbolicStrides& strides) {
  DimExpr expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i].is_value(1)) continue;
    if (!(strides[i] == expected)) return false;
    expected *= dims[i];
  }
  return true;
}

bool reshape_strides(const Shape& dims, const SymbolicStrides& strides, const Shape& to,
                     SymbolicStrides* out) {
  out->assign(to.size(), DimExpr(0));
  if (are_contiguous(dims, strides)) {
    *out = dense_strides(to, {});
    return true;
  }
  // Chunks of source dims that form one arithmetic progression are matched with groups of target
  // dims of the same size.
  Shape source_dims;
  SymbolicStrides source_strides;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i].is_value(1)) continue;
    source_dims.push_back(dims[i]);
    source_strides.push_back(strides[i]);
  }
  if (source_dims.empty()) {
    for (DimExpr& stride : *out) stride = 1;
    return true;
  }
  size_t target = to.size();
  size_t chunk_end = source_dims.size();
  while (chunk_end > 0) {
    size_t chunk = chunk_end - 1;
    DimExpr size = source_dims[chunk];
    while (chunk > 0 && source_strides[chunk - 1] == source_strides[chunk] * source_dims[chunk]) {
      --chunk;
      size *= source_dims[chunk];
    }
    DimExpr stride = source_strides[chunk_end - 1];
    DimExpr covered = 1;
    while (!(covered == size)) {
      if (target == 0) return false;
      --target;
      (*out)[target] = stride;
      covered *= to[target];
      stride *= to[target];
    }
    chunk_end = chunk;
  }
  while (target > 0) {
    --target;
    if (!to[target].is_value(1)) return false;
    (*out)[target] = 1;
  }
  return true;
}

}  // namespace kiln
