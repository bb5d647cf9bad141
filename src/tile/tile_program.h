// Tile programs: one fused loop nest, shared by all backends. The statements are TileCode
// (runtime/tile_code.h: straight-line, typed, verified, with a text form); the program adds what
// depends on sizes: the iteration domain and where each memory statement reads or writes, as
// expressions over the program's symbols. It holds no schedule: tiles, vector widths and threads
// are chosen when sizes are known.
#pragma once

#include <string>
#include <vector>

#include "core/dim.h"
#include "runtime/tile_code.h"
#include "runtime/tile_params.h"

namespace kiln {

// Addresses of memory statements: offset + sum over domain dims of index * strides[dim], elements,
// relative to the operand's first element; one per memory statement, in order.
using TileAccessExpr = TileParams::Access;
using TileProgram = TileParams;

// Code valid, lists of matching lengths. K2321.
Status verify(const TileProgram& program);

// The code's text followed by `domain ...` and one `access ...` line per memory statement.
std::string print(const TileProgram& program);

}  // namespace kiln
