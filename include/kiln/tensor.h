// Element types, devices and views of memory: what crosses Kiln's borders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kiln {

// Element type as stored in memory. Files name it ("f32"), never number it.
enum class DType : uint8_t { kF32, kF64, kF16, kBF16, kI8, kU8, kI16, kI32, kI64, kBool };

enum class DeviceKind : uint8_t { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  std::string to_string() const {  // "cpu", "cuda:1"
    return kind == DeviceKind::kCpu ? "cpu" : "cuda:" + std::to_string(index);
  }
};

// A tensor in somebody else's memory. Element (i0, i1, ...) lies at data + sum(i_k * strides[k])
// elements; strides may be zero or negative as long as all elements lie in memory that the caller
// keeps alive during the call.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Device device;
  int rank = 0;
  const int64_t* shape = nullptr;    // `rank` extents in elements
  const int64_t* strides = nullptr;  // `rank` strides in elements; null: contiguous
};

// Shape and type of a tensor that does not exist yet.
struct TensorSpec {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // elements
};

}  // namespace kiln
