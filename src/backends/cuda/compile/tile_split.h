// Reductions of few long rows in two steps: each row is cut into parts, which many blocks reduce,
// and a second kernel reduces their results and does the rest.
#pragma once

#include <optional>
#include <vector>

#include "runtime/tile_params.h"
#include "tuning/device_spec.h"

namespace kiln::cuda {

struct SplitTile {
  // Operands: those of the program; its outputs are the partial results, each of `parts` elements.
  TileParams first;
  // Operands: those of the program and then the partial results; its outputs are the program's.
  TileParams second;
  std::vector<DType> partial_types;
  int64_t partial_elements = 0;
};

// Of a program in canonical form; nothing where it would not pay or is not possible: sizes that are
// not known, results within the row, reductions of reductions, places of extremes.
std::optional<SplitTile> split_reduction(const TileParams& form, const DeviceSpec& device);

}  // namespace kiln::cuda
