// Finds the values of the size symbols from the shapes of the inputs, and checks every dim.
#pragma once

#include "core/dim.h"
#include "runtime/plan.h"

namespace kiln {

// Where a size symbol is read: the extent of that dim, or the value of an input that is a number
// (dim 0), is scale * symbol + bias.
struct SymbolSource {
  std::string symbol;
  size_t input = 0, dim = 0;
  int64_t scale = 0, bias = 0;
};

// For each symbol the first dim that is linear in it alone, in the order of the inputs.
std::vector<SymbolSource> symbol_sources(const std::vector<TensorSignature>& inputs);

// `dims` holds the extents of each tensor input, by position, and the values of numbers. Solves
// dims that are linear in one symbol; then checks every dim and range. K4105: names the input, the
// dim, the value and the range or size that was expected; K4106: the same for a size that
// contradicts an earlier one.
Status solve_symbols(const std::vector<TensorSignature>& inputs, const SymbolRanges& ranges,
                     const std::vector<std::vector<int64_t>>& dims, SymbolValues& symbols);

// K3105 unless every symbol of the input dims and of the conditions can be found from an input dim.
Status check_solvable(const std::vector<TensorSignature>& inputs, const SymbolRanges& ranges,
                      const std::vector<SizeCondition>& conditions = {});

}  // namespace kiln
