// The order in which a tile program's values are computed: levels, phases, recomputation.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/kernels/tile_vm_shape.h"

namespace kiln::cpu::tile {

// How often a value is computed: once per part, once per unit, once per chunk of a unit.
enum class Level : uint8_t { kPrologue, kUnit, kBody };

// Along which directions of the tile a value varies.
struct Variance {
  bool rows = false, cols = false;
  bool full() const { return rows && cols; }
  bool operator==(const Variance&) const = default;
};
inline Variance operator|(Variance a, Variance b) { return {a.rows || b.rows, a.cols || b.cols}; }

// A value of the schedule: a register, a recomputed copy of one, or a temporary.
struct Value {
  LaneType type = LaneType::kF32;
  Variance variance;
  int32_t direct_access = -1;  // read in place through this access
  int32_t stored_access = -1;  // computed in place into this access
  bool whole_row = false;      // lives from phase to phase: keeps all chunks
};

enum class NodeKind : uint8_t { kInstr, kBroadcast, kGatherOffsets, kGatherLoad };

struct Node {
  NodeKind kind = NodeKind::kInstr;
  int32_t instr = 0;
  int32_t dst = -1;  // value; -1: store
  int32_t src[3] = {-1, -1, -1};
  Variance variance;  // of the points visited
};

struct PhaseNodes {
  std::vector<Node> pre, body;
};

struct Schedule {
  std::vector<Value> values;
  std::vector<Node> prologue, post;
  std::vector<PhaseNodes> phases;
};

// Which dims of Shape::dims vary between units and between the chunks of one.
struct Loops {
  uint32_t unit_dims = 0, chunk_dims = 0;
};

struct AccessFacts {
  uint32_t mask = 0;          // dims with stride != 0
  bool unit_columns = false;  // contiguous along the columns (or does not vary along them)
};

// `masks`: see register_masks.
Schedule make_schedule(const TileCode& code, const Shape& shape, const Loops& loops,
                       const std::vector<AccessFacts>& accesses);

// The dims along which each register varies.
std::vector<uint32_t> register_masks(const TileCode& code, const Shape& shape,
                                     const std::vector<AccessFacts>& accesses);

// Bits of the dims with this role.
uint32_t role_mask(const Shape& shape, Role role);

}  // namespace kiln::cpu::tile
