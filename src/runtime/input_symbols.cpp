#include "runtime/input_symbols.h"

#include <optional>
#include <set>

namespace kiln {
namespace {

// `dim` as scale * symbol + bias for one symbol.
struct Linear {
  std::string symbol;
  int64_t scale = 0, bias = 0;
};

std::optional<Linear> as_linear(const DimExpr& dim) {
  std::set<std::string> symbols;
  dim.collect_symbols(symbols);
  if (symbols.size() != 1) return std::nullopt;
  const std::string& symbol = *symbols.begin();
  const auto at0 = dim.evaluate({{symbol, 0}});
  const auto at1 = dim.evaluate({{symbol, 1}});
  if (!at0.ok() || !at1.ok()) return std::nullopt;
  Linear linear{symbol, 0, *at0};
  if (__builtin_sub_overflow(*at1, *at0, &linear.scale) || linear.scale == 0) return std::nullopt;
  if (!(DimExpr(linear.scale) * DimExpr::symbol(symbol) + DimExpr(linear.bias) == dim)) {
    return std::nullopt;
  }
  return linear;
}

std::string range_text(const DimRange& range) {
  return "[" + std::to_string(range.min) + ", " +
         (range.max == DimRange::kNoBound ? "inf" : std::to_string(range.max)) + "]";
}

// What the caller's sizes of an input must equal: its dims, or its value if it is a number.
Shape sizes_of(const TensorSignature& input) {
  return input.number ? Shape{*input.number} : input.dims;
}

std::string place(const TensorSignature& input, size_t dim) {
  if (input.number) return "input '" + input.name + "'";
  return "input '" + input.name + "' dim " + std::to_string(dim);
}

}  // namespace

std::vector<SymbolSource> symbol_sources(const std::vector<TensorSignature>& inputs) {
  std::vector<SymbolSource> sources;
  std::set<std::string> found;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape sizes = sizes_of(inputs[i]);
    for (size_t d = 0; d < sizes.size(); ++d) {
      if (sizes[d].is_constant()) continue;
      auto linear = as_linear(sizes[d]);
      if (!linear || !found.insert(linear->symbol).second) continue;
      sources.push_back({std::move(linear->symbol), i, d, linear->scale, linear->bias});
    }
  }
  return sources;
}

Status solve_symbols(const std::vector<TensorSignature>& inputs, const SymbolRanges& ranges,
                     const std::vector<std::vector<int64_t>>& dims, SymbolValues& symbols) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t d = 0; d < dims[i].size(); ++d) {
      if (dims[i][d] >= 0 || inputs[i].number) continue;
      return Status::error("K4105", "size is negative: " + place(inputs[i], d) + " is " +
                                        std::to_string(dims[i][d]));
    }
  }
  for (const SymbolSource& source : symbol_sources(inputs)) {
    const TensorSignature& input = inputs[source.input];
    const DimExpr dim = sizes_of(input)[source.dim];
    const int64_t extent = dims[source.input][source.dim];
    int64_t rest = 0;
    if (__builtin_sub_overflow(extent, source.bias, &rest) || rest % source.scale != 0) {
      return Status::error("K4105", "size does not fit: " + place(input, source.dim) + " is " +
                                        std::to_string(extent) + ", expected " + dim.to_string() +
                                        " for an integer " + source.symbol);
    }
    const int64_t value = rest / source.scale;
    if (auto range = ranges.find(source.symbol);
        range != ranges.end() && (value < range->second.min || value > range->second.max)) {
      return Status::error("K4105", "size is out of range: " + place(input, source.dim) + " is " +
                                        std::to_string(extent) + ", allowed is " +
                                        range_text(dim.range(ranges)));
    }
    symbols[source.symbol] = value;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape sizes = sizes_of(inputs[i]);
    for (size_t d = 0; d < sizes.size(); ++d) {
      KILN_ASSIGN_OR_RETURN(const int64_t expected, sizes[d].evaluate(symbols));
      if (expected == dims[i][d]) continue;
      std::string text = "size does not fit: " + place(inputs[i], d) + " is " +
                         std::to_string(dims[i][d]) + ", expected " + std::to_string(expected);
      if (sizes[d].is_constant()) return Status::error("K4105", std::move(text));
      text += " (" + sizes[d].to_string() + ", fixed by another input or dim)";
      return Status::error("K4106", std::move(text));
    }
  }
  return {};
}

Status check_solvable(const std::vector<TensorSignature>& inputs, const SymbolRanges& ranges,
                      const std::vector<SizeCondition>& conditions) {
  std::set<std::string> found;
  for (const SymbolSource& source : symbol_sources(inputs)) found.insert(source.symbol);
  for (const auto& [symbol, range] : ranges) {
    if (range.min > range.max) {
      return Status::error("K3105", "range of a size symbol is empty: " + symbol);
    }
  }
  std::set<std::string> used;
  for (const TensorSignature& input : inputs) {
    for (const DimExpr& dim : sizes_of(input)) dim.collect_symbols(used);
  }
  for (const SizeCondition& condition : conditions) condition.collect_symbols(used);
  for (const std::string& symbol : used) {
    if (!found.contains(symbol)) {
      return Status::error("K3105", "no input dim determines the size symbol: " + symbol);
    }
  }
  return {};
}

}  // namespace kiln
