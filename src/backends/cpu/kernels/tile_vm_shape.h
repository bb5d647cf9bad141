// Which dims of a bound tile program become the rows and columns of a tile.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/kernels/tile_vm_plan.h"

namespace kiln::cpu::tile {

enum class Role : uint8_t { kOuter, kRow, kCol };

struct Dim {
  int64_t extent = 1;
  bool reduced = false;  // part of the program's row
  int32_t iota = -1;     // the original dim, if an iota runs along it
  Role role = Role::kOuter;
  std::vector<int64_t> strides;  // elements, per access
};

struct Shape {
  Mode mode = Mode::kElementwise;
  std::vector<Dim> dims;    // merged; outer, then row, then col dims, each outermost first
  bool transposed = false;  // kElementwise: the last row dim is contiguous in a load whose columns
                            // are not
};

// Verified code and binding. Dims of extent 1 vanish.
Shape choose_shape(const TileCode& code, const TileBinding& binding);

}  // namespace kiln::cpu::tile
