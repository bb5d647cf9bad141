// Plain access to the data of HostTensors for the reference functions of the ops.
#pragma once

#include <cstdint>
#include <vector>

#include "core/host_tensor.h"

namespace kiln {

// All elements as double, row-major; saves the dtype switch inside nested loops.
std::vector<double> doubles_of(const HostTensor& tensor);

// Strides in elements of a contiguous tensor.
std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape);

// Visits the indices of a shape in row-major order:
//   for (IndexWalk at(shape); !at.done(); at.next()) use(at[0], at.flat());
// A shape without elements is done at once; rank 0 has one index.
class IndexWalk {
 public:
  explicit IndexWalk(std::vector<int64_t> shape);
  bool done() const { return flat_ >= count_; }
  void next();
  int64_t operator[](int axis) const { return index_[static_cast<size_t>(axis)]; }
  const std::vector<int64_t>& index() const { return index_; }
  int64_t flat() const { return flat_; }

 private:
  std::vector<int64_t> shape_, index_;
  int64_t flat_ = 0;
  int64_t count_ = 1;
};

// Splits a shape at an axis: element (o, i, n) is at (o * extent + i) * inner + n.
struct AxisSplit {
  int64_t outer = 1, extent = 1, inner = 1;
};
AxisSplit split_at(const std::vector<int64_t>& shape, int axis);

// Copies one element between tensors of one dtype, bits unchanged.
void copy_element(const HostTensor& from, int64_t from_flat, HostTensor& to, int64_t to_flat);

}  // namespace kiln
