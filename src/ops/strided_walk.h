// Odometer loops over several dense tensors at once, for the reference functions of elementwise ops
// and views, which prefer plainness to speed.
#pragma once

#include <cstdint>
#include <vector>

#include "core/host_tensor.h"
#include "ops/reference_data.h"

namespace kiln {

// Calls body(flat, offsets) for every index of `shape` in row-major order, where offsets[k] is the
// dot product of the index and strides[k].
template <typename Body>
void strided_walk(const std::vector<int64_t>& shape,
                  const std::vector<std::vector<int64_t>>& strides, Body&& body) {
  int64_t n = 1;
  for (int64_t extent : shape) n *= extent;
  std::vector<int64_t> index(shape.size(), 0);
  std::vector<int64_t> offsets(strides.size(), 0);
  for (int64_t flat = 0; flat < n; ++flat) {
    body(flat, offsets.data());
    for (size_t axis = shape.size(); axis-- > 0;) {
      for (size_t k = 0; k < strides.size(); ++k) offsets[k] += strides[k][axis];
      if (++index[axis] < shape[axis]) break;
      for (size_t k = 0; k < strides.size(); ++k) offsets[k] -= strides[k][axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

// to[index] = from[base + dot(index, strides)] for every index of `to`; same dtype.
inline void gather_strided(const HostTensor& from, int64_t base,
                           const std::vector<int64_t>& strides, HostTensor& to) {
  strided_walk(to.shape(), {strides}, [&](int64_t flat, const int64_t* offset) {
    copy_element(from, base + offset[0], to, flat);
  });
}

}  // namespace kiln
