#include "backends/cpu/kernels/tile_vm_schedule.h"

#include <algorithm>

#include "base/check.h"

namespace kiln::cpu::tile {
namespace {

// Instructions that are cheaper to do again in a later phase than to keep a whole row of.
constexpr int kMaxRecomputed = 3;

bool is_cheap(TileOp op) {
  switch (op) {
    case TileOp::kLoad:
    case TileOp::kIota:
    case TileOp::kCast:
    case TileOp::kRoundTo:
    case TileOp::kNeg:
    case TileOp::kAbs:
    case TileOp::kRelu:
    case TileOp::kClamp:
    case TileOp::kAdd:
    case TileOp::kSub:
    case TileOp::kMul:
    case TileOp::kMax:
    case TileOp::kMin:
    case TileOp::kEq:
    case TileOp::kNe:
    case TileOp::kLt:
    case TileOp::kLe:
    case TileOp::kGt:
    case TileOp::kGe:
    case TileOp::kAnd:
    case TileOp::kOr:
    case TileOp::kXor:
    case TileOp::kLogicalNot:
    case TileOp::kSelect:
    case TileOp::kFma: return true;
    default: return false;
  }
}

class Scheduler {
 public:
  Scheduler(const TileCode& code, const Shape& shape, const Loops& loops,
            const std::vector<AccessFacts>& accesses)
      : code_(code),
        shape_(shape),
        loops_(loops),
        accesses_(accesses),
        masks_(register_masks(code, shape, accesses)),
        row_mask_(role_mask(shape, Role::kRow)),
        col_mask_(role_mask(shape, Role::kCol)),
        chunked_(loops.chunk_dims != 0),
        regs_(code.registers.size()),
        instr_access_(code.instrs.size(), -1) {}

  Schedule run() {
    find_definitions();
    int32_t last_phase = 0;
    for (size_t i = 0; i < code_.instrs.size(); ++i)
      if (is_reduction(i)) last_phase = std::max(last_phase, regs_[code_.instrs[i].dst].phase);
    schedule_.phases.resize(static_cast<size_t>(last_phase) + 1);
    for (int32_t phase = 0; phase <= last_phase; ++phase)
      for (size_t i = 0; i < code_.instrs.size(); ++i)
        if (is_reduction(i) && execution_phase(i) == phase) emit_reduction(i, phase);
    // What is stored may have been asked for by an earlier phase only.
    std::vector<Node> stores, post_stores;
    for (size_t i = 0; i < code_.instrs.size(); ++i)
      if (code_.instrs[i].op == TileOp::kStore) prepare_store(i, last_phase, &stores, &post_stores);
    PhaseNodes& last = schedule_.phases.back();
    store_in_place(&last.body, &stores);
    last.body.insert(last.body.end(), stores.begin(), stores.end());
    schedule_.post = post_stores;
    return std::move(schedule_);
  }

 private:
  struct Register {
    int32_t instr = -1;
    Level level = Level::kPrologue;
    int32_t phase = 0;   // the first phase in which it can be used
    int32_t value = -1;  // its newest copy
    int32_t value_phase = -1;
    bool reduced = false;
    int32_t uses = 0;
  };

  bool is_reduction(size_t i) const {
    return tile_op_info(code_.instrs[i].op).kind == TileOpKind::kReduce;
  }
  // The phase whose chunks a reduction goes through.
  int32_t execution_phase(size_t i) const { return regs_[code_.instrs[i].src[0]].phase; }

  Level level_of(uint32_t mask) const {
    if (mask & loops_.chunk_dims) return Level::kBody;
    if (mask & loops_.unit_dims) return chunked_ ? Level::kUnit : Level::kBody;
    return Level::kPrologue;
  }

  Variance variance_of(uint32_t mask) const {
    return {(mask & row_mask_) != 0, (mask & col_mask_) != 0};
  }

  void find_definitions() {
    int32_t access = 0;
    for (size_t i = 0; i < code_.instrs.size(); ++i) {
      const TileInstr& instr = code_.instrs[i];
      if (tile_op_info(instr.op).kind == TileOpKind::kMemory) instr_access_[i] = access++;
      for (int32_t s : instr.src)
        if (s >= 0) ++regs_[s].uses;
      if (instr.dst < 0) continue;
      Register& reg = regs_[instr.dst];
      reg.instr = static_cast<int32_t>(i);
      reg.level = level_of(masks_[instr.dst]);
      reg.reduced = is_reduction(i);
      for (int32_t s : instr.src) {
        if (s < 0) continue;
        const Register& source = regs_[s];
        reg.phase = std::max(reg.phase, source.phase);
        if (reg.reduced && chunked_) continue;
        reg.level = std::max(reg.level, source.level);
      }
      if (reg.reduced && chunked_) {
        const Register& source = regs_[instr.src[0]];
        // A reduction visits every chunk, even of a value that does not vary.
        reg.level = Level::kUnit;
        reg.phase = source.phase + 1;
      }
    }
  }

  std::vector<Node>& list(Level level, int32_t phase) {
    if (level == Level::kPrologue) return schedule_.prologue;
    PhaseNodes& nodes = schedule_.phases[static_cast<size_t>(phase)];
    return level == Level::kUnit ? nodes.pre : nodes.body;
  }

  int32_t new_value(LaneType type, Variance variance) {
    schedule_.values.push_back({type, variance, -1, -1, false});
    return static_cast<int32_t>(schedule_.values.size()) - 1;
  }

  const Value& value(int32_t v) const { return schedule_.values[static_cast<size_t>(v)]; }

  // Instructions to do again for a copy of `reg`, too many if it contains what is not cheap.
  int recompute_cost(int32_t r) const {
    const Register& reg = regs_[r];
    if (reg.level != Level::kBody) return 0;
    if (reg.value >= 0 && value(reg.value).whole_row) return 0;
    const TileInstr& instr = code_.instrs[reg.instr];
    if (!is_cheap(instr.op)) return kMaxRecomputed + 1;
    int cost = instr.op == TileOp::kLoad ? 0 : 1;
    for (int32_t s : instr.src)
      if (s >= 0) cost += recompute_cost(s);
    return std::min(cost, kMaxRecomputed + 1);
  }

  // The value of register `r`, usable in `phase`.
  int32_t get(int32_t r, int32_t phase) {
    Register& reg = regs_[r];
    if (reg.value >= 0) {
      if (reg.level != Level::kBody || reg.value_phase == phase) return reg.value;
      if (value(reg.value).whole_row) return reg.value;
      if (recompute_cost(r) > kMaxRecomputed) {
        schedule_.values[static_cast<size_t>(reg.value)].whole_row = true;
        return reg.value;
      }
    }
    KILN_CHECK(!reg.reduced);  // emitted by the driver
    const int32_t emitted = emit(static_cast<size_t>(reg.instr), reg.level, phase);
    reg.value = emitted;
    reg.value_phase = phase;
    return emitted;
  }

  int32_t emit(size_t i, Level level, int32_t phase) {
    const TileInstr& instr = code_.instrs[i];
    Node node;
    node.instr = static_cast<int32_t>(i);
    const LaneType type = code_.registers[instr.dst];
    if (instr.op == TileOp::kLoad) return emit_load(i, level, phase);
    for (int s = 0; s < 3 && instr.src[s] >= 0; ++s) {
      node.src[s] = get(instr.src[s], phase);
      node.variance = node.variance | value(node.src[s]).variance;
    }
    if (instr.op == TileOp::kIota) node.variance = variance_of(masks_[instr.dst]);
    if (instr.op == TileOp::kGather) {
      Node offsets = node;
      offsets.kind = NodeKind::kGatherOffsets;
      offsets.dst = new_value(LaneType::kI64, offsets.variance);
      list(level, phase).push_back(offsets);
      node.kind = NodeKind::kGatherLoad;
      node.src[0] = offsets.dst;
      node.src[1] = node.src[2] = -1;
      node.variance = node.variance | variance_of(accesses_[instr_access_[i]].mask);
    }
    node.dst = new_value(type, node.variance);
    list(level, phase).push_back(node);
    return node.dst;
  }

  int32_t emit_load(size_t i, Level level, int32_t phase) {
    const TileInstr& instr = code_.instrs[i];
    const AccessFacts& access = accesses_[instr_access_[i]];
    const Variance variance = variance_of(access.mask);
    const int32_t v = new_value(instr.type, variance);
    const DType stored = code_.inputs[instr.operand];
    const bool same = stored == DType::kF32 || stored == DType::kF64 || stored == DType::kI64 ||
                      stored == DType::kBool;
    // A column of row scalars is gathered into a vector, unless it is one value.
    const bool in_place = variance.cols ? access.unit_columns : !variance.rows;
    if (same && lane_type_of(stored) == instr.type && in_place) {
      schedule_.values[static_cast<size_t>(v)].direct_access = instr_access_[i];
      return v;
    }
    Node node;
    node.instr = static_cast<int32_t>(i);
    node.variance = variance;
    node.dst = v;
    list(level, phase).push_back(node);
    return v;
  }

  // `v`, varying at least along `wanted`.
  int32_t broadcast(int32_t v, Variance wanted, size_t i, std::vector<Node>* nodes) {
    const Variance target = value(v).variance | wanted;
    if (value(v).variance == target) return v;
    Node node;
    node.kind = NodeKind::kBroadcast;
    node.instr = static_cast<int32_t>(i);
    node.src[0] = v;
    node.variance = target;
    node.dst = new_value(value(v).type, target);
    nodes->push_back(node);
    return node.dst;
  }

  // `v` in a buffer of its own.
  int32_t copy(int32_t v, size_t i, std::vector<Node>* nodes) {
    Node node;
    node.kind = NodeKind::kBroadcast;
    node.instr = static_cast<int32_t>(i);
    node.src[0] = v;
    node.variance = value(v).variance;
    node.dst = new_value(value(v).type, node.variance);
    nodes->push_back(node);
    return node.dst;
  }

  void emit_reduction(size_t i, int32_t phase) {
    const TileInstr& instr = code_.instrs[i];
    Register& reg = regs_[instr.dst];
    const Level level = chunked_ ? Level::kBody : reg.level;
    const bool vertical = shape_.mode == Mode::kColumns;
    Node node;
    node.instr = static_cast<int32_t>(i);
    if (!emit_product(instr, phase, {vertical, !vertical}, &node))
      node.src[0] =
          broadcast(get(instr.src[0], phase), {vertical, !vertical}, i, &list(level, phase));
    node.variance = value(node.src[0]).variance;
    node.dst = new_value(code_.registers[instr.dst],
                         {!vertical && node.variance.rows, vertical && node.variance.cols});
    list(level, phase).push_back(node);
    reg.value = node.dst;
    reg.value_phase = phase;
  }

  // A float sum of products that nothing else uses: the products need no tile of their own.
  bool emit_product(const TileInstr& sum, int32_t phase, Variance along, Node* node) {
    const TileInstr& source = code_.instrs[regs_[sum.src[0]].instr];
    if (sum.op != TileOp::kReduceSum || sum.type == LaneType::kI64 || source.op != TileOp::kMul ||
        regs_[sum.src[0]].uses != 1)
      return false;
    const uint32_t mask = masks_[source.src[0]];
    const Variance variance = variance_of(mask);
    if (masks_[source.src[1]] != mask || !(variance == (variance | along))) return false;
    const int32_t a = get(source.src[0], phase);
    const int32_t b = get(source.src[1], phase);
    KILN_CHECK(value(a).variance == variance && value(b).variance == variance);
    node->src[0] = a;
    node->src[1] = b;
    return true;
  }

  void prepare_store(size_t i, int32_t phase, std::vector<Node>* stores,
                     std::vector<Node>* post_stores) {
    const TileInstr& instr = code_.instrs[i];
    const uint32_t mask = accesses_[instr_access_[i]].mask;
    const Level level = std::max(level_of(mask), chunked_ ? Level::kUnit : Level::kBody);
    Node node;
    node.instr = static_cast<int32_t>(i);
    node.variance = variance_of(mask);
    std::vector<Node>& nodes = list(level, phase);
    node.src[0] = broadcast(get(instr.src[0], phase), node.variance, i, &nodes);
    if (level == Level::kUnit) {
      if (value(node.src[0]).direct_access >= 0) node.src[0] = copy(node.src[0], i, &nodes);
      post_stores->push_back(node);
      return;
    }
    // All loads come before all stores, as an output may be an input's memory: only the first store
    // may read its value in place.
    if (value(node.src[0]).direct_access < 0) {
      stores->push_back(node);
    } else if (stores->empty() || value(stores->front().src[0]).direct_access < 0) {
      stores->insert(stores->begin(), node);
    } else {
      node.src[0] = copy(node.src[0], i, &nodes);
      stores->push_back(node);
    }
  }

  bool reads_memory(const Node& node) const {
    if (node.kind == NodeKind::kGatherLoad) return true;
    if (node.kind == NodeKind::kInstr && code_.instrs[node.instr].op == TileOp::kLoad) return true;
    return std::any_of(std::begin(node.src), std::end(node.src),
                       [&](int32_t s) { return s >= 0 && value(s).direct_access >= 0; });
  }

  // Lets the instruction that computes a stored value write it to memory itself, where nothing
  // afterwards reads memory (an output may be an input's memory) and the types agree.
  void store_in_place(std::vector<Node>* body, std::vector<Node>* stores) {
    for (auto store = stores->begin(); store != stores->end();) {
      const TileInstr& instr = code_.instrs[store->instr];
      const int32_t access = instr_access_[store->instr];
      const Value& stored = value(store->src[0]);
      bool possible = stored.direct_access < 0 && stored.stored_access < 0 && !stored.whole_row &&
                      stored.variance.cols && stored.variance == store->variance &&
                      accesses_[access].unit_columns;
      const DType dtype = code_.outputs[instr.operand];
      possible = possible &&
                 (dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kI64 ||
                  dtype == DType::kBool) &&
                 lane_type_of(dtype) == stored.type;
      size_t at = body->size();
      for (size_t n = 0; n < body->size(); ++n)
        if ((*body)[n].dst == store->src[0]) at = n;
      possible = possible && at < body->size() && can_write_memory((*body)[at]);
      for (size_t n = at + 1; possible && n < body->size(); ++n)
        possible = !reads_memory((*body)[n]);
      // A store of a value that is read in place comes later.
      for (const Node& other : *stores)
        possible = possible && value(other.src[0]).direct_access < 0;
      if (!possible) {
        ++store;
        continue;
      }
      schedule_.values[static_cast<size_t>(store->src[0])].stored_access = access;
      store = stores->erase(store);
    }
  }

  // Kernels that write each element once, after reading the operands at the same place.
  bool can_write_memory(const Node& node) const {
    if (node.kind != NodeKind::kInstr) return node.kind != NodeKind::kGatherOffsets;
    const TileOp op = code_.instrs[node.instr].op;
    const TileOpKind kind = tile_op_info(op).kind;
    return op == TileOp::kLoad ||
           (kind != TileOpKind::kReduce && kind != TileOpKind::kSource && op != TileOp::kStore);
  }

  const TileCode& code_;
  const Shape& shape_;
  const Loops& loops_;
  const std::vector<AccessFacts>& accesses_;
  const std::vector<uint32_t> masks_;
  const uint32_t row_mask_, col_mask_;
  const bool chunked_;
  std::vector<Register> regs_;
  std::vector<int32_t> instr_access_;
  Schedule schedule_;
};

}  // namespace

uint32_t role_mask(const Shape& shape, Role role) {
  uint32_t mask = 0;
  for (size_t d = 0; d < shape.dims.size(); ++d)
    if (shape.dims[d].role == role) mask |= 1u << d;
  return mask;
}

std::vector<uint32_t> register_masks(const TileCode& code, const Shape& shape,
                                     const std::vector<AccessFacts>& accesses) {
  uint32_t reduced = 0;
  for (size_t d = 0; d < shape.dims.size(); ++d)
    if (shape.dims[d].reduced) reduced |= 1u << d;
  std::vector<uint32_t> masks(code.registers.size(), 0);
  size_t access = 0;
  for (const TileInstr& instr : code.instrs) {
    uint32_t mask = 0;
    for (int32_t s : instr.src)
      if (s >= 0) mask |= masks[s];
    const TileOpKind kind = tile_op_info(instr.op).kind;
    if (kind == TileOpKind::kMemory) mask |= accesses[access++].mask;
    if (kind == TileOpKind::kReduce) mask &= ~reduced;
    if (instr.op == TileOp::kIota)
      for (size_t d = 0; d < shape.dims.size(); ++d)
        if (shape.dims[d].iota == instr.integer) mask |= 1u << d;
    if (instr.dst >= 0) masks[instr.dst] = mask;
  }
  return masks;
}

Schedule make_schedule(const TileCode& code, const Shape& shape, const Loops& loops,
                       const std::vector<AccessFacts>& accesses) {
  return Scheduler(code, shape, loops, accesses).run();
}

}  // namespace kiln::cpu::tile
