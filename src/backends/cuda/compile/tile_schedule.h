// Schedules of tile kernels, chosen when compiling from sizes as far as they are known.
#pragma once

#include <vector>

#include "backends/cuda/runtime/tile_kernel.h"
#include "runtime/tile_params.h"
#include "tuning/device_spec.h"

namespace kiln::cuda {

struct TileSurroundings {
  const DeviceSpec* device = nullptr;
  const SymbolRanges* symbols = nullptr;
  // Bytes that the address of each input, then of each output, is a multiple of.
  std::vector<int64_t> alignments;
  std::vector<int> in_place;  // inputs that may share memory with an output
};

// The kernel of a program in canonical form, which is reordered once more where its schedule asks
// for another order of dims. K2322 when there is none (too many sizes that are not known).
Result<TileKernel> make_tile_kernel(TileParams& form, const TileSurroundings& around,
                                    const std::string& name);

}  // namespace kiln::cuda
