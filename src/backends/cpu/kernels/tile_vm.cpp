#include "backends/cpu/kernels/tile_vm.h"

#include <algorithm>
#include <mutex>
#include <sstream>

#include "backends/cpu/kernels/tile_vm_plan.h"
#include "base/check.h"
#include "base/parallel_for.h"

namespace kiln::cpu {
namespace {

using tile::AccessPlan;
using tile::BufferView;
using tile::Failure;
using tile::FailureKind;
using tile::Mode;
using tile::Phase;
using tile::Plan;
using tile::Step;
using tile::TileState;
using tile::View;

// A part's memory up to this size lies on the stack, where it is warm; more comes as scratch.
constexpr int64_t kStackBytes = 64 * 1024;

// Work below this is not worth a second thread.
constexpr double kSerialNs = 4000;

// Runs units of one plan on the calling thread.
class Runner {
 public:
  Runner(const Plan& plan, const void* const* inputs, void* const* outputs, char* memory)
      : plan_(plan), inputs_(inputs), outputs_(outputs), memory_(memory) {
    state_.views = reinterpret_cast<View*>(memory);
    for (const BufferView& buffer : plan.buffers)
      state_.views[buffer.view] = {memory + buffer.offset, plan.tables[buffer.table].get()};
    for (const AccessPlan& access : plan.accesses)
      state_.views[access.view].rows =
          access.table >= 0 ? plan.tables[access.table].get()
                            : reinterpret_cast<const int64_t*>(memory + access.dynamic_table);
    moving_buffers_ = plan.chunks > 1;
  }

  Failure run(int64_t begin, int64_t end) {
    state_.failure = {};
    if (begin >= end) return state_.failure;
    state_.rows = plan_.tile_rows;
    state_.cols = plan_.tile_cols;
    state_.row0 = state_.col0 = state_.outer0 = state_.reduced0 = 0;
    state_.first_chunk = state_.last_chunk = true;
    if (!plan_.prologue.empty()) {
      move_views();
      if (!run_steps(plan_.prologue)) return state_.failure;
    }
    for (int64_t unit = begin; unit < end; ++unit)
      if (!run_unit(unit)) break;
    return state_.failure;
  }

 private:
  bool run_steps(const std::vector<Step>& steps) {
    if (!plan_.may_fail) {
      for (const Step& step : steps) step.fn(step, state_);
      return true;
    }
    for (const Step& step : steps) {
      step.fn(step, state_);
      if (state_.failure.kind != FailureKind::kNone) return false;
    }
    return true;
  }

  bool run_unit(int64_t unit) {
    const int64_t col_block = unit % plan_.col_blocks;
    if (plan_.mode == Mode::kColumns) {
      state_.outer0 = unit / plan_.col_blocks;
      state_.row0 = 0;
      state_.rows = plan_.tile_rows;
    } else {
      state_.row0 = unit / plan_.col_blocks * plan_.tile_rows;
      state_.rows = std::min(plan_.tile_rows, plan_.row_count - state_.row0);
    }
    state_.col0 = col_block * plan_.tile_cols;
    state_.cols = std::min(plan_.tile_cols, plan_.col_count - state_.col0);
    state_.reduced0 = 0;
    move_views();
    for (const Phase& phase : plan_.phases) {
      if (!run_steps(phase.pre)) return false;
      if (plan_.chunks == 1) {
        if (!run_steps(phase.body)) return false;
        continue;
      }
      if (phase.body.empty()) continue;
      for (int64_t chunk = 0; chunk < plan_.chunks; ++chunk) {
        move_to_chunk(chunk);
        if (!run_steps(phase.body)) return false;
      }
      move_to_chunk(0);
    }
    return run_steps(plan_.post);
  }

  void move_to_chunk(int64_t chunk) {
    state_.first_chunk = chunk == 0;
    state_.last_chunk = chunk + 1 == plan_.chunks;
    if (plan_.mode == Mode::kRows) {
      state_.col0 = state_.reduced0 = chunk * plan_.tile_cols;
      state_.cols = std::min(plan_.tile_cols, plan_.col_count - state_.col0);
    } else {
      state_.row0 = state_.reduced0 = chunk * plan_.tile_rows;
      state_.rows = std::min(plan_.tile_rows, plan_.row_count - state_.row0);
    }
    move_views();
  }

  // Points every view that moves at the tile's first row and column.
  void move_views() {
    bool computed_tables = false;
    for (const AccessPlan& access : plan_.accesses) {
      const char* base = access.output ? static_cast<const char*>(outputs_[access.operand])
                                       : static_cast<const char*>(inputs_[access.operand]);
      int64_t offset = access.offset + state_.col0 * access.col_stride;
      if (access.table >= 0)
        offset += state_.row0 * access.row_stride;
      else
        computed_tables = true;
      int64_t rest = state_.outer0;
      for (size_t d = plan_.outer_extents.size(); d-- > 0;) {
        offset += rest % plan_.outer_extents[d] * access.outer_strides[d];
        rest /= plan_.outer_extents[d];
      }
      state_.views[access.view].base = const_cast<char*>(base) + offset;
    }
    if (moving_buffers_)
      for (const BufferView& buffer : plan_.buffers)
        state_.views[buffer.view].base = memory_ + buffer.offset + state_.row0 * buffer.row_stride +
                                         state_.col0 * buffer.col_stride;
    if (computed_tables) compute_tables();
  }

  // Row offsets that have no fixed pitch: walks the row dims once for all accesses.
  void compute_tables() {
    const size_t dims = plan_.row_extents.size();
    int64_t index[kMaxTileRank];
    int64_t rest = state_.row0;
    for (size_t d = dims; d-- > 0;) {
      index[d] = rest % plan_.row_extents[d];
      rest /= plan_.row_extents[d];
    }
    for (const AccessPlan& access : plan_.accesses) {
      if (access.table >= 0) continue;
      auto* table = reinterpret_cast<int64_t*>(memory_ + access.dynamic_table);
      int64_t position[kMaxTileRank], offset = 0;
      for (size_t d = 0; d < dims; ++d) {
        position[d] = index[d];
        offset += index[d] * access.row_strides[d];
      }
      for (int64_t r = 0; r < state_.rows; ++r) {
        table[r] = offset;
        for (size_t d = dims; d-- > 0;) {
          offset += access.row_strides[d];
          if (++position[d] < plan_.row_extents[d]) break;
          offset -= plan_.row_extents[d] * access.row_strides[d];
          position[d] = 0;
        }
      }
    }
  }

  const Plan& plan_;
  const void* const* inputs_;
  void* const* outputs_;
  char* memory_;
  bool moving_buffers_;
  TileState state_;
};

Failure run_units(const Plan& plan, int64_t begin, int64_t end, const void* const* inputs,
                  void* const* outputs, char* scratch) {
  if (plan.part_bytes > kStackBytes) return Runner(plan, inputs, outputs, scratch).run(begin, end);
  alignas(64) char memory[kStackBytes];
  return Runner(plan, inputs, outputs, memory).run(begin, end);
}

Status to_status(const Failure& failure) {
  switch (failure.kind) {
    case FailureKind::kNone: return {};
    case FailureKind::kIndexOutOfRange:
      return Status::error("K4410", "index out of range: index " + std::to_string(failure.index) +
                                        ", size " + std::to_string(failure.size) +
                                        ", tile instruction " + std::to_string(failure.instr));
    case FailureKind::kDivisionByZero:
      return Status::error(
          "K4411", "integer division by zero: tile instruction " + std::to_string(failure.instr));
  }
  return {};
}

}  // namespace

TileKernel::TileKernel(std::unique_ptr<tile::Plan> plan) : plan_(std::move(plan)) {}
TileKernel::~TileKernel() = default;

Result<std::unique_ptr<TileKernel>> TileKernel::bind(const TileCode& code,
                                                     const TileBinding& binding,
                                                     const TileLimits& limits) {
  KILN_RETURN_IF_ERROR(verify_tile_code(code));
  KILN_RETURN_IF_ERROR(verify_tile_binding(code, binding));
  KILN_ASSIGN_OR_RETURN(auto plan, tile::make_plan(code, binding, limits));
  return std::unique_ptr<TileKernel>(new TileKernel(std::move(plan)));
}

size_t TileKernel::scratch_bytes(int threads) const {
  if (plan_->units == 0 || plan_->part_bytes <= kStackBytes) return 0;
  const int64_t parts = std::clamp<int64_t>(threads, 1, plan_->units);
  return static_cast<size_t>(parts * ((plan_->part_bytes + 63) / 64 * 64));
}

Status TileKernel::run(const void* const* inputs, void* const* outputs, void* scratch,
                       int threads) const {
  const Plan& plan = *plan_;
  if (plan.units == 0) return {};
  auto* memory = static_cast<char*>(scratch);
  const int64_t grain = std::max<int64_t>(1, static_cast<int64_t>(kSerialNs / plan.unit_cost));
  if (threads <= 1 || plan.units < 2 * grain || num_threads() == 1)
    return to_status(run_units(plan, 0, plan.units, inputs, outputs, memory));

  const ScopedNumThreads limit(threads);
  const int64_t stride = (plan.part_bytes + 63) / 64 * 64;
  std::mutex mutex;
  Failure first;
  int64_t first_begin = plan.units;
  parallel_for(plan.units, grain, [&](int64_t begin, int64_t end) {
    char* own = memory == nullptr ? nullptr : memory + thread_index() * stride;
    const Failure failure = run_units(plan, begin, end, inputs, outputs, own);
    if (failure.kind == FailureKind::kNone) return;
    const std::lock_guard lock(mutex);
    if (begin < first_begin) {
      first = failure;
      first_begin = begin;
    }
  });
  return to_status(first);
}

Status TileKernel::run_part(int64_t part, int64_t parts, const void* const* inputs,
                            void* const* outputs, void* scratch) const {
  KILN_CHECK(part >= 0 && part < parts);
  const int64_t units = plan_->units;
  const auto begin_of = [&](int64_t p) { return units / parts * p + std::min(p, units % parts); };
  const int64_t begin = begin_of(part), end = begin_of(part + 1);
  if (begin == end) return {};
  return to_status(run_units(*plan_, begin, end, inputs, outputs, static_cast<char*>(scratch)));
}

int64_t TileKernel::useful_parts() const {
  return std::clamp<int64_t>(static_cast<int64_t>(cost_ns() / kSerialNs), 1,
                             std::max<int64_t>(1, plan_->units));
}

double TileKernel::cost_ns() const { return static_cast<double>(plan_->units) * plan_->unit_cost; }

std::string TileKernel::describe() const {
  const Plan& plan = *plan_;
  constexpr const char* kModes[] = {"elementwise", "rows", "columns"};
  size_t steps = plan.post.size();
  for (const Phase& phase : plan.phases) steps += phase.pre.size() + phase.body.size();
  std::ostringstream out;
  out << kModes[static_cast<int>(plan.mode)] << ": " << plan.outer_count << " x " << plan.row_count
      << " x " << plan.col_count << ", tile " << plan.tile_rows << " x " << plan.tile_cols << ", "
      << plan.units << " units of " << plan.phases.size() << " phases x " << plan.chunks
      << " chunks, " << plan.prologue.size() << " + " << steps << " steps, " << plan.part_bytes
      << " bytes, " << plan.unit_cost << " ns a unit";
  return out.str();
}

}  // namespace kiln::cpu
