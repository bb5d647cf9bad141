#include "core/host_tensor.h"

#include <cstring>

#include "base/check.h"

namespace kiln {

HostTensor::HostTensor(DType dtype, std::vector<int64_t> shape)
    : dtype_(dtype), shape_(std::move(shape)), num_elements_(1) {
  for (int64_t extent : shape_) {
    KILN_CHECK_GE(extent, 0);
    num_elements_ *= extent;
  }
  data_.resize(static_cast<size_t>(num_elements_) * dtype_bytes(dtype_));
}

double HostTensor::get_double(int64_t i) const {
  switch (dtype_) {
    case DType::kF32: return data<float>()[i];
    case DType::kF64: return data<double>()[i];
    case DType::kF16: return f16_to_f32(data<uint16_t>()[i]);
    case DType::kBF16: return bf16_to_f32(data<uint16_t>()[i]);
    default: return static_cast<double>(get_int(i));
  }
}

int64_t HostTensor::get_int(int64_t i) const {
  switch (dtype_) {
    case DType::kI8: return data<int8_t>()[i];
    case DType::kU8: return data<uint8_t>()[i];
    case DType::kBool: return data<uint8_t>()[i] != 0;
    case DType::kI16: return data<int16_t>()[i];
    case DType::kI32: return data<int32_t>()[i];
    case DType::kI64: return data<int64_t>()[i];
    default: return static_cast<int64_t>(get_double(i));
  }
}

void HostTensor::set_double(int64_t i, double value) {
  switch (dtype_) {
    case DType::kF32: data<float>()[i] = static_cast<float>(value); break;
    case DType::kF64: data<double>()[i] = value; break;
    case DType::kF16: data<uint16_t>()[i] = f32_to_f16(static_cast<float>(value)); break;
    case DType::kBF16: data<uint16_t>()[i] = f32_to_bf16(static_cast<float>(value)); break;
    case DType::kBool: data<uint8_t>()[i] = value != 0; break;
    default: set_int(i, static_cast<int64_t>(value));
  }
}

void HostTensor::set_int(int64_t i, int64_t value) {
  switch (dtype_) {
    case DType::kI8: data<int8_t>()[i] = static_cast<int8_t>(value); break;
    case DType::kU8: data<uint8_t>()[i] = static_cast<uint8_t>(value); break;
    case DType::kBool: data<uint8_t>()[i] = value != 0; break;
    case DType::kI16: data<int16_t>()[i] = static_cast<int16_t>(value); break;
    case DType::kI32: data<int32_t>()[i] = static_cast<int32_t>(value); break;
    case DType::kI64: data<int64_t>()[i] = value; break;
    default: set_double(i, static_cast<double>(value));
  }
}

bool HostTensor::operator==(const HostTensor& other) const {
  return dtype_ == other.dtype_ && shape_ == other.shape_ && data_ == other.data_;
}

}  // namespace kiln
