// Attributes of nodes: a closed set of plain values, so that printing, parsing, hashing, equality
// and saving are written once.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "core/call_arg.h"
#include "core/dim.h"
#include "core/dtype.h"
#include "core/host_tensor.h"

namespace kiln {

enum class AttrKind : uint8_t {
  kBool,
  kInt,
  kFloat,
  kString,
  kDType,
  kInts,
  kDim,
  kDims,
  kCall,
  kTensor,
  kFloats
};

// The alternatives stand in the order of AttrKind.
using Attr = std::variant<bool, int64_t, double, std::string, DType, std::vector<int64_t>, DimExpr,
                          std::vector<DimExpr>, Call, HostTensor, std::vector<double>>;

inline AttrKind attr_kind(const Attr& attr) { return static_cast<AttrKind>(attr.index()); }

// Same kind and same bits: NaN equals itself, 0.0 differs from -0.0.
bool attrs_equal(const Attr& a, const Attr& b);

// The neutral value of a kind: false, 0, "", an empty list, ...
Attr zero_attr(AttrKind kind);
std::string_view attr_kind_name(AttrKind kind);  // "bool", "ints", ...

// Text of a value (docs/ir.md); parse_attr() of the same kind gives it back bit by bit.
std::string attr_to_text(const Attr& attr);
class TextCursor;
// K2302 with the place when there is no value of this kind at the cursor.
Result<Attr> parse_attr(TextCursor& cursor, AttrKind kind);

// One declared field of an op. A field whose value equals `default_value` is not printed.
struct FieldDef {
  std::string name;
  AttrKind kind = AttrKind::kInt;
  Attr default_value;
  bool required = false;
  std::string doc;  // what it means, with units; shown in docs/ops.md
};

}  // namespace kiln
