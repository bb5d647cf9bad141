#include "backends/cuda/compile/tile_schedule.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "backends/cuda/compile/tile_expression.h"
#include "backends/cuda/compile/tile_form.h"
#include "backends/cuda/compile/tile_values.h"

namespace kiln::cuda {
namespace {

using Kind = TileSchedule::Kind;

// Threads that keep a multiprocessor busy.
constexpr int64_t kBusyThreads = 1024;
constexpr int kMaxBlock = 1024;
// 32-bit registers of a thread for what it holds of a row.
constexpr int64_t kHeldRegisters = 64;
// Threads of a block that reduces columns, and the most where columns are long and few.
constexpr int64_t kColumnThreads = 256, kMostColumnThreads = 512;
// What the caches of the device hold and fetch as one.
constexpr int64_t kLineBytes = 128, kSectorBytes = 32;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
int64_t power_of_two_from(int64_t n) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(n, 1))));
}

// A size as far as it is known: the value, or what it is at most.
struct Known {
  bool exact = true;
  int64_t value = 1;  // exact, or the largest that is possible
};
Known product(const std::vector<DimExpr>& extents, size_t begin, size_t end,
              const SymbolRanges& symbols) {
  Known result;
  constexpr int64_t kHuge = int64_t{1} << 62;
  for (size_t d = begin; d < end; ++d) {
    int64_t value = 0;
    if (extents[d].is_constant()) {
      value = extents[d].value();
    } else {
      result.exact = false;
      value = extents[d].range(symbols).max;
    }
    if (__builtin_mul_overflow(result.value, value, &result.value)) result.value = kHuge;
    result.value = std::min(result.value, kHuge);
  }
  return result;
}

class Scheduler {
 public:
  Scheduler(TileParams& form, const TileSurroundings& around, std::string name)
      : form_(form), around_(around) {
    kernel_.name = std::move(name);
    kernel_.in_place = around.in_place;
  }

  Result<TileKernel> make() {
    if (form_.code.row_rank > 0) {
      choose_rows_or_columns();
    } else {
      find_transposition();
    }
    describe_sizes();
    schedule().wide = !fits_narrow();
    switch (schedule().kind) {
      case Kind::kPoints: plan_points(); break;
      case Kind::kTranspose: schedule().threads = 256; break;
      case Kind::kRows: plan_rows(); break;
      case Kind::kColumns: plan_columns(); break;
    }
    if (kernel_.argument_count() + 2 * static_cast<int>(kernel_.divisors().size()) >
        kMaxTileArguments) {
      return Status::error("K2322", "no tile program: too many sizes that are not known");
    }
    return std::move(kernel_);
  }

 private:
  TileSchedule& schedule() { return kernel_.schedule; }
  size_t rank() const { return form_.extents.size(); }
  size_t outer() const { return rank() - static_cast<size_t>(form_.code.row_rank); }
  const SymbolRanges& symbols() const { return *around_.symbols; }

  // Calls visit(instr, access) for memory statements.
  template <class Visit>
  void for_memory(Visit visit) const {
    size_t next = 0;
    for (const TileInstr& instr : form_.code.instrs) {
      if (tile_op_info(instr.op).kind != TileOpKind::kMemory) continue;
      visit(instr, form_.accesses[next++]);
    }
  }
  DType dtype_of(const TileInstr& instr) const {
    const auto at = static_cast<size_t>(instr.operand);
    return instr.op == TileOp::kStore ? form_.code.outputs[at] : form_.code.inputs[at];
  }
  int64_t bytes_of(const TileInstr& instr) const {
    return static_cast<int64_t>(dtype_bytes(dtype_of(instr)));
  }
  int64_t multiprocessors() const { return std::max(around_.device->multiprocessors, 1); }

  // Extents and accesses as the kernel knows them.
  void describe_sizes() {
    std::vector<std::string> arguments;
    const auto size = [&](const DimExpr& expr) {
      if (expr.is_constant()) return TileKernel::Size(expr.value());
      const std::string text = expr.to_string();
      auto found = std::find(arguments.begin(), arguments.end(), text);
      if (found == arguments.end()) found = arguments.insert(found, text);
      return TileKernel::Size::of_argument(static_cast<int>(found - arguments.begin()));
    };
    kernel_.code = form_.code;
    kernel_.extents.clear();
    kernel_.accesses.clear();
    for (const DimExpr& extent : form_.extents) kernel_.extents.push_back(size(extent));
    for (const TileParams::Access& access : form_.accesses) {
      TileKernel::Access known;
      known.offset = size(access.offset);
      for (const DimExpr& stride : access.strides) known.strides.push_back(size(stride));
      for (const TileParams::Axis& axis : access.axes) {
        known.axes.push_back({size(axis.size), size(axis.stride)});
      }
      kernel_.accesses.push_back(std::move(known));
    }
  }

  // Can indices and offsets have 32 bits at all sizes?
  bool fits_narrow() const {
    const auto below = [](int64_t value) { return value < kNarrowLimit; };
    if (!below(product(form_.extents, 0, rank(), symbols()).value)) return false;
    bool fits = true;
    for_memory([&](const TileInstr&, const TileParams::Access& access) {
      DimExpr reach = access.offset;
      const auto add = [&](const DimExpr& extent, const DimExpr& stride) {
        const DimRange range = stride.range(symbols());
        fits = fits && range.min > -kNarrowLimit && range.max < kNarrowLimit;
        // Strides of either sign: bounded by the sum of what each dim reaches.
        if (stride.is_constant() && stride.value() < 0) {
          reach += extent * (-stride);
        } else {
          reach += extent * stride;
        }
      };
      for (size_t d = 0; d < access.strides.size(); ++d) add(form_.extents[d], access.strides[d]);
      for (const TileParams::Axis& axis : access.axes) add(axis.size, axis.stride);
      const DimRange range = reach.range(symbols());
      fits = fits && range.min > -kNarrowLimit && range.max < kNarrowLimit;
    });
    return fits;
  }

  // ---- vectors

  // The widest vectors along `dim` that every access along memory allows, up to `most` elements.
  int vector_along(size_t dim, int64_t most, bool partial_end) const {
    int64_t smallest = 16, largest = 0;
    const bool inner_end = !partial_end;
    int64_t unit = inner_end ? known_divisor(form_.extents[dim]) : 0;
    for_memory([&](const TileInstr& instr, const TileParams::Access& access) {
      if (!access.strides[dim].is_value(1) || !access.axes.empty()) return;
      smallest = std::min(smallest, bytes_of(instr));
      largest = std::max(largest, bytes_of(instr));
    });
    if (largest == 0) return 1;
    int64_t vector =
        std::min<int64_t>(most, largest == 1 ? 16 : 16 / std::max<int64_t>(smallest, 2));
    if (largest == 8) vector = std::min<int64_t>(vector, 4);
    while (vector > 1 && !(unit % vector == 0 && is_aligned(dim, vector))) vector /= 2;
    return static_cast<int>(std::max<int64_t>(vector, 1));
  }

  bool is_aligned(size_t dim, int64_t vector) const {
    bool aligned = true;
    for_memory([&](const TileInstr& instr, const TileParams::Access& access) {
      if (!access.strides[dim].is_value(1) || !access.axes.empty()) return;
      const int64_t size = bytes_of(instr);
      const int64_t unit = std::min(vector, std::max<int64_t>(16 / size, 1));
      const size_t operand = static_cast<size_t>(instr.operand) +
                             (instr.op == TileOp::kStore ? form_.code.inputs.size() : 0);
      aligned = aligned && around_.alignments[operand] % (unit * size) == 0 &&
                known_divisor(access.offset) % unit == 0;
      for (size_t d = 0; d < access.strides.size(); ++d) {
        if (d != dim) aligned = aligned && known_divisor(access.strides[d]) % unit == 0;
      }
    });
    return aligned;
  }

  // Fewer elements a thread where there are few of them, down to 4 bytes at once.
  void spread(int64_t elements) {
    int64_t largest = 1;
    for_memory([&](const TileInstr& instr, const TileParams::Access&) {
      largest = std::max(largest, bytes_of(instr));
    });
    while (schedule().vector > 1 && schedule().vector / 2 * largest >= 4 &&
           elements / schedule().vector < multiprocessors() * 512) {
      schedule().vector /= 2;
    }
  }

  // ---- points

  void plan_points() {
    TileSchedule& s = schedule();
    if (rank() == 0) {
      s.threads = 32;
      return;
    }
    const bool flat = rank() == 1;
    const Known points = product(form_.extents, 0, rank(), symbols());
    // Also of a size that is known: one kernel serves all.
    if (flat && kernel_.extents[0].known()) {
      kernel_.extents[0] = TileKernel::Size::of_argument(kernel_.argument_count());
    }
    s.vector = vector_along(rank() - 1, 16, flat && takes_partial_vectors());
    if (points.exact) spread(points.value);
    s.tail = flat && s.vector > 1 && known_divisor(form_.extents[0]) % s.vector != 0;
    const int64_t threads = ceil_div(points.value, s.vector);
    const int64_t busy = multiprocessors() * kBusyThreads;
    s.threads = points.exact && threads < busy / 4 ? 128 : 256;
    // Enough bytes on their way from each thread, where there is much to do.
    int64_t bytes = 0;
    for_memory([&](const TileInstr& instr, const TileParams::Access& access) {
      if (instr.op == TileOp::kLoad && !access.strides.back().is_value(0)) {
        bytes += bytes_of(instr) * s.vector;
      }
    });
    while (s.unroll < 4 && bytes > 0 && bytes * s.unroll * 2 <= 32 &&
           (!points.exact || threads >= busy * 4 * s.unroll)) {
      s.unroll *= 2;
    }
    if (!points.exact && points.value < busy) s.unroll = 1;
    if (s.unroll > 1 && !loads_anything()) s.unroll = 1;
  }

  // May a vector be partly beyond the end of the only dim?
  bool takes_partial_vectors() const {
    return !kernel_.may_fault() && std::all_of(form_.accesses.begin(), form_.accesses.end(),
                                               [](const TileParams::Access& access) {
                                                 return access.strides[0].is_value(0) ||
                                                        access.strides[0].is_value(1);
                                               });
  }

  bool loads_anything() const {
    bool any = false;
    for_memory([&](const TileInstr& instr, const TileParams::Access&) {
      any = any || instr.op == TileOp::kLoad;
    });
    return any;
  }

  // Loads that run along another dim than the stores go through shared memory.
  void find_transposition() {
    if (rank() < 2) return;
    const size_t x = rank() - 1;
    bool stores_along = true;
    std::vector<int> votes(rank(), 0);
    for_memory([&](const TileInstr& instr, const TileParams::Access& access) {
      if (instr.op == TileOp::kStore) {
        stores_along = stores_along && access.strides[x].is_value(1);
        return;
      }
      const DimExpr& stride = access.strides[x];
      if (instr.op != TileOp::kLoad || stride.is_value(0) || stride.is_value(1)) return;
      for (size_t d = 0; d < x; ++d) {
        if (access.strides[d].is_value(1)) ++votes[d];
      }
    });
    const auto most = std::max_element(votes.begin(), votes.end());
    if (!stores_along || *most == 0) return;
    const auto y = static_cast<size_t>(most - votes.begin());
    // Tiles of narrow dims would be mostly empty.
    for (size_t d : {x, y}) {
      if (form_.extents[d].is_constant() && form_.extents[d].value() < 16) return;
    }
    std::vector<size_t> order;
    for (size_t d = 0; d < rank(); ++d) {
      if (d != x && d != y) order.push_back(d);
    }
    order.push_back(y);
    order.push_back(x);
    form_ = reordered(form_, order);
    schedule().kind = Kind::kTranspose;
  }

  // ---- rows

  // By what runs along memory: the row, or the dims outside of it.
  void choose_rows_or_columns() {
    schedule().kind = Kind::kRows;
    if (outer() == 0) return;
    int64_t along_row = 0, along_outer = 0;
    for_memory([&](const TileInstr& instr, const TileParams::Access& access) {
      const auto moves = std::count_if(access.strides.begin(), access.strides.end(),
                                       [](const DimExpr& s) { return !s.is_value(0); });
      if (instr.op == TileOp::kGather) return;
      // What moves along most dims is read most.
      const int64_t weight = bytes_of(instr) << (2 * std::min<std::ptrdiff_t>(moves, 8));
      if (access.strides[rank() - 1].is_value(1)) along_row += weight;
      if (access.strides[outer() - 1].is_value(1)) along_outer += weight;
    });
    if (along_outer > along_row) schedule().kind = Kind::kColumns;
  }

  // Bytes of registers that the values of one row position need between passes.
  int64_t held_bytes() const {
    TileKernel trial = kernel_;
    trial.schedule.held = true;
    const TileValues values(trial);
    int64_t bytes = 0;
    for (const TileInstr& instr : kernel_.code.instrs) {
      if (instr.dst < 0 || !values[instr.dst].live || !values[instr.dst].per_item) continue;
      const LaneType lane = kernel_.code.registers[static_cast<size_t>(instr.dst)];
      if (instr.op == TileOp::kLoad && (values[instr.dst].held || values[instr.dst].phase == 0)) {
        bytes += bytes_of(instr);
      } else if (values[instr.dst].held) {
        bytes += static_cast<int64_t>(lane_bytes(lane));
      }
    }
    return bytes;
  }
  int64_t held_registers() const { return ceil_div(held_bytes(), 4); }

  void plan_rows() {
    TileSchedule& s = schedule();
    const Known rows = product(form_.extents, 0, outer(), symbols());
    const Known row = product(form_.extents, outer(), rank(), symbols());
    s.vector = vector_along(rank() - 1, 16, false);
    if (rows.exact && row.exact) spread(rows.value * row.value);
    const int64_t wanted = multiprocessors() * kBusyThreads;
    if (!row.exact || row.value == 0) {
      // Read again in each pass.
      s.row_threads = row.value <= 1024 ? 32 : 256;
      if (rows.exact && rows.value * s.row_threads < wanted) {
        s.row_threads = row.value <= 1024 ? 128 : 512;
      }
      if (row.value == 0) s.row_threads = 32;
      s.threads = std::max(s.row_threads, 128);
      return;
    }
    const int64_t groups = row.value / s.vector;
    // Of how many elements a thread can hold its part.
    const int64_t per_thread =
        std::max<int64_t>(kHeldRegisters / std::max<int64_t>(held_registers(), 1), 1);
    const int64_t items = std::max<int64_t>(per_thread / s.vector, 1);
    int64_t threads = ceil_div(groups, items);
    if (rows.exact)
      threads = std::max(threads, std::min(groups, wanted / std::max<int64_t>(rows.value, 1)));
    threads = std::max(threads, std::min<int64_t>(power_of_two_from(groups), 8));
    if (threads <= 32) {
      // The power of two that leaves the fewest threads without work.
      int64_t best = power_of_two_from(threads), best_work = INT64_MAX;
      for (int64_t t = best; t <= 32; t *= 2) {
        const int64_t work = ceil_div(groups, t) * t;
        if (work < best_work) {
          best = t;
          best_work = work;
        }
      }
      threads = best;
      s.held = true;
    } else {
      const int64_t per_item = ceil_div(groups, std::min<int64_t>(threads, kMaxBlock));
      threads = std::min<int64_t>(round_up(ceil_div(groups, per_item), 32), kMaxBlock);
      s.held = per_item <= items;
      if (!s.held) threads = std::min<int64_t>(threads, 512);
    }
    s.row_threads = static_cast<int>(threads);
    s.threads = std::max(s.row_threads, 128);
    if (s.row_threads > 32) s.threads = s.row_threads;
    while (rows.exact && s.threads > 32 && s.threads / 2 >= s.row_threads &&
           rows.value * s.row_threads / s.threads < multiprocessors()) {
      s.threads /= 2;
    }
  }

  void plan_columns() {
    TileSchedule& s = schedule();
    const Known columns = product(form_.extents, 0, outer(), symbols());
    const Known row = product(form_.extents, outer(), rank(), symbols());
    s.vector = vector_along(outer() - 1, 8, false);
    int64_t largest = 1;
    for_memory([&](const TileInstr& instr, const TileParams::Access&) {
      largest = std::max(largest, bytes_of(instr));
    });
    // Threads side by side read a line of the cache; a sector of it where columns are few.
    const int64_t bytes = s.vector * largest;
    int64_t across = std::clamp<int64_t>(power_of_two_from(kLineBytes / bytes), 1, 32);
    const auto blocks = [&] { return ceil_div(ceil_div(columns.value, s.vector), across); };
    while (columns.exact && across > 1 && across * bytes > kSectorBytes &&
           blocks() * 4 < multiprocessors() * 3) {
      across /= 2;
    }
    // Threads that share a column: each has several loads on their way.
    int64_t down = row.exact ? power_of_two_from(ceil_div(row.value, 8)) : kColumnThreads;
    while (row.exact && columns.exact && down * 4 <= row.value &&
           blocks() * across * down < multiprocessors() * kBusyThreads) {
      down *= 2;
    }
    while (down > 1 && across * down > (row.exact ? kMostColumnThreads : kColumnThreads)) down /= 2;
    while (across * down < 128 && (!columns.exact || blocks() >= 2 * multiprocessors()))
      across *= 2;
    down = std::max(down, 32 / across);
    s.row_threads = static_cast<int>(down);
    s.threads = static_cast<int>(across * down);
    if (!row.exact || row.value == 0) return;
    // Loaded all at once; what is passed over again is not read again.
    s.held = ceil_div(row.value, down) * s.vector * held_bytes() <= kHeldRegisters * 4;
  }

  TileParams& form_;
  const TileSurroundings& around_;
  TileKernel kernel_;
};

}  // namespace

Result<TileKernel> make_tile_kernel(TileParams& form, const TileSurroundings& around,
                                    const std::string& name) {
  return Scheduler(form, around, name).make();
}

}  // namespace kiln::cuda
