// Types of values: a tensor, a host scalar, or something only PyTorch understands.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "base/status.h"
#include "core/device.h"
#include "core/dim.h"
#include "core/dtype.h"
#include "core/layout.h"

namespace kiln {

struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;
  Layout layout;  // empty until the layout pass; contiguous
  Device device;

  int rank() const { return static_cast<int>(shape.size()); }
  bool operator==(const TensorType&) const = default;
};

// An i64, f64 or bool that is computed on the host and is not expressible as a DimExpr.
enum class ScalarType : uint8_t { kI64, kF64, kBool };

// A result of an aten.call that native steps cannot take: a tensor whose shape depends on data, a
// complex or sparse tensor, a tensor list. Only aten.calls and program outputs use such values.
struct HostObjectType {
  std::string description;  // "tensor of data-dependent shape", ...
  bool operator==(const HostObjectType&) const = default;
};

struct Type {
  std::variant<TensorType, ScalarType, HostObjectType> value;

  Type() = default;
  Type(TensorType t) : value(std::move(t)) {}      // NOLINT(google-explicit-constructor)
  Type(ScalarType t) : value(t) {}                 // NOLINT(google-explicit-constructor)
  Type(HostObjectType t) : value(std::move(t)) {}  // NOLINT(google-explicit-constructor)
  Type(DType dtype, Shape shape) : value(TensorType{dtype, std::move(shape), {}, {}}) {}

  bool is_tensor() const { return std::holds_alternative<TensorType>(value); }
  TensorType& tensor();              // precondition: is_tensor()
  const TensorType& tensor() const;  // precondition: is_tensor()
  bool operator==(const Type&) const = default;

  // "f32[?b,64,112,112]@nhwc", "f32[4]@cuda:0", "scalar.i64" for a host scalar, "host<\"...\">".
  std::string to_string() const;
};

DType scalar_dtype(ScalarType type);  // how a host scalar is stored: i64, f64, bool

class TextCursor;
// Reads what to_string() prints. K2301 with the place when there is no type at the cursor.
Result<Type> parse_type(TextCursor& cursor);

}  // namespace kiln
