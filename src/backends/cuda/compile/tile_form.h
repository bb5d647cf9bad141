// The form of tile programs that kernels are made for: fewer dims, in the order of memory.
#pragma once

#include <cstdint>

#include "core/dim.h"
#include "runtime/tile_params.h"

namespace kiln::cuda {

// The largest known number that divides every value of the expression; 0 for the expression 0.
int64_t known_divisor(const DimExpr& expr);

// The same program with dims of one element left out, with the dims outside of the row and, unless
// places in the row are results, those of the row in the order of memory (that of the widest load
// where there are rows, else of the widest store), and with dims merged that run together in every
// access. A program with reductions keeps one dim in its row.
TileParams canonical_form(const TileParams& params);

// Dims in another order: dim d of the result is dim order[d]. Rows stay rows.
TileParams reordered(const TileParams& params, const std::vector<size_t>& order);

}  // namespace kiln::cuda
