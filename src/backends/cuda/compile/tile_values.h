// What the printer must know of a tile program's registers under a schedule: how often each is
// computed, and in which of the passes over the row.
#pragma once

#include <vector>

#include "backends/cuda/runtime/tile_kernel.h"

namespace kiln::cuda {

struct TileValue {
  size_t instr = 0;      // that computes it
  int access = -1;       // of a load or gather
  bool live = false;     // a store needs it
  bool reduced = false;  // result of a reduction
  // Once per thread (or per lane of the thread's vector), or in each item of the thread's loop: a
  // group of points, or a position of the row.
  bool per_item = false;
  // Differs among the `vector` elements that a thread takes side by side.
  bool per_lane = false;
  // Number of reductions one after another that it depends on: pass `phase` over the row computes
  // it, the result of a reduction in pass p having phase p + 1.
  int phase = 0;
  // Kept in registers from the pass that computes it first to later ones.
  bool held = false;
};

struct TileStore {
  size_t instr = 0;
  int access = 0;
  // Written once per row, after the last pass, and not in its items.
  bool per_row = false;
};

class TileValues {
 public:
  explicit TileValues(const TileKernel& kernel);

  const TileValue& operator[](int reg) const { return values_[static_cast<size_t>(reg)]; }
  const std::vector<TileStore>& stores() const { return stores_; }
  int last_phase() const { return last_phase_; }
  // The last pass that has items: what they store is stored in it, and nothing is read again.
  int last_item_pass() const { return last_item_pass_; }
  // Registers that the items of pass `phase` compute, in order: all that its reductions, or in the
  // last pass with items the stores, need and that earlier passes have not kept.
  const std::vector<int>& item_values(int phase) const {
    return item_values_[static_cast<size_t>(phase)];
  }
  // Held registers that the items of pass `phase` read, kept by earlier passes.
  const std::vector<int>& kept_values(int phase) const {
    return kept_values_[static_cast<size_t>(phase)];
  }
  // Registers of once per thread that are ready before pass `phase` and not before an earlier one.
  const std::vector<int>& thread_values(int phase) const {
    return thread_values_[static_cast<size_t>(phase)];
  }
  // Results of the reductions of pass `phase`.
  const std::vector<int>& reductions(int phase) const {
    return reductions_[static_cast<size_t>(phase)];
  }

 private:
  void classify(const TileKernel& kernel);
  void find_live(const TileCode& code);
  void assign_passes(const TileKernel& kernel);
  // What the items of a pass need as it is.
  std::vector<int> roots(const TileCode& code, size_t pass) const;
  void add_item_values(const TileCode& code, int reg, std::vector<bool>& wanted) const;
  std::vector<bool> wanted_by(const TileCode& code, size_t pass) const;
  // Held registers that pass `pass` reads, its own ones left out.
  std::vector<bool> kept_for(const TileCode& code, size_t pass) const;
  int cost(const TileCode& code, int reg) const;

  std::vector<TileValue> values_;
  std::vector<TileStore> stores_;
  int last_phase_ = 0, last_item_pass_ = 0;
  std::vector<std::vector<int>> item_values_, kept_values_, thread_values_, reductions_;
};

}  // namespace kiln::cuda
