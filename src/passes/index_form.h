// What integer tensors made of iotas, literals and views say about masks, without running them.
#pragma once

#include <optional>
#include <vector>

#include "core/dim.h"
#include "ir/module.h"

namespace kiln {

// An integer tensor whose element at index (i0, i1, ...) is constant + sum_k factors[k] * ik.
struct IndexForm {
  DimExpr constant;
  std::vector<DimExpr> factors;  // one per axis
};

// The form of a value of i32 or i64 when it follows from iota, full, constants, sums, differences,
// products with numbers and views; over `shape`, to which the value broadcasts.
std::optional<IndexForm> index_form(Module& module, Value* value, const Shape& shape);

// What a bool tensor says about index (i0, i1, ...) of `shape`, to which it broadcasts.
enum class MaskKind : uint8_t {
  kUnknown,
  kAllTrue,
  kAllFalse,
  kCausal  // true where the last index is at most the last but one
};
MaskKind mask_kind(Module& module, Value* value, const Shape& shape);

}  // namespace kiln
