#include "ir/type.h"

#include "base/check.h"
#include "core/text.h"

namespace kiln {
namespace {

constexpr ScalarType kScalarTypes[] = {ScalarType::kI64, ScalarType::kF64, ScalarType::kBool};

Status bad(const TextCursor& cursor) {
  return Status::error("K2301", "type does not parse at " + cursor.place());
}

bool parse_device(TextCursor& cursor, Device* out) {
  if (cursor.accept_word("cpu")) {
    *out = Device{};
    return true;
  }
  int64_t index = 0;
  if (!cursor.accept("cuda:") || !cursor.integer(&index) || index < 0 || index > 1024) return false;
  *out = Device{DeviceKind::kCuda, static_cast<int>(index)};
  return true;
}

// "nhwc", "order(0,1;1:8)", "packed(onednn:key)", after the "@".
bool parse_layout(TextCursor& cursor, Layout* out) {
  const size_t begin = cursor.position();
  std::string name;
  if (!cursor.identifier(&name)) return false;
  if (name == "order" || name == "packed") {
    if (!cursor.accept("(")) return false;
    cursor.until(")");
    if (!cursor.accept(")")) return false;
  }
  const auto layout = Layout::from_string(cursor.between(begin, cursor.position()));
  if (!layout) return false;
  *out = *layout;
  return true;
}

}  // namespace

TensorType& Type::tensor() {
  auto* tensor = std::get_if<TensorType>(&value);
  KILN_CHECK_MSG(tensor != nullptr, "value is no tensor but " + to_string());
  return *tensor;
}

const TensorType& Type::tensor() const {
  const auto* tensor = std::get_if<TensorType>(&value);
  KILN_CHECK_MSG(tensor != nullptr, "value is no tensor but " + to_string());
  return *tensor;
}

DType scalar_dtype(ScalarType type) {
  switch (type) {
    case ScalarType::kI64: return DType::kI64;
    case ScalarType::kF64: return DType::kF64;
    case ScalarType::kBool: return DType::kBool;
  }
  KILN_CHECK_MSG(false, "unknown scalar type");
  return DType::kI64;
}

std::string Type::to_string() const {
  if (const auto* scalar = std::get_if<ScalarType>(&value)) {
    return "scalar." + std::string(dtype_name(scalar_dtype(*scalar)));
  }
  if (const auto* object = std::get_if<HostObjectType>(&value)) {
    return "host<" + quote_text(object->description) + ">";
  }
  const TensorType& type = std::get<TensorType>(value);
  std::string text(dtype_name(type.dtype));
  text += "[";
  for (size_t i = 0; i < type.shape.size(); ++i) {
    if (i != 0) text += ",";
    text += dim_to_text(type.shape[i]);
  }
  text += "]";
  if (const std::string layout = type.layout.to_string(); !layout.empty()) text += "@" + layout;
  if (type.device != Device{}) text += "@" + type.device.to_string();
  return text;
}

Result<Type> parse_type(TextCursor& cursor) {
  std::string name;
  if (!cursor.identifier(&name)) return bad(cursor);
  if (name == "scalar") {
    if (!cursor.accept(".") || !cursor.identifier(&name)) return bad(cursor);
    for (ScalarType type : kScalarTypes) {
      if (name == dtype_name(scalar_dtype(type))) return Type(type);
    }
    return bad(cursor);
  }
  if (name == "host") {
    HostObjectType object;
    if (!cursor.accept("<") || !cursor.quoted(&object.description) || !cursor.accept(">")) {
      return bad(cursor);
    }
    return Type(std::move(object));
  }
  const auto dtype = dtype_from_name(name);
  if (!dtype || !cursor.accept("[")) return bad(cursor);
  TensorType type;
  type.dtype = *dtype;
  while (!cursor.accept("]")) {
    if (!type.shape.empty() && !cursor.accept(",")) return bad(cursor);
    int64_t extent = 0;
    if (cursor.integer(&extent)) {
      if (extent < 0) return bad(cursor);
      type.shape.push_back(extent);
      continue;
    }
    if (!cursor.accept("?")) return bad(cursor);
    Result<DimExpr> dim = DimExpr::parse(cursor.until(",]"));
    if (!dim.ok()) return std::move(dim).status().at(cursor.place());
    type.shape.push_back(std::move(dim).value());
  }
  while (cursor.accept("@")) {
    const size_t begin = cursor.position();
    if (parse_device(cursor, &type.device)) continue;
    cursor.seek(begin);
    if (!type.layout.is_contiguous() || !parse_layout(cursor, &type.layout)) return bad(cursor);
  }
  return Type(std::move(type));
}

}  // namespace kiln
