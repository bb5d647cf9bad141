#include "backends/cpu/kernels/tile_vm_plan.h"

#include <algorithm>

#include "backends/cpu/kernels/tile_vm_draft.h"
#include "backends/cpu/kernels/tile_vm_simplify.h"

namespace kiln::cpu::tile {
namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kColumnGroup = 128;  // columns that sums along rows take at a time with 16 lanes

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Planner {
 public:
  Planner(const TileCode& original, const TileBinding& binding, const TileLimits& limits)
      : code_(original), binding_(binding), limits_(limits), plan_(std::make_unique<Plan>()) {}

  Result<std::unique_ptr<Plan>> run() {
    shape_ = choose_shape(code_, binding_);
    plan_->mode = shape_.mode;
    count_dims();
    plan_accesses();
    KILN_RETURN_IF_ERROR(check_stores());
    if (code_.instrs.empty() || plan_->outer_count == 0 || plan_->row_count == 0 ||
        (plan_->mode == Mode::kElementwise && plan_->col_count == 0))
      return std::move(plan_);  // no units

    const int64_t row_points = shape_.mode == Mode::kColumns ? plan_->row_count : plan_->col_count;
    Simplified simplified = simplify(code_, row_points, register_masks(code_, shape_, facts_));
    code_ = std::move(simplified.code);

    // The tile's size follows from the buffers that the schedule needs with one chunk.
    plan_->chunks = 1;
    choose_tile(buffer_bytes_per_point(make_schedule(code_, shape_, loops(), facts_)));
    schedule_ = make_schedule(code_, shape_, loops(), facts_);
    PlanDraft draft{
        code_, binding_, simplified.originals, shape_, schedule_, walks_, plan_.get(), {}, {}, {}};
    make_tables(&draft);
    assign_views(&draft);
    allocate_buffers(&draft);
    emit_steps(&draft);
    return std::move(plan_);
  }

 private:
  void count_dims() {
    for (const Dim& dim : shape_.dims) {
      switch (dim.role) {
        case Role::kOuter:
          plan_->outer_extents.push_back(dim.extent);
          plan_->outer_count *= dim.extent;
          break;
        case Role::kRow:
          plan_->row_extents.push_back(dim.extent);
          plan_->row_count *= dim.extent;
          break;
        case Role::kCol: plan_->col_count *= dim.extent; break;
      }
    }
  }

  void plan_accesses() {
    size_t a = 0;
    for (const TileInstr& instr : code_.instrs) {
      if (instr.op == TileOp::kGather ||
          (instr.type == LaneType::kI64 && instr.op >= TileOp::kFloorDiv &&
           instr.op <= TileOp::kFmod))
        plan_->may_fail = true;
      if (tile_op_info(instr.op).kind != TileOpKind::kMemory) continue;
      AccessPlan access;
      access.output = instr.op == TileOp::kStore;
      access.operand = instr.operand;
      const int64_t bytes = static_cast<int64_t>(
          dtype_bytes(access.output ? code_.outputs[instr.operand] : code_.inputs[instr.operand]));
      access.offset = binding_.accesses[a].offset * bytes;
      AccessFacts facts;
      MemoryWalk walk;
      walk.col_stride = 0;
      int32_t walked = 0;
      for (size_t d = 0; d < shape_.dims.size(); ++d) {
        const Dim& dim = shape_.dims[d];
        const int64_t stride = dim.strides[a];
        if (stride != 0) facts.mask |= 1u << d;
        if (dim.role == Role::kOuter) access.outer_strides.push_back(stride * bytes);
        if (dim.role == Role::kRow) access.row_strides.push_back(stride * bytes);
        if (dim.role != Role::kCol) continue;
        // Columns that merge for this access alone.
        if (walked > 0 && walk.cols[walked - 1].stride == stride * dim.extent) {
          walk.cols[walked - 1].stride = stride;
          walk.cols[walked - 1].extent *= dim.extent;
        } else {
          walk.cols[walked++] = {dim.extent, stride};
        }
      }
      if (walked <= 1 || plan_->col_count == 0) {
        walk.col_stride = walked == 1 ? walk.cols[0].stride : 0;
        access.col_stride = walk.col_stride * bytes;
        facts.unit_columns = walk.col_stride == 1;
      } else {
        walk.dims = walked;
      }
      facts_.push_back(facts);
      walks_.push_back(walk);
      plan_->accesses.push_back(std::move(access));
      ++a;
    }
  }

  Status check_stores() const {
    const std::vector<uint32_t> masks = register_masks(code_, shape_, facts_);
    size_t a = 0;
    for (size_t i = 0; i < code_.instrs.size(); ++i) {
      const TileInstr& instr = code_.instrs[i];
      if (tile_op_info(instr.op).kind != TileOpKind::kMemory) continue;
      const uint32_t stored = facts_[a++].mask;
      if (instr.op == TileOp::kStore && (masks[instr.src[0]] & ~stored) != 0)
        return Status::error("K4402",
                             "tile binding does not fit its code: a value varies along a dim that "
                             "its store does not: instruction " +
                                 std::to_string(i));
    }
    return {};
  }

  Loops loops() const {
    const uint32_t rows = role_mask(shape_, Role::kRow), cols = role_mask(shape_, Role::kCol),
                   outer = role_mask(shape_, Role::kOuter);
    Loops loops;
    switch (plan_->mode) {
      case Mode::kElementwise: loops.unit_dims = plan_->col_blocks > 1 ? rows | cols : rows; break;
      case Mode::kRows:
        loops.unit_dims = rows;
        if (plan_->chunks > 1) loops.chunk_dims = cols;
        break;
      case Mode::kColumns:
        loops.unit_dims = outer | cols;
        if (plan_->chunks > 1) loops.chunk_dims = rows;
        break;
    }
    // With one unit there is nothing to share.
    if (plan_->units == 1) loops.unit_dims = (rows | cols | outer) & ~loops.chunk_dims;
    return loops;
  }

  // What the full-tile values alive at one time take, at the worst place.
  int64_t buffer_bytes_per_point(const Schedule& schedule) const {
    std::vector<const Node*> nodes;
    for (const PhaseNodes& phase : schedule.phases)
      for (const Node& node : phase.body) nodes.push_back(&node);
    std::vector<int64_t> last(schedule.values.size(), -1);
    for (size_t n = 0; n < nodes.size(); ++n)
      for (int32_t s : nodes[n]->src)
        if (s >= 0) last[s] = static_cast<int64_t>(n);
    int64_t now = 0, most = 0;
    const auto bytes = [&](int32_t v) -> int64_t {
      const Value& value = schedule.values[v];
      const bool buffer = value.direct_access < 0 && value.stored_access < 0;
      return buffer && value.variance.full() ? static_cast<int64_t>(lane_bytes(value.type)) : 0;
    };
    for (size_t n = 0; n < nodes.size(); ++n) {
      if (nodes[n]->dst >= 0) now += bytes(nodes[n]->dst);
      most = std::max(most, now);
      for (int s = 0; s < 3; ++s) {
        const int32_t v = nodes[n]->src[s];
        if (v < 0 || last[v] != static_cast<int64_t>(n)) continue;
        if (std::find(nodes[n]->src, nodes[n]->src + s, v) == nodes[n]->src + s) now -= bytes(v);
      }
    }
    return most;
  }

  void choose_tile(int64_t point_bytes) {
    Plan& plan = *plan_;
    const int64_t points = point_bytes == 0
                               ? limits_.max_unbuffered_points
                               : std::clamp(limits_.tile_bytes / point_bytes / kLine * kLine,
                                            limits_.min_points, limits_.max_points);
    switch (plan.mode) {
      case Mode::kElementwise:
        if (shape_.transposed) {
          plan.tile_cols = std::min(plan.col_count, limits_.transposed_side);
          plan.tile_rows = std::min(plan.row_count, limits_.transposed_side);
        } else if (plan.col_count >= points) {
          const int64_t blocks = ceil_div(plan.col_count, points);
          plan.tile_cols = std::min(plan.col_count, round_up(ceil_div(plan.col_count, blocks), 16));
        } else {
          plan.tile_cols = plan.col_count;
          plan.tile_rows = std::min({plan.row_count, points / plan.tile_cols, limits_.max_rows});
        }
        plan.col_blocks = ceil_div(plan.col_count, plan.tile_cols);
        plan.row_blocks = ceil_div(plan.row_count, plan.tile_rows);
        break;
      case Mode::kRows: {
        const int64_t cols = std::max<int64_t>(1, plan.col_count);
        if (cols * point_bytes <= limits_.whole_row_bytes) {
          plan.tile_cols = plan.col_count;
          plan.tile_rows = std::clamp<int64_t>(points / cols, 1, limits_.max_rows);
          plan.tile_rows = std::min(plan.tile_rows, plan.row_count);
        } else {
          plan.tile_cols = std::min(points, plan.col_count);
          plan.chunks = ceil_div(plan.col_count, plan.tile_cols);
        }
        plan.row_blocks = ceil_div(plan.row_count, plan.tile_rows);
        break;
      }
      case Mode::kColumns: {
        const int64_t room = round_up(std::max<int64_t>(points / plan.row_count, 1), kColumnGroup);
        plan.tile_cols = std::min(plan.col_count, std::min(room, 4 * kColumnGroup));
        plan.tile_rows = plan.row_count;
        if (plan.row_count > 8 * limits_.max_rows ||
            plan.row_count * plan.tile_cols * point_bytes > limits_.whole_row_bytes) {
          plan.tile_cols = std::min(plan.col_count, kColumnGroup);
          plan.tile_rows = point_bytes == 0 ? 4 * limits_.max_rows
                                            : std::max<int64_t>(1, points / plan.tile_cols);
          plan.tile_rows = std::min(plan.tile_rows, plan.row_count);
          plan.chunks = ceil_div(plan.row_count, plan.tile_rows);
        }
        plan.col_blocks = ceil_div(plan.col_count, plan.tile_cols);
        break;
      }
    }
    plan.units = plan.mode == Mode::kColumns ? plan.outer_count * plan.col_blocks
                                             : plan.row_blocks * plan.col_blocks;
  }

  void make_tables(PlanDraft* draft) {
    for (AccessPlan& access : plan_->accesses) {
      access.view = plan_->view_count++;
      const bool varies = std::any_of(access.row_strides.begin(), access.row_strides.end(),
                                      [](int64_t stride) { return stride != 0; });
      if (!varies) {
        access.table = draft->table_for(0);
      } else if (access.row_strides.size() == 1) {
        access.row_stride = access.row_strides[0];
        access.table = draft->table_for(access.row_stride);
      } else if (plan_->tile_rows == plan_->row_count) {
        auto table = std::make_unique<int64_t[]>(static_cast<size_t>(plan_->tile_rows));
        for (int64_t r = 0; r < plan_->tile_rows; ++r) {
          int64_t rest = r;
          for (size_t d = access.row_strides.size(); d-- > 0;) {
            table[r] += rest % plan_->row_extents[d] * access.row_strides[d];
            rest /= plan_->row_extents[d];
          }
        }
        access.table = static_cast<int32_t>(plan_->tables.size());
        plan_->tables.push_back(std::move(table));
      } else {
        access.dynamic_table = 0;  // placed by allocate()
      }
    }
  }

  void assign_views(PlanDraft* draft) {
    std::vector<int32_t>& views = draft->views;
    views.resize(schedule_.values.size());
    for (size_t v = 0; v < schedule_.values.size(); ++v) {
      const Value& value = schedule_.values[v];
      if (value.direct_access >= 0)
        views[v] = plan_->accesses[value.direct_access].view;
      else if (value.stored_access >= 0)
        views[v] = plan_->accesses[value.stored_access].view;
      else
        views[v] = plan_->view_count++;
    }
  }

  TileCode code_;
  const TileBinding& binding_;
  const TileLimits& limits_;
  std::unique_ptr<Plan> plan_;
  Shape shape_;
  std::vector<AccessFacts> facts_;
  std::vector<MemoryWalk> walks_;
  Schedule schedule_;
};

}  // namespace

Result<std::unique_ptr<Plan>> make_plan(const TileCode& code, const TileBinding& binding,
                                        const TileLimits& limits) {
  return Planner(code, binding, limits).run();
}

}  // namespace kiln::cpu::tile
