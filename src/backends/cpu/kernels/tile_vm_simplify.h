// Rewrites of a tile program that need its sizes: what would cost a pass over a tile and need not.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/tile_code.h"

namespace kiln::cpu::tile {

struct Simplified {
  TileCode code;                   // registers no longer need to be used
  std::vector<int32_t> originals;  // per instruction: its number in the original program
};

// Verified code; `row_count` points per row; `masks`: the dims along which each register varies.
//   sum of a constant           -> constant
//   pow with 2, 0.5, -0.5, -1   -> multiplication, sqrt, rsqrt, reciprocal, as eager torch does
//   a * b + c, product used once -> fma (one rounding where the machine has it)
//   softmax's e / sum(e)        -> e * (1 / sum(e)), one division per row
Simplified simplify(const TileCode& code, int64_t row_count, const std::vector<uint32_t>& masks);

}  // namespace kiln::cpu::tile
