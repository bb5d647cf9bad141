// "iota": y[i] = offset + scale * (start + i * step), integers modulo 2^64. "literal": elements
// that stand in the kernel's source.
#pragma once

#include <string>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct IotaKernel {
  static constexpr const char* kFamily = "iota";
  DType dtype = DType::kI64;
  double scale = 1, offset = 0;  // 1 and 0 for integers
  KernelSizes sizes;

  Json to_json() const;
  static Result<IotaKernel> from_json(const Json& params);  // K3212
};

template <class Size>
NamedSizes<Size> iota_sizes(const Size& length, const Size& stride, const Size& start,
                            const Size& step) {
  NamedSizes<Size> sizes;
  sizes.add("n0", length);
  sizes.add("b0", stride);
  sizes.add("start", start);
  sizes.add("step", step);
  return sizes;
}

struct LiteralKernel {
  static constexpr const char* kFamily = "literal";
  static constexpr size_t kMaxBytes = 4096;  // larger ones are copied from the host

  int64_t bytes = 4;  // of an element
  int64_t rank = 0;
  std::string hex;  // the elements in row-major order, two digits a byte, memory order
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<LiteralKernel> from_json(const Json& params);  // K3212
};

template <class View>
NamedSizes<SizeOf<View>> literal_sizes(const View& to) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", to.dims);
  sizes.add_each("b", to.strides);
  return sizes;
}

// The bytes of an even number of hexadecimal digits, lower case; K3212.
Result<std::string> bytes_of_hex(std::string_view hex);

}  // namespace kiln::cuda
