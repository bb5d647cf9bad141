// "index" and "index_put": elements at positions that index tensors give.
//
// The table is the tensor with indexed axes; the dense tensor has, in place of these, the joint
// dims of the index tensors, from dim `at` on.
#pragma once

#include <algorithm>
#include <string>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct IndexKernel {
  static constexpr const char* kFamily = "index";
  static constexpr const char* kPutFamily = "index_put";

  DType dtype = DType::kF32;  // of the table; matters for `accumulate` only
  int64_t width = 1;          // elements that are moved as one, along the last dim of the table
  DType index = DType::kI64;
  std::vector<int64_t> axes;  // of the table, ascending, one for each index tensor
  int64_t at = 0;
  int64_t joint = 0;        // how many joint dims
  bool negative = false;    // whether indices may count from the end
  bool accumulate = false;  // index_put: equal positions add up, in order; else the last one wins
  std::vector<int> order;   // of the dense tensor's dims
  bool wide = true;
  KernelSizes sizes;

  int64_t bytes() const { return static_cast<int64_t>(dtype_bytes(dtype)) * width; }
  Json to_json() const;
  static Result<IndexKernel> from_json(const Json& params);  // K3212
};

// The problem in terms of the dense tensor's dims n: coordinates along joint dims position the
// index tensors, the others are taken whole from the table.
template <class Size>
struct IndexGeometry {
  std::vector<Size> n, dense;            // sizes and strides of the dense tensor
  std::vector<Size> slice;               // strides of the table, 0 along joint dims
  std::vector<Size> indexed, extent;     // strides and sizes of the table's indexed axes
  std::vector<std::vector<Size>> index;  // strides of each index tensor, 0 along slice dims
  int64_t joint = 0;

  NamedSizes<Size> sizes() const {
    NamedSizes<Size> list;
    list.add_each("n", n);
    list.add_strides("b", dense, n);
    list.add_each("a", slice);
    list.add_each("u", indexed);
    list.add_each("t", extent);
    for (size_t k = 0; k < index.size(); ++k) {
      list.add_strides("x" + std::to_string(k) + "_", index[k], n);
    }
    return list;
  }
};

// K3241 where shapes do not fit. `dense` may be broadcast (index_put).
template <class View>
Result<IndexGeometry<SizeOf<View>>> index_geometry(const View& table, const View& dense,
                                                   const std::vector<View>& index,
                                                   const std::vector<int64_t>& axes, int64_t at,
                                                   bool broadcast) {
  using Size = SizeOf<View>;
  const auto mismatch = [](const char* what) {
    return Status::error("K3241", std::string("index: ") + what);
  };
  IndexGeometry<Size> g;
  std::vector<Size> joint;
  for (const View& tensor : index) {
    const size_t rank = tensor.dims.size();
    if (rank > joint.size()) joint.insert(joint.begin(), rank - joint.size(), Size(1));
    for (size_t i = 0; i < rank; ++i) {
      Size& size = joint[joint.size() - rank + i];
      if (is_one(size)) size = tensor.dims[i];
    }
  }
  g.joint = static_cast<int64_t>(joint.size());
  size_t next = 0;
  for (size_t d = 0; d < table.dims.size(); ++d) {
    if (next < axes.size() && axes[next] == static_cast<int64_t>(d)) {
      g.extent.push_back(table.dims[d]);
      g.indexed.push_back(table.strides[d]);
      ++next;
      continue;
    }
    g.n.push_back(table.dims[d]);
    g.slice.push_back(table.strides[d]);
  }
  const auto place = static_cast<size_t>(at);
  if (next != axes.size() || place > g.n.size()) return mismatch("axes beyond the table's rank");
  g.n.insert(g.n.begin() + at, joint.begin(), joint.end());
  g.slice.insert(g.slice.begin() + at, joint.size(), Size(0));
  const size_t rank = g.n.size();
  for (const View& tensor : index) {
    std::vector<Size> strides(rank, Size(0));
    const size_t first = place + joint.size() - tensor.dims.size();
    for (size_t i = 0; i < tensor.dims.size(); ++i) {
      if (tensor.dims[i] == joint[first - place + i]) {
        strides[first + i] = tensor.strides[i];
      } else if (!is_one(tensor.dims[i])) {
        return mismatch("index tensors do not broadcast");
      }
    }
    g.index.push_back(std::move(strides));
  }
  if (dense.dims.size() > rank || (!broadcast && dense.dims.size() != rank)) {
    return mismatch("ranks do not fit");
  }
  g.dense.assign(rank, Size(0));
  const size_t added = rank - dense.dims.size();
  for (size_t i = 0; i < dense.dims.size(); ++i) {
    if (dense.dims[i] == g.n[added + i]) {
      g.dense[added + i] = dense.strides[i];
    } else if (!broadcast || !is_one(dense.dims[i])) {
      return mismatch("values do not fit the indexed elements");
    }
  }
  return g;
}

// Makes elements along the innermost slice dim `width` times as wide; false where that cannot be.
// The offsets of table and dense are the caller's to check.
template <class Size>
bool widen_geometry(IndexGeometry<Size>& g, int64_t at, int64_t width) {
  if (width == 1) return true;
  if (g.n.empty()) return false;
  const size_t last = g.n.size() - 1;
  if (static_cast<int64_t>(last) < at + g.joint || !is_one(g.dense[last]) ||
      !is_one(g.slice[last]) || !divides(width, g.n[last])) {
    return false;
  }
  std::vector<Size*> strides;
  for (size_t i = 0; i < last; ++i) {
    strides.push_back(&g.dense[i]);
    strides.push_back(&g.slice[i]);
  }
  for (Size& stride : g.indexed) strides.push_back(&stride);
  for (const Size* stride : strides) {
    if (!divides(width, *stride)) return false;
  }
  for (Size* stride : strides) *stride = quotient(*stride, width);
  g.n[last] = quotient(g.n[last], width);
  return true;
}

}  // namespace kiln::cuda
