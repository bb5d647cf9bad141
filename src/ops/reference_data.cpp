#include "ops/reference_data.h"

#include <cstring>

#include "base/check.h"

namespace kiln {

std::vector<double> doubles_of(const HostTensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = tensor.get_double(static_cast<int64_t>(i));
  return values;
}

std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

IndexWalk::IndexWalk(std::vector<int64_t> shape)
    : shape_(std::move(shape)), index_(shape_.size(), 0) {
  for (int64_t extent : shape_) count_ *= extent;
}

void IndexWalk::next() {
  ++flat_;
  for (size_t axis = shape_.size(); axis-- > 0;) {
    if (++index_[axis] < shape_[axis]) return;
    index_[axis] = 0;
  }
}

AxisSplit split_at(const std::vector<int64_t>& shape, int axis) {
  AxisSplit split;
  for (int i = 0; i < static_cast<int>(shape.size()); ++i) {
    const int64_t extent = shape[static_cast<size_t>(i)];
    if (i < axis) split.outer *= extent;
    if (i == axis) split.extent = extent;
    if (i > axis) split.inner *= extent;
  }
  return split;
}

void copy_element(const HostTensor& from, int64_t from_flat, HostTensor& to, int64_t to_flat) {
  KILN_CHECK(from.dtype() == to.dtype());
  const size_t bytes = dtype_bytes(from.dtype());
  std::memcpy(to.bytes() + static_cast<size_t>(to_flat) * bytes,
              from.bytes() + static_cast<size_t>(from_flat) * bytes, bytes);
}

}  // namespace kiln
