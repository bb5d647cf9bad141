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

namespace kiln {

// Address of a memory statement: offset + sum over domain dims of index * strides[dim], elements,
// relative to the operand's first element.
struct TileAccessExpr {
  DimExpr offset;
  std::vector<DimExpr> strides;  // one per domain dim
  struct Axis {                  // gathers: one per index register
    DimExpr size, stride;
  };
  std::vector<Axis> axes;
};

struct TileProgram {
  TileCode code;
  std::vector<DimExpr> extents;           // one per domain dim
  std::vector<TileAccessExpr> accesses;   // one per memory statement, in order
};

// Code valid, lists of matching lengths. K2301.
Status verify(const TileProgram& program);

// The code's text followed by `domain ...` and one `access ...` line per memory statement.
std::string print(const TileProgram& program);

}  // namespace kiln
