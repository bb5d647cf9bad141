// A relation between sizes that a program depends on beyond the ranges of its symbols: a batch that
// must be even, one size that must not be smaller than another.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/dim.h"

namespace kiln {

enum class SizeRelation : uint8_t { kEq, kNe, kLt, kLe };

// "eq", "ne", "lt", "le".
std::string_view relation_name(SizeRelation relation);
std::optional<SizeRelation> relation_from_name(std::string_view name);

struct SizeCondition {
  SizeRelation relation = SizeRelation::kEq;
  DimExpr left, right;
  std::string text;  // whose condition it is, in the user's terms

  bool operator==(const SizeCondition&) const = default;
  bool same_relation(const SizeCondition& other) const {
    return relation == other.relation && left == other.left && right == other.right;
  }
  // "mod(s0, 2) == 0"
  std::string to_string() const;
  void collect_symbols(std::set<std::string>& out) const;
  // What the ranges alone say of it; nothing where it depends on the sizes. Sound, not complete.
  std::optional<bool> decide(const SymbolRanges& ranges) const;
  // Ok where the sizes meet it. K4106 with the text and the sizes; K2101 as evaluate().
  Status check(const SymbolValues& symbols) const;
};

}  // namespace kiln
