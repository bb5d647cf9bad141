// Attributes of nodes: a closed set of plain values, so that printing, parsing, hashing, equality
// and saving are written once.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "core/call_arg.h"
#include "core/dim.h"
#include "core/dtype.h"
#include "core/host_tensor.h"

namespace kiln {

enum class AttrKind : uint8_t {
  kBool, kInt, kFloat, kString, kDType, kInts, kDim, kDims, kCall, kTensor, kFloats
};

// The alternatives stand in the order of AttrKind.
using Attr = std::variant<bool, int64_t, double, std::string, DType, std::vector<int64_t>, DimExpr,
                          std::vector<DimExpr>, Call, HostTensor, std::vector<double>>;

inline AttrKind attr_kind(const Attr& attr) { return static_cast<AttrKind>(attr.index()); }

// One declared field of an op. A field whose value equals `default_value` is not printed.
struct FieldDef {
  std::string name;
  AttrKind kind = AttrKind::kInt;
  Attr default_value;
  bool required = false;
  std::string doc;  // what it means, with units; shown in docs/ops.md
};

}  // namespace kiln
