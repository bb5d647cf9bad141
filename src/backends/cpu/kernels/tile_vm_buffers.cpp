// Where the values of a tile program lie: a linear scan over the steps in order.
#include <algorithm>
#include <tuple>

#include "backends/cpu/kernels/tile_vm_draft.h"

namespace kiln::cpu::tile {
namespace {

constexpr int64_t kLine = 64;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

class Allocator {
 public:
  explicit Allocator(PlanDraft* draft) : draft_(*draft) {}

  // Linear scan over the steps in order. A buffer that dies at a step may become its result's,
  // which keeps tiles in few cache lines; only elementwise kernels allow that.
  void run() {
    struct Region {
      const std::vector<Node>* nodes;
      bool repeated;  // a chunk loop: what it reads must live until its end
    };
    std::vector<Region> regions;
    regions.push_back({&draft_.schedule.prologue, false});
    for (const PhaseNodes& phase : draft_.schedule.phases) {
      regions.push_back({&phase.pre, false});
      regions.push_back({&phase.body, plan().chunks > 1});
    }
    regions.push_back({&draft_.schedule.post, false});
    for (const Region& region : regions)
      for (const Node& node : *region.nodes)
        if (accumulator_bytes(node) > 0) draft_.accumulators[node.dst] = plan().view_count++;
    int64_t top = round_up(plan().view_count * static_cast<int64_t>(sizeof(View)), kLine);

    struct Life {
      int64_t begin = -1, end = -1;
    };
    std::vector<Life> lives(draft_.schedule.values.size());
    int64_t position = 0;
    std::vector<std::pair<int64_t, int64_t>> bounds;  // of regions
    for (const Region& region : regions) {
      const int64_t begin = position;
      const int64_t end = begin + static_cast<int64_t>(region.nodes->size());
      for (const Node& node : *region.nodes) {
        if (node.dst >= 0) {
          Life& life = lives[node.dst];
          const bool carried = region.repeated && (draft_.is_reduction(node) ||
                                                   draft_.schedule.values[node.dst].whole_row);
          life.begin = carried ? begin : position;
          life.end = std::max(life.end, carried ? end : position);
        }
        for (int32_t s : node.src) {
          if (s < 0) continue;
          Life& life = lives[s];
          const bool outside = life.begin < begin || draft_.schedule.values[s].whole_row;
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
    std::vector<int64_t> offsets(draft_.schedule.values.size(), -1);
    const auto key_of = [&](int32_t v) {
      const Value& value = draft_.schedule.values[v];
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
      const Value& value = draft_.schedule.values[v];
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
            if (offsets[v] >= 0 && lives[v].begin < p)
              free[key_of(v)].push_back(offsets[v]);
            else
              later.push_back(v);
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
      const Value& value = draft_.schedule.values[v];
      const int64_t lane = static_cast<int64_t>(lane_bytes(value.type));
      const Layout layout = layout_of(value.variance, value.whole_row, lane);
      BufferView buffer;
      buffer.view = draft_.views[v];
      buffer.offset = offsets[v];
      buffer.table = draft_.table_for(layout.pitch);
      if (value.whole_row && plan().mode == Mode::kRows && value.variance.cols)
        buffer.col_stride = lane;
      if (value.whole_row && plan().mode == Mode::kColumns && value.variance.rows)
        buffer.row_stride = layout.pitch;
      plan().buffers.push_back(buffer);
    }
    for (const Region& region : regions)
      for (const Node& node : *region.nodes) {
        const int64_t lane = accumulator_bytes(node);
        if (lane == 0) continue;
        const Layout layout = layout_of(draft_.schedule.values[node.dst].variance, false, lane);
        BufferView buffer;
        buffer.view = draft_.accumulators[node.dst];
        buffer.offset = place(layout.lanes * lane);
        buffer.table = draft_.table_for(layout.pitch);
        plan().buffers.push_back(buffer);
      }
    for (AccessPlan& access : plan().accesses)
      if (access.dynamic_table >= 0)
        access.dynamic_table = place(plan().tile_rows * static_cast<int64_t>(sizeof(int64_t)));
    plan().part_bytes = top;
  }

 private:
  Plan& plan() const { return *draft_.plan; }

  // Lanes of a value's buffer, and bytes from one row of it to the next.
  struct Layout {
    int64_t lanes, pitch;
  };
  Layout layout_of(Variance variance, bool whole_row, int64_t lane) const {
    int64_t rows = variance.rows ? plan().tile_rows : 1;
    int64_t cols = variance.cols ? plan().tile_cols : 1;
    if (whole_row && plan().mode == Mode::kRows && variance.cols) cols = plan().col_count;
    if (whole_row && plan().mode == Mode::kColumns && variance.rows) rows = plan().row_count;
    return {rows * cols, variance.rows ? cols * lane : 0};
  }

  bool may_overwrite(const Node& node) const {
    if (node.kind != NodeKind::kInstr) return false;
    const TileOpKind kind = tile_op_info(draft_.code.instrs[node.instr].op).kind;
    return kind == TileOpKind::kConvert || kind == TileOpKind::kUnary ||
           kind == TileOpKind::kBinary || kind == TileOpKind::kTernary;
  }

  // Lane bytes of the accumulator that a reduction needs beside its result; 0: none.
  int64_t accumulator_bytes(const Node& node) const {
    if (!draft_.is_reduction(node)) return 0;
    const TileInstr& instr = draft_.code.instrs[node.instr];
    const bool f32 = instr.type == LaneType::kF32;
    switch (instr.op) {
      case TileOp::kReduceArgMax:
      case TileOp::kReduceArgMin: return static_cast<int64_t>(lane_bytes(instr.type));
      case TileOp::kReduceProd: return f32 ? 8 : 0;
      case TileOp::kReduceSum: return f32 && plan().chunks > 1 ? 8 : 0;
      default: return 0;
    }
  }

  PlanDraft& draft_;
};

}  // namespace

int32_t PlanDraft::table_for(int64_t pitch) {
  const auto [entry, added] = tables.try_emplace(pitch, static_cast<int32_t>(plan->tables.size()));
  if (added) {
    auto table = std::make_unique<int64_t[]>(static_cast<size_t>(plan->tile_rows));
    for (int64_t r = 0; r < plan->tile_rows; ++r) table[r] = r * pitch;
    plan->tables.push_back(std::move(table));
  }
  return entry->second;
}

void allocate_buffers(PlanDraft* draft) { Allocator(draft).run(); }

}  // namespace kiln::cpu::tile
