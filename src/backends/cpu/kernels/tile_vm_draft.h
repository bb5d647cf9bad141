// A plan being made: what the makers of its buffers and steps share.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "backends/cpu/kernels/tile_vm_schedule.h"

namespace kiln::cpu::tile {

struct PlanDraft {
  const TileCode& code;  // simplified
  const TileBinding& binding;
  const std::vector<int32_t>& originals;  // per instruction: its number in the program given
  const Shape& shape;
  const Schedule& schedule;
  const std::vector<MemoryWalk>& walks;  // per access
  Plan* plan;
  std::vector<int32_t> views;               // per value
  std::map<int32_t, int32_t> accumulators;  // value of a reduction -> view
  std::map<int64_t, int32_t> tables;        // pitch -> table

  // The table r -> r * pitch bytes.
  int32_t table_for(int64_t pitch);
  bool is_reduction(const Node& node) const {
    return node.kind == NodeKind::kInstr &&
           tile_op_info(code.instrs[node.instr].op).kind == TileOpKind::kReduce;
  }
};

// Places the buffers of all values, accumulators and computed row tables in a part's memory.
void allocate_buffers(PlanDraft* draft);

// Turns the schedule's nodes into steps.
void emit_steps(PlanDraft* draft);

}  // namespace kiln::cpu::tile
