#include "backends/cuda/compile/tile_values.h"

#include <algorithm>

#include "backends/cuda/compile/tile_expression.h"

namespace kiln::cuda {
namespace {

// What costs more than this is kept between passes rather than computed again.
constexpr int kCheap = 6;

}  // namespace

TileValues::TileValues(const TileKernel& kernel) : values_(kernel.code.registers.size()) {
  classify(kernel);
  find_live(kernel.code);
  assign_passes(kernel);
}

void TileValues::classify(const TileKernel& kernel) {
  const TileCode& code = kernel.code;
  const TileSchedule& schedule = kernel.schedule;
  const bool rows = code.row_rank > 0;
  const auto vector_dim = static_cast<size_t>(kernel.vector_dim());
  const auto first_item_dim = static_cast<size_t>(rows ? kernel.outer_rank() : 0);
  const auto vary_along = [&](TileValue& value, size_t dim) {
    value.per_item = value.per_item || dim >= first_item_dim;
    value.per_lane = value.per_lane || (dim == vector_dim && schedule.vector > 1);
  };
  int access = 0;
  for (size_t i = 0; i < code.instrs.size(); ++i) {
    const TileInstr& instr = code.instrs[i];
    const bool memory = tile_op_info(instr.op).kind == TileOpKind::kMemory;
    const int own_access = memory ? access++ : -1;
    if (instr.op == TileOp::kStore) {
      TileStore store{i, own_access, rows};
      const auto& strides = kernel.accesses[static_cast<size_t>(own_access)].strides;
      for (size_t d = first_item_dim; d < strides.size(); ++d) {
        store.per_row = store.per_row && strides[d].is(0);
      }
      store.per_row = store.per_row && !values_[static_cast<size_t>(instr.src[0])].per_item;
      stores_.push_back(store);
      continue;
    }
    TileValue& value = values_[static_cast<size_t>(instr.dst)];
    value.instr = i;
    value.access = own_access;
    for (int32_t source : instr.src) {
      if (source < 0) continue;
      const TileValue& from = values_[static_cast<size_t>(source)];
      value.per_item = value.per_item || from.per_item;
      value.per_lane = value.per_lane || from.per_lane;
      value.phase = std::max(value.phase, from.phase);
    }
    if (memory) {
      const auto& strides = kernel.accesses[static_cast<size_t>(own_access)].strides;
      for (size_t d = 0; d < strides.size(); ++d) {
        if (!strides[d].is(0)) vary_along(value, d);
      }
    }
    if (instr.op == TileOp::kIota) vary_along(value, static_cast<size_t>(instr.integer));
    if (tile_op_info(instr.op).kind == TileOpKind::kReduce) {
      value.reduced = true;
      value.per_item = false;
      // Along rows the lanes are parts of one row; columns are rows side by side.
      value.per_lane = value.per_lane && schedule.kind == TileSchedule::Kind::kColumns;
      ++value.phase;
    }
  }
}

void TileValues::find_live(const TileCode& code) {
  std::vector<int> work;
  for (const TileStore& store : stores_) {
    const int reg = code.instrs[store.instr].src[0];
    work.push_back(reg);
    if (!store.per_row) last_item_pass_ = std::max(last_item_pass_, (*this)[reg].phase);
  }
  while (!work.empty()) {
    TileValue& value = values_[static_cast<size_t>(work.back())];
    work.pop_back();
    if (value.live) continue;
    value.live = true;
    last_phase_ = std::max(last_phase_, value.phase);
    if (value.reduced) last_item_pass_ = std::max(last_item_pass_, value.phase - 1);
    for (int32_t source : code.instrs[value.instr].src) {
      if (source >= 0) work.push_back(source);
    }
  }
}

// Marks in `wanted` what an item must compute to know `reg`.
void TileValues::add_item_values(const TileCode& code, int reg, std::vector<bool>& wanted) const {
  const auto at = static_cast<size_t>(reg);
  if (!values_[at].per_item || values_[at].held || wanted[at]) return;
  wanted[at] = true;
  for (int32_t source : code.instrs[values_[at].instr].src) {
    if (source >= 0) add_item_values(code, source, wanted);
  }
}

int TileValues::cost(const TileCode& code, int reg) const {
  std::vector<bool> wanted(values_.size(), false);
  add_item_values(code, reg, wanted);
  int total = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) total += statement_cost(code.instrs[values_[i].instr]);
  }
  return total;
}

std::vector<int> TileValues::roots(const TileCode& code, size_t pass) const {
  std::vector<int> registers;
  for (int result : reductions_[pass]) {
    registers.push_back(code.instrs[(*this)[result].instr].src[0]);
  }
  for (const TileStore& store : stores_) {
    if (static_cast<int>(pass) == last_item_pass_ && !store.per_row) {
      registers.push_back(code.instrs[store.instr].src[0]);
    }
  }
  return registers;
}

std::vector<bool> TileValues::wanted_by(const TileCode& code, size_t pass) const {
  std::vector<bool> wanted(values_.size(), false);
  for (int reg : roots(code, pass)) add_item_values(code, reg, wanted);
  return wanted;
}

std::vector<bool> TileValues::kept_for(const TileCode& code, size_t pass) const {
  const std::vector<bool> wanted = wanted_by(code, pass);
  std::vector<bool> kept(values_.size(), false);
  const auto read = [&](int reg) {
    const auto at = static_cast<size_t>(reg);
    kept[at] = kept[at] || (values_[at].per_item && values_[at].held);
  };
  for (int reg : roots(code, pass)) read(reg);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i]) continue;
    for (int32_t source : code.instrs[values_[i].instr].src) {
      if (source >= 0) read(source);
    }
  }
  return kept;
}

void TileValues::assign_passes(const TileKernel& kernel) {
  const TileCode& code = kernel.code;
  const auto passes = static_cast<size_t>(last_phase_) + 1;
  item_values_.resize(passes);
  kept_values_.resize(passes);
  thread_values_.resize(passes);
  reductions_.resize(passes);
  for (const TileInstr& instr : code.instrs) {
    if (instr.dst < 0) continue;
    const TileValue& value = values_[static_cast<size_t>(instr.dst)];
    if (!value.live || value.per_item) continue;
    if (value.reduced) {
      reductions_[static_cast<size_t>(value.phase) - 1].push_back(instr.dst);
    } else {
      thread_values_[static_cast<size_t>(value.phase)].push_back(instr.dst);
    }
  }
  const auto in_order = [&](const std::vector<bool>& set, std::vector<int>* list) {
    for (const TileInstr& instr : code.instrs) {
      if (instr.dst >= 0 && set[static_cast<size_t>(instr.dst)]) list->push_back(instr.dst);
    }
  };
  for (size_t pass = 0; pass < passes; ++pass) {
    in_order(kept_for(code, pass), &kept_values_[pass]);
    in_order(wanted_by(code, pass), &item_values_[pass]);
    if (!kernel.schedule.held) continue;
    // What later passes would compute again stays, unless that is cheap; loads as they are stored.
    std::vector<bool> later(values_.size(), false);
    const auto add = [&](const std::vector<bool>& set) {
      for (size_t i = 0; i < later.size(); ++i) later[i] = later[i] || set[i];
    };
    for (size_t other = pass + 1; other < passes; ++other) add(wanted_by(code, other));
    for (int reg : item_values_[pass]) {
      TileValue& value = values_[static_cast<size_t>(reg)];
      if (!later[static_cast<size_t>(reg)]) continue;
      value.held = value.access >= 0 || cost(code, reg) > kCheap;
    }
    // Of those, what others make superfluous goes again.
    std::fill(later.begin(), later.end(), false);
    for (size_t other = pass + 1; other < passes; ++other) add(kept_for(code, other));
    for (int reg : item_values_[pass]) {
      TileValue& value = values_[static_cast<size_t>(reg)];
      value.held = value.held && later[static_cast<size_t>(reg)];
    }
  }
}

}  // namespace kiln::cuda
