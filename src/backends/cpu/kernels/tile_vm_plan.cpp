#include "backends/cpu/kernels/tile_vm_plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "backends/cpu/kernels/tile_vm_schedule.h"
#include "base/check.h"

namespace kiln::cpu::tile {
namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kColumnGroup = 128;  // columns that sums along rows take at a time with 16 lanes

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rough cost of one point in nanoseconds, with 16 f32 lanes.
double op_cost(const TileInstr& instr) {
  const bool f32 = instr.type == LaneType::kF32;
  switch (tile_op_info(instr.op).kind) {
    case TileOpKind::kMemory:
    case TileOpKind::kConvert:
      return 0.15;
    case TileOpKind::kUnary:
      if (instr.op >= TileOp::kTan && instr.op <= TileOp::kErfc && instr.op != TileOp::kTanh &&
          instr.op != TileOp::kErf)
        return 8;
      if (instr.op >= TileOp::kExp && instr.op <= TileOp::kElu) return f32 ? 0.6 : 8;
      return f32 ? 0.1 : 0.5;
    case TileOpKind::kBinary:
      if (instr.op >= TileOp::kFloorDiv && instr.op <= TileOp::kAtan2) return 8;
      return f32 ? 0.1 : 0.6;
    case TileOpKind::kReduce:
      return f32 ? 0.1 : 0.6;
    default:
      return 0.15;
  }
}

class Planner {
 public:
  Planner(const TileCode& original, const TileBinding& binding, const TileLimits& limits)
      : code_(original),
        binding_(binding),
        limits_(limits),
        plan_(std::make_unique<Plan>()) {
    simplify_powers();
  }

  Result<std::unique_ptr<Plan>> run() {
    shape_ = choose_shape(code_, binding_);
    plan_->mode = shape_.mode;
    count_dims();
    plan_accesses();
    KILN_RETURN_IF_ERROR(check_stores());
    if (code_.instrs.empty() || plan_->outer_count == 0 || plan_->row_count == 0 ||
        (plan_->mode == Mode::kElementwise && plan_->col_count == 0))
      return std::move(plan_);  // no units

    // The tile's size follows from the buffers that the schedule needs with one chunk.
    plan_->chunks = 1;
    choose_tile(buffer_bytes_per_point(make_schedule(code_, shape_, loops(), facts_)));
    schedule_ = make_schedule(code_, shape_, loops(), facts_);
    make_tables();
    assign_views();
    allocate();
    emit_steps();
    return std::move(plan_);
  }

 private:
  // pow with the exponents that eager torch treats apart.
  void simplify_powers() {
    std::map<int32_t, double> constants;
    for (TileInstr& instr : code_.instrs) {
      if (instr.op == TileOp::kConst) constants[instr.dst] = instr.params[0];
      if (instr.op != TileOp::kPow || instr.type == LaneType::kI64) continue;
      const auto exponent = constants.find(instr.src[1]);
      if (exponent == constants.end()) continue;
      if (exponent->second == 2) {
        instr.op = TileOp::kMul;
        instr.src[1] = instr.src[0];
      } else if (exponent->second == 0.5 || exponent->second == -0.5 || exponent->second == -1) {
        instr.op = exponent->second == 0.5    ? TileOp::kSqrt
                   : exponent->second == -0.5 ? TileOp::kRsqrt
                                              : TileOp::kReciprocal;
        instr.src[1] = -1;
      }
    }
  }

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
        case Role::kCol:
          plan_->col_count *= dim.extent;
          break;
      }
    }
  }

  void plan_accesses() {
    size_t a = 0;
    for (const TileInstr& instr : code_.instrs) {
      if (instr.op == TileOp::kGather || (instr.type == LaneType::kI64 &&
                                          instr.op >= TileOp::kFloorDiv && instr.op <= TileOp::kFmod))
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
      case Mode::kElementwise:
        loops.unit_dims = plan_->col_blocks > 1 ? rows | cols : rows;
        break;
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
    const int64_t points =
        point_bytes == 0 ? limits_.max_unbuffered_points
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

  // Tables and views ------------------------------------------------------------------------------

  // The table r -> r * pitch bytes.
  int32_t table_for(int64_t pitch) {
    const auto [entry, added] = tables_.try_emplace(pitch, plan_->tables.size());
    if (added) {
      auto table = std::make_unique<int64_t[]>(static_cast<size_t>(plan_->tile_rows));
      for (int64_t r = 0; r < plan_->tile_rows; ++r) table[r] = r * pitch;
      plan_->tables.push_back(std::move(table));
    }
    return static_cast<int32_t>(entry->second);
  }

  void make_tables() {
    for (AccessPlan& access : plan_->accesses) {
      access.view = plan_->view_count++;
      const bool varies = std::any_of(access.row_strides.begin(), access.row_strides.end(),
                                      [](int64_t stride) { return stride != 0; });
      if (!varies) {
        access.table = table_for(0);
      } else if (access.row_strides.size() == 1) {
        access.row_stride = access.row_strides[0];
        access.table = table_for(access.row_stride);
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

  void assign_views() {
    views_.resize(schedule_.values.size());
    for (size_t v = 0; v < schedule_.values.size(); ++v) {
      const Value& value = schedule_.values[v];
      if (value.direct_access >= 0) views_[v] = plan_->accesses[value.direct_access].view;
      else if (value.stored_access >= 0) views_[v] = plan_->accesses[value.stored_access].view;
      else views_[v] = plan_->view_count++;
    }
  }

  // Lanes of a value's buffer, and bytes from one row of it to the next.
  struct Layout {
    int64_t lanes, pitch;
  };
  Layout layout_of(Variance variance, bool whole_row, int64_t lane) const {
    int64_t rows = variance.rows ? plan_->tile_rows : 1;
    int64_t cols = variance.cols ? plan_->tile_cols : 1;
    if (whole_row && plan_->mode == Mode::kRows && variance.cols) cols = plan_->col_count;
    if (whole_row && plan_->mode == Mode::kColumns && variance.rows) rows = plan_->row_count;
    return {rows * cols, variance.rows ? cols * lane : 0};
  }

  // Buffers ---------------------------------------------------------------------------------------

  // Linear scan over the steps in order. A buffer that dies at a step may become its result's, which
  // keeps tiles in few cache lines; only elementwise kernels allow that.
  void allocate() {
    struct Region {
      const std::vector<Node>* nodes;
      bool repeated;  // a chunk loop: what it reads must live until its end
    };
    std::vector<Region> regions;
    regions.push_back({&schedule_.prologue, false});
    for (const PhaseNodes& phase : schedule_.phases) {
      regions.push_back({&phase.pre, false});
      regions.push_back({&phase.body, plan_->chunks > 1});
    }
    regions.push_back({&schedule_.post, false});
    for (const Region& region : regions)
      for (const Node& node : *region.nodes)
        if (accumulator_bytes(node) > 0) accumulators_[node.dst] = plan_->view_count++;
    int64_t top = round_up(plan_->view_count * static_cast<int64_t>(sizeof(View)), kLine);

    struct Life {
      int64_t begin = -1, end = -1;
    };
    std::vector<Life> lives(schedule_.values.size());
    int64_t position = 0;
    std::vector<std::pair<int64_t, int64_t>> bounds;  // of regions
    for (const Region& region : regions) {
      const int64_t begin = position;
      const int64_t end = begin + static_cast<int64_t>(region.nodes->size());
      for (const Node& node : *region.nodes) {
        if (node.dst >= 0) {
          Life& life = lives[node.dst];
          const bool carried = region.repeated && (is_reduction(node) ||
                                                   schedule_.values[node.dst].whole_row);
          life.begin = carried ? begin : position;
          life.end = std::max(life.end, carried ? end : position);
        }
        for (int32_t s : node.src) {
          if (s < 0) continue;
          Life& life = lives[s];
          const bool outside = life.begin < begin || schedule_.values[s].whole_row;
          life.end = std::max(life.end, region.repeated && outside ? end : position);
        }
        ++position;
      }
      bounds.emplace_back(begin, end);
    }
    // The prologue's values serve all units.
    for (Life& life : lives)
      if (life.begin >= 0 && life.begin < bounds[0].second) life.end = position;

    std::map<std::tuple<int64_t, int64_t, bool, bool>, std::vector<int64_t>> free;
    std::vector<int64_t> offsets(schedule_.values.size(), -1);
    const auto key_of = [&](int32_t v) {
      const Value& value = schedule_.values[v];
      const int64_t lane = static_cast<int64_t>(lane_bytes(value.type));
      return std::tuple(layout_of(value.variance, value.whole_row, lane).lanes * lane, lane,
                        value.variance.rows, value.variance.cols);
    };
    const auto place = [&](int64_t bytes) {
      const int64_t offset = top;
      top += round_up(std::max<int64_t>(bytes, 8), kLine);
      return offset;
    };
    std::vector<std::vector<int32_t>> starting(static_cast<size_t>(position) + 1),
        ending(static_cast<size_t>(position) + 1);
    for (size_t v = 0; v < lives.size(); ++v) {
      const Value& value = schedule_.values[v];
      if (lives[v].begin < 0 || value.direct_access >= 0 || value.stored_access >= 0) continue;
      starting[lives[v].begin].push_back(static_cast<int32_t>(v));
      ending[lives[v].end].push_back(static_cast<int32_t>(v));
    }
    const auto release = [&](int64_t p) {
      for (int32_t v : ending[p])
        if (offsets[v] >= 0) free[key_of(v)].push_back(offsets[v]);
      ending[p].clear();
    };
    int64_t p = 0;
    for (const Region& region : regions) {
      for (const Node& node : *region.nodes) {
        // Values that end here and are not made here (a result nobody reads ends where it begins).
        if (may_overwrite(node)) {
          std::vector<int32_t> later;
          for (int32_t v : ending[p]) {
            if (offsets[v] >= 0 && lives[v].begin < p) free[key_of(v)].push_back(offsets[v]);
            else later.push_back(v);
          }
          ending[p] = std::move(later);
        }
        for (int32_t v : starting[p]) {
          std::vector<int64_t>& list = free[key_of(v)];
          if (list.empty()) {
            offsets[v] = place(std::get<0>(key_of(v)));
          } else {
            offsets[v] = list.back();
            list.pop_back();
          }
        }
        release(p);
        ++p;
      }
    }

    for (size_t v = 0; v < offsets.size(); ++v) {
      if (offsets[v] < 0) continue;
      const Value& value = schedule_.values[v];
      const int64_t lane = static_cast<int64_t>(lane_bytes(value.type));
      const Layout layout = layout_of(value.variance, value.whole_row, lane);
      BufferView buffer;
      buffer.view = views_[v];
      buffer.offset = offsets[v];
      buffer.table = table_for(layout.pitch);
      if (value.whole_row && plan_->mode == Mode::kRows && value.variance.cols)
        buffer.col_stride = lane;
      if (value.whole_row && plan_->mode == Mode::kColumns && value.variance.rows)
        buffer.row_stride = layout.pitch;
      plan_->buffers.push_back(buffer);
    }
    for (const Region& region : regions)
      for (const Node& node : *region.nodes) {
        const int64_t lane = accumulator_bytes(node);
        if (lane == 0) continue;
        const Layout layout = layout_of(schedule_.values[node.dst].variance, false, lane);
        BufferView buffer;
        buffer.view = accumulators_[node.dst];
        buffer.offset = place(layout.lanes * lane);
        buffer.table = table_for(layout.pitch);
        plan_->buffers.push_back(buffer);
      }
    for (AccessPlan& access : plan_->accesses)
      if (access.dynamic_table >= 0)
        access.dynamic_table = place(plan_->tile_rows * static_cast<int64_t>(sizeof(int64_t)));
    plan_->part_bytes = top;
  }

  bool is_reduction(const Node& node) const {
    return node.kind == NodeKind::kInstr &&
           tile_op_info(code_.instrs[node.instr].op).kind == TileOpKind::kReduce;
  }

  bool may_overwrite(const Node& node) const {
    if (node.kind != NodeKind::kInstr) return false;
    const TileOpKind kind = tile_op_info(code_.instrs[node.instr].op).kind;
    return kind == TileOpKind::kConvert || kind == TileOpKind::kUnary ||
           kind == TileOpKind::kBinary || kind == TileOpKind::kTernary;
  }

  // Lane bytes of the accumulator that a reduction needs beside its result; 0: none.
  int64_t accumulator_bytes(const Node& node) const {
    if (!is_reduction(node)) return 0;
    const TileInstr& instr = code_.instrs[node.instr];
    const bool f32 = instr.type == LaneType::kF32;
    switch (instr.op) {
      case TileOp::kReduceArgMax:
      case TileOp::kReduceArgMin:
        return static_cast<int64_t>(lane_bytes(instr.type));
      case TileOp::kReduceProd:
        return f32 ? 8 : 0;
      case TileOp::kReduceSum:
        return f32 && plan_->chunks > 1 ? 8 : 0;
      default:
        return 0;
    }
  }

  // Steps -----------------------------------------------------------------------------------------

  void emit_steps() {
    instr_access_.assign(code_.instrs.size(), -1);
    int32_t next = 0;
    for (size_t i = 0; i < code_.instrs.size(); ++i)
      if (tile_op_info(code_.instrs[i].op).kind == TileOpKind::kMemory) instr_access_[i] = next++;
    double cost = 20;
    const double points =
        static_cast<double>(plan_->tile_rows) * static_cast<double>(plan_->tile_cols);
    const auto convert = [&](const std::vector<Node>& nodes, double chunks) {
      std::vector<Step> steps;
      for (const Node& node : nodes) {
        steps.push_back(make_step(node));
        const double visited = node.variance.full() ? points
                               : node.variance.cols ? static_cast<double>(plan_->tile_cols)
                               : node.variance.rows ? static_cast<double>(plan_->tile_rows)
                                                    : 1;
        cost += chunks * (5 + visited * op_cost(code_.instrs[node.instr]));
      }
      return steps;
    };
    const double chunks = static_cast<double>(plan_->chunks);
    for (const PhaseNodes& phase : schedule_.phases) {
      Phase steps;
      steps.pre = convert(phase.pre, 1);
      steps.body = convert(phase.body, chunks);
      plan_->phases.push_back(std::move(steps));
    }
    plan_->post = convert(schedule_.post, 1);
    plan_->unit_cost = cost;
    plan_->prologue = convert(schedule_.prologue, 1);
  }

  Space space_of(Variance variance, bool points) const {
    if (variance.full()) return Space::kTile;
    if (variance.cols) return Space::kCols;
    if (variance.rows) return points ? Space::kRowPoints : Space::kRowVector;
    return Space::kOne;
  }

  // The rows of a view follow each other without gap, so that a full tile is one vector.
  bool is_dense(int32_t v) const {
    const Value& value = schedule_.values[v];
    const int64_t pitch = plan_->tile_cols * static_cast<int64_t>(lane_bytes(value.type));
    const int32_t access = std::max(value.direct_access, value.stored_access);
    if (access < 0) return value.variance.full() && !value.whole_row;
    return plan_->accesses[access].table >= 0 && plan_->accesses[access].row_stride == pitch;
  }

  Step make_step(const Node& node) {
    const TileInstr& instr = code_.instrs[node.instr];
    Step step;
    step.instr = node.instr;
    step.pitch = plan_->tile_cols;
    std::copy(instr.params.begin(), instr.params.end(), step.params);
    step.integer = instr.integer;
    step.dst = node.dst < 0 ? -1 : views_[node.dst];
    bool dense = node.dst >= 0 && is_dense(node.dst);
    StepKey key{instr.op, instr.type, LaneType::kF32, instr.storage, 0};
    if (node.dst >= 0) key.result = schedule_.values[node.dst].type;
    for (int s = 0; s < 3 && node.src[s] >= 0; ++s) {
      step.src[s] = views_[node.src[s]];
      const Variance source = schedule_.values[node.src[s]].variance;
      const bool scalar = node.variance.cols ? !source.cols : node.variance.rows && !source.rows;
      if (scalar) key.scalar_mask |= static_cast<uint8_t>(1u << s);
      dense = dense && !scalar && is_dense(node.src[s]);
    }
    step.scalar_mask = key.scalar_mask;
    step.space = space_of(node.variance, false);
    const int32_t access = instr_access_[node.instr];
    if (access >= 0) step.memory = walks_[access];

    switch (node.kind) {
      case NodeKind::kBroadcast:
        step.fn = broadcast_kernel(schedule_.values[node.src[0]].type,
                                   key.scalar_mask != 0 || !node.variance.cols);
        // One value for each of a row of them: as a vector.
        return checked(step, node);
      case NodeKind::kGatherOffsets:
        step.gather.count = 0;
        for (const TileGatherAxis& axis : binding_.accesses[access].axes) {
          step.gather.size[step.gather.count] = axis.size;
          step.gather.stride_bytes[step.gather.count++] =
              axis.stride * static_cast<int64_t>(dtype_bytes(code_.inputs[instr.operand]));
        }
        step.fn = gather_offset_kernel();
        return checked(step, node);
      case NodeKind::kGatherLoad:
        step.src[1] = step.src[0];
        step.src[0] = plan_->accesses[access].view;
        step.space = space_of(node.variance, true);
        step.fn = gather_kernel(code_.inputs[instr.operand], instr.type,
                                !schedule_.values[node.src[0]].variance.cols);
        if (!node.variance.cols) step.memory = one_column();
        return checked(step, node);
      case NodeKind::kInstr:
        break;
    }
    switch (tile_op_info(instr.op).kind) {
      case TileOpKind::kMemory:
        step.space = space_of(node.variance, true);
        if (!node.variance.cols) step.memory = one_column();
        if (instr.op == TileOp::kLoad) {
          step.src[0] = plan_->accesses[access].view;
          key.storage = code_.inputs[instr.operand];
          key.transposed = shape_.transposed && node.variance.full() &&
                           step.memory.dims == 1 && step.memory.col_stride != 0 &&
                           step.memory.col_stride != 1;
        } else {
          step.dst = plan_->accesses[access].view;
          key.storage = code_.outputs[instr.operand];
        }
        step.fn = find_memory_kernel(key);
        break;
      case TileOpKind::kSource:
        if (instr.op == TileOp::kConst) {
          step.fn = const_kernel(instr.type);
        } else {
          set_iota(instr.integer, &step);
          step.fn = iota_kernel();
        }
        break;
      case TileOpKind::kReduce:
        key.vertical = plan_->mode == Mode::kColumns && node.variance.cols;
        key.product = node.src[1] >= 0;
        if (const auto found = accumulators_.find(node.dst); found != accumulators_.end())
          step.acc = found->second;
        step.fn = find_reduce_kernel(key);
        break;
      default:
        step.flat = dense && step.space == Space::kTile;
        step.fn = find_kernel(&key, &step);
        break;
    }
    return checked(step, node);
  }

  static MemoryWalk one_column() {
    MemoryWalk walk;
    walk.col_stride = 1;
    return walk;
  }

  static StepFn find_kernel(StepKey* key, Step* step) {
    if (key->op == TileOp::kCast || key->op == TileOp::kRoundTo) return find_memory_kernel(*key);
    if (key->type == LaneType::kF32 && (key->op == TileOp::kGt || key->op == TileOp::kGe)) {
      key->op = key->op == TileOp::kGt ? TileOp::kLt : TileOp::kLe;
      std::swap(step->src[0], step->src[1]);
      key->scalar_mask = static_cast<uint8_t>((key->scalar_mask >> 1 | key->scalar_mask << 1) & 3);
      step->scalar_mask = key->scalar_mask;
    }
    if (const StepFn fn = find_arith_kernel(*key)) return fn;
    if (const StepFn fn = find_math_kernel(*key)) return fn;
    return find_scalar_kernel(*key);
  }

  void set_iota(int64_t original, Step* step) const {
    int64_t inner = 1;
    for (size_t d = shape_.dims.size(); d-- > 0;) {
      const Dim& dim = shape_.dims[d];
      // Positions are flattened within a role.
      if (d + 1 < shape_.dims.size() && shape_.dims[d + 1].role != dim.role) inner = 1;
      if (dim.iota == original) {
        step->walk_inner = inner;
        step->walk_extent = dim.extent;
        step->integer = dim.role == Role::kCol   ? kIotaCols
                        : dim.role == Role::kRow ? kIotaRows
                                                 : kIotaOuter;
        return;
      }
      inner *= dim.extent;
    }
    // A dim of extent 1: always 0.
    step->walk_inner = step->walk_extent = 1;
    step->integer = kIotaOuter;
  }

  Step checked(const Step& step, const Node& node) const {
    KILN_CHECK_MSG(step.fn != nullptr,
                   std::string(tile_op_info(code_.instrs[node.instr].op).name));
    return step;
  }

  TileCode code_;
  const TileBinding& binding_;
  const TileLimits& limits_;
  std::unique_ptr<Plan> plan_;
  Shape shape_;
  std::vector<AccessFacts> facts_;
  std::vector<MemoryWalk> walks_;
  Schedule schedule_;
  std::map<int64_t, size_t> tables_;
  std::vector<int32_t> views_;  // of values
  std::map<int32_t, int32_t> accumulators_;
  std::vector<int32_t> instr_access_;
};

}  // namespace

Result<std::unique_ptr<Plan>> make_plan(const TileCode& code, const TileBinding& binding,
                                        const TileLimits& limits) {
  return Planner(code, binding, limits).run();
}

}  // namespace kiln::cpu::tile
