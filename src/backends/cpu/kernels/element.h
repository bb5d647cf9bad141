// Element types of the movement kernels: by size where values do not matter, by dtype where they
// do; and the argument checks that these kernels share.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "backends/cpu/kernels/dims.h"
#include "base/check.h"
#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

struct alignas(8) Bytes16 {
  uint64_t low, high;
};

// Calls body(T()) with an unsigned integer (or Bytes16) of the given size.
template <class Body>
decltype(auto) with_element(int bytes, Body&& body) {
  switch (bytes) {
    case 1: return body(uint8_t());
    case 2: return body(uint16_t());
    case 4: return body(uint32_t());
    case 8: return body(uint64_t());
    default: KILN_CHECK_EQ(bytes, 16); return body(Bytes16());
  }
}

// 16-bit floats as numbers: converted on load and store.
struct F16 {
  uint16_t bits = 0;
  F16() = default;
  explicit F16(float value) : bits(f32_to_f16(value)) {}
  operator float() const { return f16_to_f32(bits); }
};
struct BF16 {
  uint16_t bits = 0;
  BF16() = default;
  explicit BF16(float value) : bits(f32_to_bf16(value)) {}
  operator float() const { return bf16_to_f32(bits); }
};

// Calls body(T()) with the C++ type of a dtype.
template <class Body>
decltype(auto) with_dtype(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kF32: return body(float());
    case DType::kF64: return body(double());
    case DType::kF16: return body(F16());
    case DType::kBF16: return body(BF16());
    case DType::kI8: return body(int8_t());
    case DType::kU8: return body(uint8_t());
    case DType::kI16: return body(int16_t());
    case DType::kI32: return body(int32_t());
    case DType::kI64: return body(int64_t());
    case DType::kBool: break;
  }
  return body(bool());
}

// Sums and products as torch has them: integers wrap, bool is a truth value.
template <class T>
T add(T a, T b) {
  if constexpr (std::is_same_v<T, bool>) {
    return a || b;
  } else if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return static_cast<T>(a + b);
  }
}
template <class T>
T multiply(T a, T b) {
  if constexpr (std::is_same_v<T, bool>) {
    return a && b;
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  } else {
    return static_cast<T>(a * b);
  }
}
template <class T>
bool is_nan(T value) {
  if constexpr (std::is_integral_v<T>) {
    return false;
  } else {
    return value != value;
  }
}

inline Status validate_element_bytes(const char* kernel, int bytes) {
  if (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16) return Status();
  return Status::error("K4311", std::string(kernel) + ": no kernel for this element size, got " +
                                    std::to_string(bytes) + " bytes");
}

inline Status validate_sizes(const char* kernel, int rank, const Dims& sizes) {
  if (rank < 0 || rank > kMaxRank) {
    return Status::error("K4311", std::string(kernel) + ": rank is not in [0, " +
                                      std::to_string(kMaxRank) + "], got " + std::to_string(rank));
  }
  for (int i = 0; i < rank; ++i) {
    if (sizes[i] < 0) {
      return Status::error(
          "K4311", std::string(kernel) + ": a size is negative, got " + std::to_string(sizes[i]));
    }
  }
  return Status();
}

}  // namespace kiln::cpu
