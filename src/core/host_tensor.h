// A small owning tensor in host memory: contiguous, concrete shape. Used by the reference executor,
// constant folding and tests; never on the path of a running program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace kiln {

class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(DType dtype, std::vector<int64_t> shape);  // zero-filled

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t size(int dim) const { return shape_[static_cast<size_t>(dim)]; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t num_elements() const { return num_elements_; }
  size_t num_bytes() const { return data_.size(); }
  std::byte* bytes() { return data_.data(); }
  const std::byte* bytes() const { return data_.data(); }

  // Typed access; the caller's T must be the storage type of dtype() (uint16_t for f16 and bf16,
  // uint8_t for bool).
  template <typename T>
  T* data() {
    return reinterpret_cast<T*>(data_.data());
  }
  template <typename T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_.data());
  }

  // Element by flat index, converted. Integers beyond 2^53 lose bits in the double form.
  double get_double(int64_t flat) const;
  int64_t get_int(int64_t flat) const;
  // Stores with the rounding / wrapping of the dtype.
  void set_double(int64_t flat, double value);
  void set_int(int64_t flat, int64_t value);

  bool operator==(const HostTensor& other) const;  // dtype, shape and bits

 private:
  DType dtype_ = DType::kF32;
  std::vector<int64_t> shape_;
  int64_t num_elements_ = 0;
  std::vector<std::byte> data_;
};

}  // namespace kiln
