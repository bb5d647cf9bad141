#include "ir/attr.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "core/text.h"

namespace kiln {
namespace {

constexpr std::array<std::string_view, 11> kKindNames = {
    "bool", "int", "float", "string", "dtype", "ints", "dim", "dims", "call", "tensor", "floats"};

// Tensors up to this many elements print as decimals, larger ones as hexadecimal bytes.
constexpr int64_t kDecimalElements = 16;
constexpr int64_t kMaxParsedElements = int64_t{1} << 28;

template <typename T, typename ToText>
std::string list_to_text(const std::vector<T>& items, ToText to_text) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) text += ", ";
    text += to_text(items[i]);
  }
  return text + "]";
}

bool decimal_is_exact(DType dtype) { return !is_half(dtype); }

// f32[2,2](1.0, 2.0, 3.0, 4.0)   f16[3]x"003c00400042"
std::string tensor_to_text(const HostTensor& tensor) {
  const DType dtype = tensor.dtype();
  std::string text(dtype_name(dtype));
  text += "[";
  for (size_t i = 0; i < tensor.shape().size(); ++i) {
    if (i != 0) text += ",";
    text += std::to_string(tensor.shape()[i]);
  }
  text += "]";
  const int64_t count = tensor.num_elements();
  bool decimal = count <= kDecimalElements && decimal_is_exact(dtype);
  if (dtype == DType::kBool) {
    for (int64_t i = 0; i < count; ++i) decimal = decimal && tensor.data<uint8_t>()[i] <= 1;
  }
  if (!decimal) {
    text += "x\"";
    for (size_t i = 0; i < tensor.num_bytes(); ++i) {
      const auto byte = static_cast<unsigned>(tensor.bytes()[i]);
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text + "\"";
  }
  text += "(";
  for (int64_t i = 0; i < count; ++i) {
    if (i != 0) text += ", ";
    switch (dtype) {
      case DType::kF32: text += float_to_text(tensor.data<float>()[i]); break;
      case DType::kF64: text += double_to_text(tensor.data<double>()[i]); break;
      default: text += std::to_string(tensor.get_int(i));
    }
  }
  return text + ")";
}

Status bad(const TextCursor& cursor, AttrKind kind) {
  return Status::error("K2302", "value does not parse as " + std::string(attr_kind_name(kind)) +
                                    " at " + cursor.place());
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool parse_tensor(TextCursor& cursor, HostTensor* out) {
  std::string name;
  if (!cursor.identifier(&name)) return false;
  const auto dtype = dtype_from_name(name);
  if (!dtype || !cursor.accept("[")) return false;
  std::vector<int64_t> shape;
  int64_t count = 1;
  while (!cursor.accept("]")) {
    if (!shape.empty() && !cursor.accept(",")) return false;
    int64_t extent = 0;
    if (!cursor.integer(&extent) || extent < 0) return false;
    if (__builtin_mul_overflow(count, extent, &count) || count > kMaxParsedElements) return false;
    shape.push_back(extent);
  }
  if (cursor.accept("x")) {
    std::string hex;
    if (!cursor.quoted(&hex)) return false;
    // Before allocating: the text must be as long as the shape says.
    if (hex.size() != static_cast<size_t>(count) * dtype_bytes(*dtype) * 2) return false;
    HostTensor tensor(*dtype, std::move(shape));
    for (size_t i = 0; i < tensor.num_bytes(); ++i) {
      const int high = hex_digit(hex[2 * i]);
      const int low = hex_digit(hex[2 * i + 1]);
      if (high < 0 || low < 0) return false;
      tensor.bytes()[i] = static_cast<std::byte>(high * 16 + low);
    }
    *out = std::move(tensor);
    return true;
  }
  if (!cursor.accept("(") || count > kDecimalElements) return false;
  HostTensor tensor(*dtype, std::move(shape));
  for (int64_t i = 0; i < count; ++i) {
    if (i != 0 && !cursor.accept(",")) return false;
    if (*dtype == DType::kF32) {
      if (!cursor.float_number(&tensor.data<float>()[i])) return false;
    } else if (is_float(*dtype)) {
      double value = 0;
      if (!cursor.number(&value)) return false;
      tensor.set_double(i, value);
    } else {
      int64_t value = 0;
      if (!cursor.integer(&value)) return false;
      tensor.set_int(i, value);
      if (tensor.get_int(i) != value) return false;  // out of the dtype's range
    }
  }
  if (!cursor.accept(")")) return false;
  *out = std::move(tensor);
  return true;
}

// Applies `item` to each element of "[a, b]".
template <typename Item>
bool parse_list(TextCursor& cursor, Item item) {
  if (!cursor.accept("[")) return false;
  for (bool first = true; !cursor.accept("]"); first = false) {
    if (!first && !cursor.accept(",")) return false;
    if (!item()) return false;
  }
  return true;
}

bool parse_dim(TextCursor& cursor, DimExpr* out) {
  int64_t integer = 0;
  if (cursor.integer(&integer)) {
    *out = integer;
    return true;
  }
  if (!cursor.accept("?")) return false;
  Result<DimExpr> dim = DimExpr::parse(cursor.until(",]}"));
  if (!dim.ok()) return false;
  *out = std::move(dim).value();
  return true;
}

}  // namespace

std::string_view attr_kind_name(AttrKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

Attr zero_attr(AttrKind kind) {
  switch (kind) {
    case AttrKind::kBool: return false;
    case AttrKind::kInt: return int64_t{0};
    case AttrKind::kFloat: return 0.0;
    case AttrKind::kString: return std::string();
    case AttrKind::kDType: return DType::kF32;
    case AttrKind::kInts: return std::vector<int64_t>();
    case AttrKind::kDim: return DimExpr();
    case AttrKind::kDims: return std::vector<DimExpr>();
    case AttrKind::kCall: return Call();
    case AttrKind::kTensor: return HostTensor(DType::kF32, {0});
    case AttrKind::kFloats: return std::vector<double>();
  }
  KILN_CHECK_MSG(false, "unknown attribute kind");
  return false;
}

bool attrs_equal(const Attr& a, const Attr& b) {
  if (a.index() != b.index()) return false;
  switch (attr_kind(a)) {
    case AttrKind::kFloat:
      return std::bit_cast<uint64_t>(std::get<double>(a)) ==
             std::bit_cast<uint64_t>(std::get<double>(b));
    case AttrKind::kFloats: {
      const auto& x = std::get<std::vector<double>>(a);
      const auto& y = std::get<std::vector<double>>(b);
      return x.size() == y.size() &&
             (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0);
    }
    case AttrKind::kCall:  // the text is exact, NaNs included
      return std::get<Call>(a).to_string() == std::get<Call>(b).to_string();
    default: return a == b;
  }
}

std::string attr_to_text(const Attr& attr) {
  switch (attr_kind(attr)) {
    case AttrKind::kBool: return std::get<bool>(attr) ? "true" : "false";
    case AttrKind::kInt: return std::to_string(std::get<int64_t>(attr));
    case AttrKind::kFloat: return double_to_text(std::get<double>(attr));
    case AttrKind::kString: return quote_text(std::get<std::string>(attr));
    case AttrKind::kDType: return std::string(dtype_name(std::get<DType>(attr)));
    case AttrKind::kInts:
      return list_to_text(std::get<std::vector<int64_t>>(attr),
                          [](int64_t v) { return std::to_string(v); });
    case AttrKind::kDim: return dim_to_text(std::get<DimExpr>(attr));
    case AttrKind::kDims: return list_to_text(std::get<std::vector<DimExpr>>(attr), dim_to_text);
    case AttrKind::kCall: return std::get<Call>(attr).to_string();
    case AttrKind::kTensor: return tensor_to_text(std::get<HostTensor>(attr));
    case AttrKind::kFloats:
      return list_to_text(std::get<std::vector<double>>(attr), double_to_text);
  }
  KILN_CHECK_MSG(false, "unknown attribute kind");
  return "";
}

Result<Attr> parse_attr(TextCursor& cursor, AttrKind kind) {
  switch (kind) {
    case AttrKind::kBool:
      if (cursor.accept_word("true")) return Attr(true);
      if (cursor.accept_word("false")) return Attr(false);
      return bad(cursor, kind);
    case AttrKind::kInt: {
      int64_t value = 0;
      if (!cursor.integer(&value)) return bad(cursor, kind);
      return Attr(value);
    }
    case AttrKind::kFloat: {
      double value = 0;
      if (!cursor.number(&value)) return bad(cursor, kind);
      return Attr(value);
    }
    case AttrKind::kString: {
      std::string value;
      if (!cursor.quoted(&value)) return bad(cursor, kind);
      return Attr(std::move(value));
    }
    case AttrKind::kDType: {
      std::string name;
      const bool found = cursor.identifier(&name);
      const auto dtype = dtype_from_name(name);
      if (!found || !dtype) return bad(cursor, kind);
      return Attr(*dtype);
    }
    case AttrKind::kInts: {
      std::vector<int64_t> values;
      const auto item = [&] { return cursor.integer(&values.emplace_back()); };
      if (!parse_list(cursor, item)) return bad(cursor, kind);
      return Attr(std::move(values));
    }
    case AttrKind::kDim: {
      DimExpr value;
      if (!parse_dim(cursor, &value)) return bad(cursor, kind);
      return Attr(std::move(value));
    }
    case AttrKind::kDims: {
      std::vector<DimExpr> values;
      const auto item = [&] { return parse_dim(cursor, &values.emplace_back()); };
      if (!parse_list(cursor, item)) return bad(cursor, kind);
      return Attr(std::move(values));
    }
    case AttrKind::kCall: {
      Result<Call> call = Call::parse(cursor.until(",}"));
      if (!call.ok()) return std::move(call).status().at(cursor.place());
      return Attr(std::move(call).value());
    }
    case AttrKind::kTensor: {
      HostTensor value;
      if (!parse_tensor(cursor, &value)) return bad(cursor, kind);
      return Attr(std::move(value));
    }
    case AttrKind::kFloats: {
      std::vector<double> values;
      const auto item = [&] { return cursor.number(&values.emplace_back()); };
      if (!parse_list(cursor, item)) return bad(cursor, kind);
      return Attr(std::move(values));
    }
  }
  return bad(cursor, kind);
}

}  // namespace kiln
