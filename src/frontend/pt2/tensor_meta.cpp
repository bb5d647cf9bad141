#include "frontend/pt2/tensor_meta.h"

#include <array>
#include <charconv>

namespace kiln::pt2 {
namespace {

Status malformed(const std::string& what, const Json& json) {
  return Status::error("K1143", "malformed " + what + ": " + json.dump().substr(0, 120));
}

struct NamedType {
  int64_t number;
  const char* name;
  std::optional<DType> dtype;
};
constexpr std::array<NamedType, 20> kTypes = {{
    {1, "u8", DType::kU8},      {2, "i8", DType::kI8},       {3, "i16", DType::kI16},
    {4, "i32", DType::kI32},    {5, "i64", DType::kI64},     {6, "f16", DType::kF16},
    {7, "f32", DType::kF32},    {8, "f64", DType::kF64},     {9, "complex32", {}},
    {10, "complex64", {}},      {11, "complex128", {}},      {12, "bool", DType::kBool},
    {13, "bf16", DType::kBF16}, {28, "uint16", {}},          {29, "float8_e4m3fn", {}},
    {30, "float8_e5m2", {}},    {31, "float8_e4m3fnuz", {}}, {32, "float8_e5m2fnuz", {}},
    {0, "unknown", {}},         {33, "uint32", {}},
}};
constexpr std::array kLayouts = {"unknown",    "sparse_coo", "sparse_csr", "sparse_csc",
                                 "sparse_bsr", "sparse_bsc", "_mkldnn",    "strided"};
constexpr std::array kFormats = {"", "contiguous", "channels_last", "channels_last_3d", "preserve"};

}  // namespace

Result<ScalarType> scalar_type(const Json& number) {
  if (!number.is_int()) return malformed("dtype", number);
  for (const NamedType& type : kTypes) {
    if (type.number == number.as_int()) return ScalarType{type.name, type.dtype};
  }
  return ScalarType{"number " + number.dump(), std::nullopt};
}

Result<std::string> layout_name(const Json& number) {
  if (!number.is_int() || number.as_int() < 0 ||
      number.as_int() >= static_cast<int64_t>(kLayouts.size())) {
    return malformed("layout", number);
  }
  return std::string(kLayouts[static_cast<size_t>(number.as_int())]);
}

bool is_strided(const Json& layout) { return layout.is_int() && layout.as_int() == 7; }

Result<std::string> memory_format_name(const Json& number) {
  if (!number.is_int() || number.as_int() < 1 ||
      number.as_int() >= static_cast<int64_t>(kFormats.size())) {
    return malformed("memory format", number);
  }
  return std::string(kFormats[static_cast<size_t>(number.as_int())]);
}

Result<Device> device_of(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const std::string type, json.string_at("type"));
  Device device;
  if (type == "cuda") {
    device.kind = DeviceKind::kCuda;
  } else if (type != "cpu") {
    return Status::error("K1140", "a device that kiln does not know: " + type);
  }
  const Json* index = json.find("index");
  if (index != nullptr && index->is_int()) {
    if (index->as_int() < 0 || index->as_int() > 1024) return malformed("device", json);
    device.index = static_cast<int>(index->as_int());
  }
  return device;
}

Result<Tagged> tagged(const Json& json) {
  if (!json.is_object() || json.size() != 1) return malformed("value", json);
  const JsonMember& member = *json.as_object().begin();
  return Tagged{member.key, &member.value};
}

Result<Polynomial> size_of(const Json& json, Sizes& sizes) {
  KILN_ASSIGN_OR_RETURN(const Tagged size, tagged(json));
  if (size.tag == "as_int" && size.value->is_int()) return Polynomial(size.value->as_int());
  if (size.tag != "as_expr") return malformed("size", json);
  KILN_ASSIGN_OR_RETURN(const std::string text, size.value->string_at("expr_str"));
  return sizes.evaluate(text);
}

size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64: return 8;
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16: return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool: return 1;
  }
  return 1;
}

Result<CaptureMeta> tensor_meta(const Json& json, Sizes& sizes) {
  KILN_ASSIGN_OR_RETURN(const Json* dtype, json.member("dtype"));
  KILN_ASSIGN_OR_RETURN(const ScalarType type, scalar_type(*dtype));
  KILN_ASSIGN_OR_RETURN(const Json* layout, json.member("layout"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* shape, json.array_at("sizes"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* steps, json.array_at("strides"));
  CaptureMeta meta;
  if (!type.dtype) {
    meta.opaque = "dtype " + type.name;
    return meta;
  }
  meta.dtype = *type.dtype;
  if (!is_strided(*layout)) {
    KILN_ASSIGN_OR_RETURN(const std::string name, layout_name(*layout));
    meta.opaque = "layout " + name;
    return meta;
  }
  std::vector<Polynomial> dims, strides;
  for (const auto& [from, to] : {std::pair{shape, &dims}, std::pair{steps, &strides}}) {
    for (const Json& item : *from) {
      auto size = size_of(item, sizes);
      if (!size.ok() && size.status().code() != "K1141") return std::move(size).status();
      if (!size.ok()) meta.opaque = size.status().message();
      if (!size.ok()) return meta;
      for (const std::string& symbol : sizes.symbols_of(*size)) {
        if (!is_unbacked(symbol)) continue;
        meta.opaque = "size known only at run time: " + size->to_string();
        return meta;
      }
      to->push_back(std::move(*size));
    }
  }
  if (dims.size() != strides.size() || dims.size() > 64) return malformed("tensor", json);
  bool contiguous = true, empty = false;
  std::optional<Polynomial> expected = Polynomial(1);
  for (size_t i = dims.size(); i-- > 0;) {
    empty = empty || dims[i].constant() == 0;
    const bool fits = dims[i].constant() == 1 || (expected && strides[i] == *expected);
    contiguous = contiguous && fits;
    if (expected) expected = multiply(*expected, dims[i]);
  }
  for (const Polynomial& dim : dims) {
    if (dim.constant().value_or(0) < 0) return malformed("size", json);
    meta.dims.push_back(dim.to_string());
  }
  if (contiguous || empty) return meta;
  for (const Polynomial& stride : strides) meta.strides.push_back(stride.to_string());
  return meta;
}

}  // namespace kiln::pt2
