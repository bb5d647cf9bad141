// Reductions of tile kernels: the accumulators of a thread, what an item adds to them, and how the
// threads that share a row put theirs together (device/reduce.h).
#pragma once

#include "backends/cuda/compile/source_text.h"
#include "backends/cuda/compile/tile_registers.h"

namespace kiln::cuda {

// Each reduction goes by the register of its result.
class TileReductions {
 public:
  TileReductions(const TileKernel& kernel, const TileRegisters& registers, SourceText& out)
      : schedule_(kernel.schedule), registers_(registers), out_(out) {}

  // Its shared memory, if it needs some.
  void declare_shared(int result);
  // Its accumulators.
  void open(int result);
  // An item's value, inside the loop over lanes if there is one.
  void join(int result);
  // Defines the result's register.
  void close(int result);

 private:
  bool columns() const { return schedule_.kind == TileSchedule::Kind::kColumns; }
  int widths(int result) const;
  void close_columns(int result);
  // Of columns: threads side by side, and what warps leave of each column in shared memory.
  int64_t across() const;
  int64_t column_parts() const;

  const TileSchedule& schedule_;
  const TileRegisters& registers_;
  SourceText& out_;
};

}  // namespace kiln::cuda
