// The steps of a plan: which kernel runs for each node of the schedule, on which views.
#include <algorithm>
#include <string>

#include "backends/cpu/kernels/tile_vm_draft.h"
#include "base/check.h"

namespace kiln::cpu::tile {
namespace {

// Rough cost of one point in nanoseconds, with 16 f32 lanes.
double op_cost(const TileInstr& instr) {
  const bool f32 = instr.type == LaneType::kF32;
  switch (tile_op_info(instr.op).kind) {
    case TileOpKind::kMemory:
    case TileOpKind::kConvert: return 0.15;
    case TileOpKind::kUnary:
      if (instr.op >= TileOp::kTan && instr.op <= TileOp::kErfc && instr.op != TileOp::kTanh &&
          instr.op != TileOp::kErf)
        return 8;
      if (instr.op >= TileOp::kExp && instr.op <= TileOp::kElu) return f32 ? 0.6 : 8;
      return f32 ? 0.1 : 0.5;
    case TileOpKind::kBinary:
      if (instr.op >= TileOp::kFloorDiv && instr.op <= TileOp::kAtan2) return 8;
      return f32 ? 0.1 : 0.6;
    case TileOpKind::kReduce: return f32 ? 0.1 : 0.6;
    default: return 0.15;
  }
}

class StepMaker {
 public:
  explicit StepMaker(PlanDraft* draft) : draft_(*draft) {}

  void run() {
    instr_access_.assign(draft_.code.instrs.size(), -1);
    int32_t next = 0;
    for (size_t i = 0; i < draft_.code.instrs.size(); ++i)
      if (tile_op_info(draft_.code.instrs[i].op).kind == TileOpKind::kMemory)
        instr_access_[i] = next++;
    double cost = 20;
    const double points =
        static_cast<double>(plan().tile_rows) * static_cast<double>(plan().tile_cols);
    const auto convert = [&](const std::vector<Node>& nodes, double chunks) {
      std::vector<Step> steps;
      for (const Node& node : nodes) {
        steps.push_back(make_step(node));
        const double visited = node.variance.full() ? points
                               : node.variance.cols ? static_cast<double>(plan().tile_cols)
                               : node.variance.rows ? static_cast<double>(plan().tile_rows)
                                                    : 1;
        cost += chunks * (5 + visited * op_cost(draft_.code.instrs[node.instr]));
      }
      return steps;
    };
    const double chunks = static_cast<double>(plan().chunks);
    for (const PhaseNodes& phase : draft_.schedule.phases) {
      Phase steps;
      steps.pre = convert(phase.pre, 1);
      steps.body = convert(phase.body, chunks);
      plan().phases.push_back(std::move(steps));
    }
    plan().post = convert(draft_.schedule.post, 1);
    plan().unit_cost = cost;
    plan().prologue = convert(draft_.schedule.prologue, 1);
  }

 private:
  Plan& plan() const { return *draft_.plan; }

  Space space_of(Variance variance, bool points) const {
    if (variance.full()) return Space::kTile;
    if (variance.cols) return Space::kCols;
    if (variance.rows) return points ? Space::kRowPoints : Space::kRowVector;
    return Space::kOne;
  }

  // The rows of a view follow each other without gap, so that a full tile is one vector.
  bool is_dense(int32_t v) const {
    const Value& value = draft_.schedule.values[v];
    const int64_t pitch = plan().tile_cols * static_cast<int64_t>(lane_bytes(value.type));
    const int32_t access = std::max(value.direct_access, value.stored_access);
    if (access < 0) return value.variance.full() && !value.whole_row;
    return plan().accesses[access].table >= 0 && plan().accesses[access].row_stride == pitch;
  }

  Step make_step(const Node& node) {
    const TileInstr& instr = draft_.code.instrs[node.instr];
    Step step;
    step.instr = draft_.originals[node.instr];
    step.pitch = plan().tile_cols;
    std::copy(instr.params.begin(), instr.params.end(), step.params);
    step.integer = instr.integer;
    step.dst = node.dst < 0 ? -1 : draft_.views[node.dst];
    bool dense = node.dst >= 0 && is_dense(node.dst);
    StepKey key{instr.op, instr.type, LaneType::kF32, instr.storage, 0};
    if (node.dst >= 0) key.result = draft_.schedule.values[node.dst].type;
    for (int s = 0; s < 3 && node.src[s] >= 0; ++s) {
      step.src[s] = draft_.views[node.src[s]];
      const Variance source = draft_.schedule.values[node.src[s]].variance;
      const bool scalar = node.variance.cols ? !source.cols : node.variance.rows && !source.rows;
      if (scalar) key.scalar_mask |= static_cast<uint8_t>(1u << s);
      dense = dense && !scalar && is_dense(node.src[s]);
    }
    step.scalar_mask = key.scalar_mask;
    step.space = space_of(node.variance, false);
    const int32_t access = instr_access_[node.instr];
    if (access >= 0) step.memory = draft_.walks[access];

    switch (node.kind) {
      case NodeKind::kBroadcast:
        step.fn = broadcast_kernel(draft_.schedule.values[node.src[0]].type,
                                   key.scalar_mask != 0 || !node.variance.cols);
        // One value for each of a row of them: as a vector.
        return checked(step, node);
      case NodeKind::kGatherOffsets:
        step.gather.count = 0;
        for (const TileGatherAxis& axis : draft_.binding.accesses[access].axes) {
          step.gather.size[step.gather.count] = axis.size;
          step.gather.stride_bytes[step.gather.count++] =
              axis.stride * static_cast<int64_t>(dtype_bytes(draft_.code.inputs[instr.operand]));
        }
        step.fn = gather_offset_kernel();
        return checked(step, node);
      case NodeKind::kGatherLoad:
        step.src[1] = step.src[0];
        step.src[0] = plan().accesses[access].view;
        step.space = space_of(node.variance, true);
        step.fn = gather_kernel(draft_.code.inputs[instr.operand], instr.type,
                                !draft_.schedule.values[node.src[0]].variance.cols);
        if (!node.variance.cols) step.memory = one_column();
        return checked(step, node);
      case NodeKind::kInstr: break;
    }
    switch (tile_op_info(instr.op).kind) {
      case TileOpKind::kMemory:
        step.space = space_of(node.variance, true);
        if (!node.variance.cols) step.memory = one_column();
        if (instr.op == TileOp::kLoad) {
          step.src[0] = plan().accesses[access].view;
          key.storage = draft_.code.inputs[instr.operand];
          key.transposed = draft_.shape.transposed && node.variance.full() &&
                           step.memory.dims == 1 && step.memory.col_stride != 0 &&
                           step.memory.col_stride != 1;
        } else {
          step.dst = plan().accesses[access].view;
          key.storage = draft_.code.outputs[instr.operand];
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
        key.vertical = plan().mode == Mode::kColumns && node.variance.cols;
        key.product = node.src[1] >= 0;
        if (const auto found = draft_.accumulators.find(node.dst);
            found != draft_.accumulators.end())
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
    for (size_t d = draft_.shape.dims.size(); d-- > 0;) {
      const Dim& dim = draft_.shape.dims[d];
      // Positions are flattened within a role.
      if (d + 1 < draft_.shape.dims.size() && draft_.shape.dims[d + 1].role != dim.role) inner = 1;
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
                   std::string(tile_op_info(draft_.code.instrs[node.instr].op).name));
    return step;
  }

  PlanDraft& draft_;
  std::vector<int32_t> instr_access_;
};

}  // namespace

void emit_steps(PlanDraft* draft) { StepMaker(draft).run(); }

}  // namespace kiln::cpu::tile
