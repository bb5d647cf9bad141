// What the planner of the tile virtual machine (tile_vm_plan.cpp) and its instruction kernels
// share.
//
// A tile has `rows` x `cols` points. A value that varies along both has a buffer of rows x pitch
// lanes; one that varies along rows only is an array of `rows` lanes, along columns only of `cols`
// lanes, along neither a single lane. Kernels see all of them, and operands read from or written to
// memory in place, as Views.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "runtime/tile_code.h"

namespace kiln::cpu::tile {

// Row r begins at base + rows[r] bytes.
struct View {
  char* base;
  const int64_t* rows;
};

// The points that a step visits.
enum class Space : uint8_t {
  kTile,       // rows x cols
  kRowVector,  // 1 x rows: values that vary along rows only, as one contiguous vector
  kRowPoints,  // rows x 1: the same, one row at a time (memory steps)
  kCols,       // 1 x cols
  kOne,        // 1 x 1
};

enum class FailureKind : uint8_t { kNone, kIndexOutOfRange, kDivisionByZero };
struct Failure {
  FailureKind kind = FailureKind::kNone;
  int32_t instr = 0;
  int64_t index = 0, size = 0;
};

struct TileState {
  View* views;
  int64_t rows, cols;  // of this tile
  int64_t row0, col0;  // flattened position of its first row and column
  int64_t outer0;      // flattened position in the dims that are neither rows nor columns
  int64_t reduced0;    // flattened position in the row (reduction domain) of this chunk
  bool first_chunk, last_chunk;
  Failure failure;
};

// A dim of a column walk or of an iota.
struct WalkDim {
  int64_t extent, stride;
};

struct MemoryWalk {
  int64_t col_stride;            // elements, if dims == 1
  int32_t dims = 1;              // > 1: columns do not collapse for this access; walk them
  WalkDim cols[kMaxTileRank]{};  // outermost first
};

struct GatherWalk {
  int32_t count = 0;
  int64_t size[3]{}, stride_bytes[3]{};
};

inline constexpr int64_t kIotaCols = 0, kIotaRows = 1, kIotaOuter = 2;

struct Step;
using StepFn = void (*)(const Step&, TileState&);

struct Step {
  StepFn fn = nullptr;
  Space space = Space::kTile;
  bool flat = false;        // all operands are buffers of one pitch: rows can be run as one
  uint8_t scalar_mask = 0;  // bit k: src[k] has one value per row
  int32_t dst = -1, acc = -1;
  int32_t src[3] = {-1, -1, -1};  // view numbers
  int64_t pitch = 0;              // lanes, for `flat`
  double params[3] = {};
  int64_t integer = 0;
  // kIota: (position / inner) % extent, where `integer` says which position: kIotaCols, ...
  int64_t walk_inner = 1, walk_extent = 1;
  int32_t instr = 0;  // for messages
  MemoryWalk memory;
  GatherWalk gather;
};

// The loop bounds of a step.
struct Bounds {
  int64_t rows, cols;
};
inline Bounds bounds_of(const Step& step, const TileState& state) {
  switch (step.space) {
    case Space::kTile:
      if (step.flat && (state.cols == step.pitch || state.rows == 1))
        return {1, state.rows * state.cols};
      return {state.rows, state.cols};
    case Space::kRowVector: return {1, state.rows};
    case Space::kRowPoints: return {state.rows, 1};
    case Space::kCols: return {1, state.cols};
    case Space::kOne: break;
  }
  return {1, 1};
}

template <typename T>
inline T* row_of(const View& view, int64_t row) {
  return reinterpret_cast<T*>(view.base + view.rows[row]);
}

// Which kernel is asked for.
struct StepKey {
  TileOp op;
  LaneType type;            // as TileInstr::type
  LaneType result;          // lane type of dst
  DType storage;            // memory, kRoundTo
  uint8_t scalar_mask;      // as Step::scalar_mask
  bool vertical = false;    // reductions: along tile rows instead of columns
  bool product = false;     // kReduceSum: of src[0] * src[1]
  bool transposed = false;  // load: consecutive rows are consecutive in memory
};

// Each returns null for what it does not have; every valid instruction is in one of them. The
// Highway ones answer for the best target of this machine.
StepFn find_arith_kernel(const StepKey& key);   // SIMD: + - * /, comparisons, select, rounding, ...
StepFn find_math_kernel(const StepKey& key);    // SIMD: f32 transcendental functions
StepFn find_reduce_kernel(const StepKey& key);  // SIMD sums and extrema; the rest scalar
StepFn find_memory_kernel(const StepKey& key);  // load, store, kCast, kRoundTo
StepFn find_scalar_kernel(const StepKey& key);  // plain loops: i64, bool, rare functions

// Steps that no instruction names directly.
StepFn iota_kernel();
StepFn const_kernel(LaneType type);
StepFn broadcast_kernel(LaneType type,
                        bool scalar);  // src is one value per row, or a column vector
StepFn gather_offset_kernel();  // src: index registers; dst: byte offsets, i64; reports bad indices
// src[0]: the access, src[1]: byte offsets, one per row (scalar) or per point.
StepFn gather_kernel(DType storage, LaneType type, bool scalar);

}  // namespace kiln::cpu::tile
