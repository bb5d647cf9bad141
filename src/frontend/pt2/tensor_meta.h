// TensorMeta and the enumerations of torch.export's schema, whose numbers are its own.
#pragma once

#include <optional>
#include <string>

#include <kiln/capture.h>

#include "base/json.h"
#include "frontend/pt2/size_expr.h"

namespace kiln::pt2 {

// "f32", or torch's name where Kiln has none ("complex64"); with the dtype where Kiln has one.
struct ScalarType {
  std::string name;
  std::optional<DType> dtype;
};
Result<ScalarType> scalar_type(const Json& number);
Result<std::string> layout_name(const Json& number);
Result<std::string> memory_format_name(const Json& number);
Result<Device> device_of(const Json& json);
bool is_strided(const Json& layout);

// {"as_expr": ...} or {"as_int": ...}.
Result<Polynomial> size_of(const Json& json, Sizes& sizes);
// Opaque where native code cannot hold it. K1143 malformed, K1141 beyond the limits.
Result<CaptureMeta> tensor_meta(const Json& meta, Sizes& sizes);
size_t dtype_size(DType dtype);
// The one member of a union: its name and value. K1143 for another number of members.
struct Tagged {
  std::string_view tag;
  const Json* value = nullptr;
};
Result<Tagged> tagged(const Json& json);

}  // namespace kiln::pt2
