// What an operator's schema says of one argument.
#pragma once

#include <ATen/core/function_schema.h>

#include <algorithm>

namespace kiln {

// An int, float, bool or any of them.
inline bool is_number(const c10::Argument& argument) {
  switch (argument.type()->kind()) {
    case c10::TypeKind::IntType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::NumberType: return true;
    default: return false;
  }
}

// Whether the operator writes it. A list has its mark either itself or at its elements.
inline bool is_written(const c10::Argument& argument) {
  const c10::AliasInfo* alias = argument.alias_info();
  if (alias == nullptr) return false;
  const std::vector<c10::AliasInfo>& contained = alias->containedTypes();
  return alias->isWrite() || std::any_of(contained.begin(), contained.end(),
                                         [](const auto& part) { return part.isWrite(); });
}

}  // namespace kiln
