// The tile virtual machine: runs tile code (runtime/tile_code.h) on the CPU with SIMD kernels
// chosen for this machine. Each instruction works on a tile that stays in L1, so that a fused chain
// costs one pass over memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "runtime/tile_code.h"

namespace kiln::cpu {

namespace tile {
struct Plan;
}

// How tiles are sized. The defaults suit current CPUs; tests shrink them to reach every path.
struct TileLimits {
  int64_t tile_bytes = 32 * 1024;  // of the buffers of one tile
  int64_t min_points = 256, max_points = 2048;
  int64_t max_unbuffered_points = 4096;  // of tiles without buffers: leaves units to share
  int64_t whole_row_bytes = 96 * 1024;   // rows with larger buffers are cut into chunks
  int64_t max_rows = 256;                // of a tile; row tables have that many entries
  int64_t transposed_side = 64;          // of the square tiles of transposing copies
};

class TileKernel {
 public:
  // Checks code and binding (K4401, K4402, K4403) and plans the run. The kernel keeps no reference
  // to either. Thread-safe to run afterwards.
  static Result<std::unique_ptr<TileKernel>> bind(const TileCode& code, const TileBinding& binding,
                                                  const TileLimits& limits = {});
  ~TileKernel();

  // Bytes of scratch that `run` needs with `threads` >= 1; often 0. 64-byte aligned.
  size_t scratch_bytes(int threads) const;

  // inputs, outputs: one pointer per operand of the code, aligned to their elements. Outputs may
  // share memory with inputs as runtime/tile_code.h says. Uses at most `threads` threads; small
  // programs run on the caller. Allocates nothing. K4410: a gathered index is out of range, K4411:
  // integer division by zero; the outputs are then undefined.
  Status run(const void* const* inputs, void* const* outputs, void* scratch, int threads) const;

  // Part `part` of `parts`, serially; all parts together are one run. `scratch` of its own:
  // scratch_bytes(1).
  Status run_part(int64_t part, int64_t parts, const void* const* inputs, void* const* outputs,
                  void* scratch) const;

  // How many parts can do useful work, and an estimate of the whole in nanoseconds on one thread.
  int64_t useful_parts() const;
  double cost_ns() const;

  // The plan for humans: mode, tile, chunks, number of steps, scratch.
  std::string describe() const;

 private:
  explicit TileKernel(std::unique_ptr<tile::Plan> plan);
  std::unique_ptr<tile::Plan> plan_;
};

}  // namespace kiln::cpu
