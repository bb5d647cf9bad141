// Properties and conversions of element types (the enum is in kiln/tensor.h).
#pragma once

#include <kiln/tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kiln {

size_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);  // "f32", "i64", "bool", ...; a literal
std::optional<DType> dtype_from_name(std::string_view name);

inline bool is_float(DType dtype) { return dtype <= DType::kBF16; }
// Of the two 16-bit formats.
inline bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }
inline bool is_integer(DType dtype) { return dtype >= DType::kI8 && dtype <= DType::kI64; }

// Conversions for the two 16-bit formats, round to nearest even.
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);

}  // namespace kiln
