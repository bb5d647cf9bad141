// How one bound tile program runs: the tile shape, where every value lies, and the steps in order.
// Made once by make_plan (tile_vm_plan.cpp and its helpers), read-only afterwards.
//
// Three modes. kElementwise: no reduction; dims are reordered and merged freely, tiles are blocks
// of rows x columns. kRows: the row (reduction domain) lies along the columns of a tile; short rows
// share a tile, long ones are cut into chunks. kColumns: an outer dim that is contiguous in memory
// lies along the columns and the row along the tile's rows (for example pooling over NHWC).
//
// A unit is what one thread does at a time: all chunks of one tile.
//   prologue, then for each unit { for each phase { pre, for each chunk { body } }, post }
// A phase ends where a reduction over several chunks must be complete; with one chunk there is one
// phase. Values that a later phase needs are computed again when that is cheap, else kept for the
// whole row.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backends/cpu/kernels/tile_vm.h"
#include "backends/cpu/kernels/tile_vm_step.h"
#include "base/status.h"
#include "runtime/tile_code.h"

namespace kiln::cpu::tile {

enum class Mode : uint8_t { kElementwise, kRows, kColumns };

// How the view of a memory access moves from tile to tile.
struct AccessPlan {
  bool output = false;
  int32_t operand = 0;
  int32_t view = -1;
  int64_t offset = 0;                  // bytes
  std::vector<int64_t> outer_strides;  // bytes, per outer dim
  std::vector<int64_t> row_strides;    // bytes, per row dim; used when table < 0
  int64_t row_stride = 0;              // bytes; used when table >= 0
  int64_t col_stride = 0;              // bytes; 0 when its columns must be walked
  int32_t table = -1;                  // fixed row table, or -1: computed for each tile
  int64_t dynamic_table = -1;          // byte offset of the computed row table in the part's memory
};

// A view of a buffer in the part's memory; base moves by the strides times the tile's position.
struct BufferView {
  int32_t view = -1;
  int64_t offset = 0;  // bytes in the part's memory
  int32_t table = 0;
  int64_t row_stride = 0, col_stride = 0;  // bytes; nonzero for values kept for a whole row
};

struct Phase {
  std::vector<Step> pre, body;
};

struct Plan {
  Mode mode = Mode::kElementwise;
  std::vector<int64_t> outer_extents, row_extents;  // of the dims after merging
  int64_t outer_count = 1, row_count = 1, col_count = 1;
  int64_t tile_rows = 1, tile_cols = 1;  // largest
  int64_t row_blocks = 1, col_blocks = 1;
  int64_t chunks = 1;    // along columns (kRows) or rows (kColumns)
  int64_t units = 0;     // 0: nothing to do
  double unit_cost = 0;  // about nanoseconds
  bool may_fail = false;

  std::vector<std::unique_ptr<int64_t[]>> tables;
  std::vector<AccessPlan> accesses;
  std::vector<BufferView> buffers;
  int32_t view_count = 0;
  int64_t part_bytes = 0;  // views, computed tables and buffers of one thread

  std::vector<Step> prologue, post;
  std::vector<Phase> phases;
};

// `code` and `binding` must be verified. K4402 when a stored value varies along a dim that its
// store does not.
Result<std::unique_ptr<Plan>> make_plan(const TileCode& code, const TileBinding& binding,
                                        const TileLimits& limits);

}  // namespace kiln::cpu::tile
