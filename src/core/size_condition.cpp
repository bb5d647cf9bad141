#include "core/size_condition.h"

#include <iterator>

namespace kiln {
namespace {

// By SizeRelation.
constexpr std::string_view kNames[] = {"eq", "ne", "lt", "le"};
constexpr std::string_view kSigns[] = {" == ", " != ", " < ", " <= "};

}  // namespace

std::string_view relation_name(SizeRelation relation) {
  return kNames[static_cast<size_t>(relation)];
}

std::optional<SizeRelation> relation_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return static_cast<SizeRelation>(i);
  }
  return std::nullopt;
}

std::string SizeCondition::to_string() const {
  return left.to_string() + std::string(kSigns[static_cast<size_t>(relation)]) + right.to_string();
}

void SizeCondition::collect_symbols(std::set<std::string>& out) const {
  left.collect_symbols(out);
  right.collect_symbols(out);
}

std::optional<bool> SizeCondition::decide(const SymbolRanges& ranges) const {
  // Bounds of left - right. Its infinities are no numbers: comparisons with 0 hold for them too.
  const DimRange gap = (left - right).range(ranges);
  const auto truth = [](bool yes, bool no) -> std::optional<bool> {
    if (yes || no) return yes;
    return std::nullopt;
  };
  const bool equal = gap.min == 0 && gap.max == 0, differ = gap.min > 0 || gap.max < 0;
  switch (relation) {
    case SizeRelation::kEq: return truth(equal, differ);
    case SizeRelation::kNe: return truth(differ, equal);
    case SizeRelation::kLt: return truth(gap.max < 0, gap.min >= 0);
    case SizeRelation::kLe: return truth(gap.max <= 0, gap.min > 0);
  }
  return std::nullopt;
}

Status SizeCondition::check(const SymbolValues& symbols) const {
  KILN_ASSIGN_OR_RETURN(const int64_t a, left.evaluate(symbols));
  KILN_ASSIGN_OR_RETURN(const int64_t b, right.evaluate(symbols));
  bool holds = false;
  switch (relation) {
    case SizeRelation::kEq: holds = a == b; break;
    case SizeRelation::kNe: holds = a != b; break;
    case SizeRelation::kLt: holds = a < b; break;
    case SizeRelation::kLe: holds = a <= b; break;
  }
  if (holds) return {};
  std::set<std::string> names;
  collect_symbols(names);
  std::string sizes;
  for (const std::string& name : names) {
    sizes += (sizes.empty() ? "" : ", ") + name + " = " + std::to_string(symbols.at(name));
  }
  return Status::error("K4106", "sizes do not meet a condition of the program: " + text + " (" +
                                    to_string() + ", not so for " + sizes + ")");
}

}  // namespace kiln
