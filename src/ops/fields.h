// Short constructors for the FieldDefs of op definitions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/attr.h"

namespace kiln {

inline FieldDef make_field(AttrKind kind, std::string name, Attr default_value, bool required,
                           std::string doc) {
  FieldDef field;
  field.name = std::move(name);
  field.kind = kind;
  field.default_value = std::move(default_value);
  field.required = required;
  field.doc = std::move(doc);
  return field;
}

// Optional fields: left out, they take the default.
inline FieldDef bool_field(std::string name, bool value, std::string doc) {
  return make_field(AttrKind::kBool, std::move(name), value, false, std::move(doc));
}
inline FieldDef int_field(std::string name, int64_t value, std::string doc) {
  return make_field(AttrKind::kInt, std::move(name), value, false, std::move(doc));
}
inline FieldDef float_field(std::string name, double value, std::string doc) {
  return make_field(AttrKind::kFloat, std::move(name), value, false, std::move(doc));
}
inline FieldDef string_field(std::string name, std::string value, std::string doc) {
  return make_field(AttrKind::kString, std::move(name), std::move(value), false, std::move(doc));
}
inline FieldDef ints_field(std::string name, std::vector<int64_t> value, std::string doc) {
  return make_field(AttrKind::kInts, std::move(name), std::move(value), false, std::move(doc));
}
inline FieldDef dim_field(std::string name, DimExpr value, std::string doc) {
  return make_field(AttrKind::kDim, std::move(name), std::move(value), false, std::move(doc));
}
inline FieldDef dims_field(std::string name, std::vector<DimExpr> value, std::string doc) {
  return make_field(AttrKind::kDims, std::move(name), std::move(value), false, std::move(doc));
}

// Required fields.
inline FieldDef required_int(std::string name, std::string doc) {
  return make_field(AttrKind::kInt, std::move(name), int64_t{0}, true, std::move(doc));
}
inline FieldDef required_float(std::string name, std::string doc) {
  return make_field(AttrKind::kFloat, std::move(name), 0.0, true, std::move(doc));
}
inline FieldDef required_string(std::string name, std::string doc) {
  return make_field(AttrKind::kString, std::move(name), std::string(), true, std::move(doc));
}
inline FieldDef required_ints(std::string name, std::string doc) {
  return make_field(AttrKind::kInts, std::move(name), std::vector<int64_t>(), true, std::move(doc));
}
inline FieldDef required_dim(std::string name, std::string doc) {
  return make_field(AttrKind::kDim, std::move(name), DimExpr(), true, std::move(doc));
}
inline FieldDef required_dims(std::string name, std::string doc) {
  return make_field(AttrKind::kDims, std::move(name), std::vector<DimExpr>(), true, std::move(doc));
}
inline FieldDef required_dtype(std::string name, std::string doc) {
  return make_field(AttrKind::kDType, std::move(name), DType::kF32, true, std::move(doc));
}
inline FieldDef required_tensor(std::string name, std::string doc) {
  return make_field(AttrKind::kTensor, std::move(name), HostTensor(), true, std::move(doc));
}

}  // namespace kiln
