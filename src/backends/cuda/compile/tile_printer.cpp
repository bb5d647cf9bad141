// A tile kernel is printed pass by pass: what is known once per thread, then a loop over the
// thread's items (groups of points, or its part of the row), in each item first what its lanes
// share, then a loop over the lanes, then stores; then reductions among threads, and the next pass.
#include "backends/cuda/compile/tile_printer.h"

#include <algorithm>
#include <optional>

#include "backends/cuda/compile/kernel_text.h"
#include "backends/cuda/compile/source_text.h"
#include "backends/cuda/compile/tile_expression.h"
#include "backends/cuda/compile/tile_indices.h"
#include "backends/cuda/compile/tile_reductions.h"
#include "backends/cuda/compile/tile_registers.h"

namespace kiln::cuda {
namespace {

using Kind = TileSchedule::Kind;

std::string num(int64_t value) { return std::to_string(value); }

class TilePrinter {
 public:
  explicit TilePrinter(const TileKernel& kernel)
      : kernel_(kernel),
        code_(kernel.code),
        schedule_(kernel.schedule),
        indices_(kernel),
        registers_(kernel),
        reductions_(kernel, registers_, out_) {
    for (int n = 0; n < kernel.argument_count(); ++n) declared_.push_back(index_ + " n" + num(n));
    for (size_t d : kernel.divisors()) {
      declared_.push_back("uint32 multiply" + num(static_cast<int64_t>(d)));
      declared_.push_back("int32 shift" + num(static_cast<int64_t>(d)));
    }
  }

  KernelSource print() {
    print_head();
    switch (schedule_.kind) {
      case Kind::kPoints: print_points(); break;
      case Kind::kTranspose: print_transpose(); break;
      default: print_rows(); break;
    }
    out_.close();
    return {out_.take(), kernel_.name};
  }

 private:
  // ---- the head

  void print_head() {
    out_.line("// " + kernel_.name + ": " + describe());
    const std::string code = print_tile_code(code_);
    for (size_t begin = 0; begin < code.size();) {
      const size_t end = std::min(code.find('\n', begin), code.size());
      if (end > begin) out_.line("//   " + code.substr(begin, end - begin));
      begin = end + 1;
    }
    out_.line("#include \"device/tile.h\"");
    out_.line("");
    std::vector<std::string> list;
    for (size_t i = 0; i < code_.inputs.size(); ++i) {
      const bool shared = std::find(kernel_.in_place.begin(), kernel_.in_place.end(),
                                    static_cast<int>(i)) != kernel_.in_place.end();
      list.push_back((shared ? "InOut<" : "In<") + std::string(stored_c_type(code_.inputs[i])) +
                     "> in" + num(static_cast<int64_t>(i)));
    }
    for (size_t i = 0; i < code_.outputs.size(); ++i) {
      list.push_back((kernel_.in_place.empty() ? "Out<" : "InOut<") +
                     std::string(stored_c_type(code_.outputs[i])) + "> out" +
                     num(static_cast<int64_t>(i)));
    }
    if (kernel_.may_fault()) list.push_back("InOut<uint32> fault");
    const std::string wait = wait_statement(list);
    list.insert(list.end(), declared_.begin(), declared_.end());
    std::string line = "KILN_KERNEL(" + num(schedule_.threads) + ") void " + kernel_.name + "(";
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string next = list[i] + (i + 1 == list.size() ? ") {" : ",");
      if (line.size() + next.size() > 98) {
        out_.line(line);
        line = "   ";
      }
      line += (i == 0 ? "" : " ") + next;
    }
    if (list.empty()) line += ") {";
    out_.open(line);
    out_.line(wait);
  }

  std::string describe() const {
    const std::string vector =
        schedule_.vector == 1 ? "" : ", " + num(schedule_.vector) + " elements at once";
    switch (schedule_.kind) {
      case Kind::kPoints:
        return "points" + vector +
               (schedule_.unroll == 1 ? "" : ", " + num(schedule_.unroll) + " groups a thread");
      case Kind::kTranspose: return "points, transposed through shared memory";
      default:
        return std::string(schedule_.kind == Kind::kRows ? "rows" : "columns") + ", " +
               num(schedule_.row_threads) + " threads each" + vector +
               (schedule_.held ? ", kept in registers" : "");
    }
  }

  // ---- values

  // The number that an element holds: on the host an element is an object of its own.
  static std::string number(DType dtype, const std::string& element) {
    return std::string(stored_c_type(dtype)) + "(" + element + ")";
  }
  std::string vector_load(int reg) const {
    const TileInstr& instr = registers_.instr(reg);
    const std::string from =
        indices_.pointer(registers_.operand(instr), static_cast<size_t>(values_[reg].access));
    if (!schedule_.tail) return "load<" + num(schedule_.vector) + ">(" + from + ")";
    return "load_some<" + std::string(stored_c_type(registers_.stored_type(instr))) + ", " +
           num(schedule_.vector) + ">(" + from + ", count)";
  }

  // Defines register `reg` with `target` ("const float r3" or "r3[v]"), inside a loop over lanes
  // when it is per lane.
  void define(int reg, const std::string& target) {
    const TileInstr& instr = registers_.instr(reg);
    const TileValue& value = values_[reg];
    const auto access = static_cast<size_t>(value.access);
    if (instr.op == TileOp::kLoad) {
      std::string stored;
      if (is_separate(reg)) {
        stored = separate(reg);
      } else if (is_staged(access)) {
        stored = number(registers_.stored_type(instr), staged_element(access));
      } else if (registers_.is_vector(reg)) {
        stored = "p" + num(reg) + ".at[v]";
      } else {
        stored = number(registers_.stored_type(instr),
                        indices_.element(registers_.operand(instr), access, value.per_lane));
      }
      out_.line(target + " = " + lane_of(instr.type, registers_.stored_type(instr), stored) + ";");
      return;
    }
    if (instr.op == TileOp::kGather) {
      const std::string valid = "valid" + num(reg);
      out_.line("bool " + valid + " = true;");
      std::string more;
      for (size_t k = 0; k < kernel_.accesses[access].axes.size(); ++k) {
        const TileKernel::Axis& axis = kernel_.accesses[access].axes[k];
        const std::string place = "g" + num(reg) + "_" + num(static_cast<int64_t>(k));
        out_.line("const int64 " + place + " = gather_index(" + registers_.reference(instr.src[k]) +
                  ", " + indices_.size(axis.size) + ", fault, kFaultIndex, " + valid + ");");
        more += (more.empty() ? "" : " + ") + place + " * " + indices_.size(axis.stride);
      }
      const std::string read = lane_of(
          instr.type, registers_.stored_type(instr),
          number(registers_.stored_type(instr),
                 indices_.element(registers_.operand(instr), access, value.per_lane, more)));
      out_.line(target + " = " + valid + " ? " + read + " : " + literal(instr.type, 0, 0) + ";");
      return;
    }
    out_.line(target + " = " + registers_.statement(reg) + ";");
  }

  // What is known once per thread before pass `phase`.
  void print_thread_values(int phase) {
    const std::vector<int>& list = values_.thread_values(phase);
    for (size_t i = 0; i < list.size();) {
      const int reg = list[i];
      if (!values_[reg].per_lane) {
        define(reg, "const " + registers_.type(reg) + " " + registers_.name(reg));
        ++i;
        continue;
      }
      size_t end = i;
      while (end < list.size() && values_[list[end]].per_lane) {
        const int lane = list[end++];
        if (registers_.is_vector(lane)) {
          out_.line("const " + registers_.pack_type(registers_.instr(lane)) + " p" + num(lane) +
                    " = " + vector_load(lane) + ";");
        }
        out_.line(registers_.type(lane) + " " + registers_.name(lane) + "[" +
                  num(schedule_.vector) + "];");
      }
      registers_.open_lanes(out_);
      for (; i < end; ++i) define(list[i], registers_.name(list[i]) + "[v]");
      out_.close();
    }
  }

  // ---- loads that run ahead of the computation, all items of a thread at once

  bool loads_ahead() const { return schedule_.held || schedule_.unroll > 1; }
  bool is_separate(int reg) const {
    return loads_ahead() && values_[reg].per_item && registers_.instr(reg).op == TileOp::kLoad;
  }
  std::string separate(int reg) const {
    return "p" + num(reg) + "[k]" + (values_[reg].per_lane ? ".at[v]" : "");
  }

  void print_loads_ahead(int phase) {
    std::vector<int> loads;
    for (int reg : values_.item_values(phase)) {
      if (is_separate(reg)) loads.push_back(reg);
    }
    if (loads.empty()) return;
    for (int reg : loads) {
      const TileInstr& instr = registers_.instr(reg);
      const std::string type = values_[reg].per_lane
                                   ? registers_.pack_type(instr)
                                   : std::string(stored_c_type(registers_.stored_type(instr)));
      out_.line(type + " p" + num(reg) + "[" + num(items_held_) + "];");
    }
    open_items();
    for (int reg : loads) {
      const auto access = static_cast<size_t>(values_[reg].access);
      const std::string from = registers_.operand(registers_.instr(reg));
      if (registers_.is_vector(reg)) {
        out_.line("p" + num(reg) + "[k] = " + vector_load(reg) + ";");
      } else if (values_[reg].per_lane) {
        registers_.open_lanes(out_);
        out_.line(separate(reg) + " = " + indices_.element(from, access, true) + ";");
        out_.close();
      } else {
        out_.line(separate(reg) + " = " + indices_.element(from, access, false) + ";");
      }
    }
    close_items();
  }

  // ---- items

  // Opens the loop over the thread's items and defines the indices of one.
  void open_items() {
    item_braces_ = 0;
    const auto open = [&](const std::string& text) {
      out_.open(text);
      ++item_braces_;
    };
    if (schedule_.kind == Kind::kPoints) {
      if (schedule_.unroll > 1) {
        out_.line("#pragma unroll");
        open("for (int32 k = 0; k < " + num(schedule_.unroll) + "; ++k) {");
        out_.line("const " + index_ + " x = first + k * " + num(schedule_.threads) + ";");
        open("if (x < " + items_ + ") {");
      }
      indices_.define(0, code_.rank, "x", out_);
      if (schedule_.tail) {
        out_.line("const int32 count = static_cast<int32>(" + indices_.extent(0) + " - i0 < " +
                  num(schedule_.vector) + " ? " + indices_.extent(0) +
                  " - i0 : " + num(schedule_.vector) + ");");
      }
      return;
    }
    if (schedule_.kind == Kind::kTranspose) {
      const int64_t down = schedule_.threads / 32;
      const std::string y = num(code_.rank - 2), x = num(code_.rank - 1);
      out_.line("#pragma unroll");
      open("for (int32 k = 0; k < " + num(kTransposeTile / down) + "; ++k) {");
      out_.line("const " + index_ + " i" + y + " = tile_y + warp() + k * " + num(down) + ";");
      out_.line("const " + index_ + " i" + x + " = tile_x + lane();");
      open("if (i" + y + " < " + indices_.extent(static_cast<size_t>(code_.rank) - 2) + " && i" +
           x + " < " + indices_.extent(static_cast<size_t>(code_.rank) - 1) + ") {");
      return;
    }
    const std::string threads = num(schedule_.row_threads);
    if (schedule_.held) {
      out_.line("#pragma unroll");
      open("for (int32 k = 0; k < " + num(items_held_) + "; ++k) {");
      out_.line("const " + index_ + " x = t + k * " + threads + ";");
      if (*known_items_ % schedule_.row_threads != 0) open("if (x < " + items_ + ") {");
    } else {
      out_.line("#pragma unroll 4");
      open("for (" + index_ + " x = t; x < " + items_ + "; x += " + threads + ") {");
    }
    indices_.define(static_cast<size_t>(kernel_.outer_rank()), static_cast<size_t>(code_.rank), "x",
                    out_);
  }
  void close_items() {
    for (; item_braces_ > 0; --item_braces_) out_.close();
  }

  // The items of pass `phase`: their values, what the reductions take of them, stores.
  void print_items(int phase) {
    const std::vector<int>& reductions = values_.reductions(phase);
    std::vector<const TileStore*> stores;
    if (phase == values_.last_item_pass()) {
      for (const TileStore& store : values_.stores()) {
        if (!store.per_row) stores.push_back(&store);
      }
    }
    if (reductions.empty() && stores.empty()) return;
    const std::vector<int>& own = values_.item_values(phase);
    for (int reg : own) {
      if (values_[reg].held && !is_separate(reg)) {
        out_.line(registers_.type(reg) + " h" + num(reg) + "[" + num(items_held_) + "]" +
                  (values_[reg].per_lane ? "[" + num(schedule_.vector) + "]" : "") + ";");
      }
    }
    open_items();
    bool lanes = false;
    const auto print_value = [&](int reg, bool kept) {
      const std::string target = "const " + registers_.type(reg) + " " + registers_.name(reg);
      const TileValue& value = values_[reg];
      const std::string held = "h" + num(reg) + "[k]" + (value.per_lane ? "[v]" : "");
      if (kept && !is_separate(reg)) {
        out_.line(target + " = " + held + ";");
        return;
      }
      define(reg, target);
      if (value.held && !is_separate(reg) && !kept)
        out_.line(held + " = " + registers_.name(reg) + ";");
    };
    // In two rounds: what the lanes share, then what each has for itself.
    for (const bool per_lane : {false, true}) {
      if (per_lane) {
        for (int reg : own) {
          lanes = lanes || values_[reg].per_lane;
          if (registers_.is_vector(reg) && !is_separate(reg) &&
              registers_.instr(reg).op == TileOp::kLoad) {
            out_.line("const " + registers_.pack_type(registers_.instr(reg)) + " p" + num(reg) +
                      " = " + vector_load(reg) + ";");
          }
        }
        for (int reg : values_.kept_values(phase)) lanes = lanes || values_[reg].per_lane;
        for (const TileStore* store : stores) lanes = open_store(*store) || lanes;
        lanes = lanes || (schedule_.vector > 1 && !reductions.empty());
        if (schedule_.vector == 1) lanes = false;
        if (lanes) registers_.open_lanes(out_);
      }
      for (int reg : values_.kept_values(phase)) {
        if (values_[reg].per_lane == per_lane) print_value(reg, true);
      }
      for (int reg : own) {
        if (values_[reg].per_lane == per_lane) print_value(reg, false);
      }
    }
    for (int result : reductions) reductions_.join(result);
    for (const TileStore* store : stores) print_lane_store(*store);
    if (lanes) out_.close();
    for (const TileStore* store : stores) close_store(*store);
    close_items();
  }

  // ---- stores

  bool is_vector_store(const TileStore& store) const {
    return kernel_.is_vector_access(static_cast<size_t>(store.access));
  }
  // Does the store differ among lanes? Otherwise one lane's store is enough.
  bool stores_lanes(const TileStore& store) const {
    const int dim = kernel_.vector_dim();
    return schedule_.vector > 1 && dim >= 0 &&
           !kernel_.accesses[static_cast<size_t>(store.access)]
                .strides[static_cast<size_t>(dim)]
                .is(0);
  }
  bool open_store(const TileStore& store) {
    if (is_vector_store(store)) {
      out_.line(registers_.pack_type(code_.instrs[store.instr]) + " w" + num(store.access) + ";");
    }
    return stores_lanes(store);
  }
  std::string stored_value(const TileStore& store) const {
    const TileInstr& instr = code_.instrs[store.instr];
    return stored_of(registers_.stored_type(instr), instr.type, registers_.reference(instr.src[0]));
  }
  void print_lane_store(const TileStore& store) {
    const TileInstr& instr = code_.instrs[store.instr];
    if (is_vector_store(store)) {
      out_.line("w" + num(store.access) + ".at[v] = " + stored_value(store) + ";");
    } else if (stores_lanes(store)) {
      std::string text =
          indices_.element(registers_.operand(instr), static_cast<size_t>(store.access), true) +
          " = " + stored_value(store) + ";";
      out_.line(guarded_ ? "if (active) " + text : text);
    } else if (schedule_.vector == 1 || !values_[instr.src[0]].per_lane) {
      return;  // after the lanes
    } else {
      out_.line(
          "if (v == 0" + std::string(guarded_ ? " && active" : "") + ") " +
          indices_.element(registers_.operand(instr), static_cast<size_t>(store.access), false) +
          " = " + stored_value(store) + ";");
    }
  }
  void close_store(const TileStore& store) {
    const TileInstr& instr = code_.instrs[store.instr];
    const auto access = static_cast<size_t>(store.access);
    std::string text;
    if (is_vector_store(store)) {
      const std::string to =
          indices_.pointer(registers_.operand(instr), access) + ", w" + num(store.access);
      text = schedule_.tail
                 ? "store_some<" + std::string(stored_c_type(registers_.stored_type(instr))) +
                       ", " + num(schedule_.vector) + ">(" + to + ", count);"
                 : "store<" + num(schedule_.vector) + ">(" + to + ");";
    } else if (!stores_lanes(store) && (schedule_.vector == 1 || !values_[instr.src[0]].per_lane)) {
      text = indices_.element(registers_.operand(instr), access, false) + " = " +
             stored_value(store) + ";";
    }
    if (!text.empty()) out_.line(guarded_ ? "if (active) " + text : text);
  }

  // ---- points

  void print_points() {
    std::optional<int64_t> known;
    items_ = indices_.step_count(0, static_cast<size_t>(code_.rank), &known);
    items_held_ = schedule_.unroll;
    const std::string per_block = num(int64_t{schedule_.threads} * schedule_.unroll);
    const std::string first = indices_.block() + " * " + per_block + " + thread_x()";
    if (code_.rank == 0) {
      out_.line("if (thread_x() != 0) return;");
    } else if (schedule_.unroll == 1) {
      out_.line("const " + index_ + " x = " + first + ";");
      out_.line("if (x >= " + items_ + ") return;");
    } else {
      out_.line("const " + index_ + " first = " + first + ";");
    }
    print_thread_values(0);
    if (code_.rank == 0) {
      print_point();
      return;
    }
    if (schedule_.unroll > 1) print_loads_ahead(0);
    print_items(0);
  }
  void print_point() {
    for (const TileStore& store : values_.stores()) close_store(store);
  }

  // ---- through shared memory

  bool is_staged(size_t access) const {
    if (schedule_.kind != Kind::kTranspose) return false;
    const auto& strides = kernel_.accesses[access].strides;
    return strides[strides.size() - 2].is(1) && !strides.back().is(1) && !strides.back().is(0);
  }
  std::string staged_element(size_t access) const {
    return "tile" + num(static_cast<int64_t>(access)) + "[lane() * " + num(kTransposeTile + 1) +
           " + warp() + k * " + num(schedule_.threads / 32) + "]";
  }

  void print_transpose() {
    const auto rank = static_cast<size_t>(code_.rank);
    const int64_t down = schedule_.threads / 32;
    std::vector<int> staged;
    for (int reg : values_.item_values(0)) {
      if (registers_.instr(reg).op == TileOp::kLoad &&
          is_staged(static_cast<size_t>(values_[reg].access))) {
        staged.push_back(reg);
      }
    }
    for (int reg : staged) {
      out_.line("KILN_SHARED(" +
                std::string(stored_c_type(registers_.stored_type(registers_.instr(reg)))) +
                ", tile" + num(values_[reg].access) + ", " +
                num(kTransposeTile * (kTransposeTile + 1)) + ");");
    }
    // i_y and i_x name elements; tile_y and tile_x the block's first ones.
    out_.line("const " + index_ + " x = " + indices_.block() + ";");
    const std::string y = num(code_.rank - 2), x = num(code_.rank - 1);
    indices_.define_tile(out_);
    print_thread_values(0);
    out_.line("#pragma unroll");
    out_.open("for (int32 k = 0; k < " + num(kTransposeTile / down) + "; ++k) {");
    out_.line("const int32 across = warp() + k * " + num(down) + ";");
    out_.line("const " + index_ + " i" + y + " = tile_y + lane();");
    out_.line("const " + index_ + " i" + x + " = tile_x + across;");
    out_.open("if (i" + y + " < " + indices_.extent(rank - 2) + " && i" + x + " < " +
              indices_.extent(rank - 1) + ") {");
    for (int reg : staged) {
      const auto access = static_cast<size_t>(values_[reg].access);
      out_.line("tile" + num(values_[reg].access) + "[across * " + num(kTransposeTile + 1) +
                " + lane()] = " +
                indices_.element(registers_.operand(registers_.instr(reg)), access, false) + ";");
    }
    out_.close();
    out_.close();
    out_.line("barrier();");
    print_items(0);
  }
  // ---- rows and columns

  int rows_per_block() const { return schedule_.threads / schedule_.row_threads; }
  void print_rows() {
    const bool columns = schedule_.kind == Kind::kColumns;
    const auto outer = static_cast<size_t>(kernel_.outer_rank());
    const auto rank = static_cast<size_t>(code_.rank);
    std::optional<int64_t> known_rows;
    const std::string rows = indices_.step_count(0, outer, &known_rows);
    items_ = indices_.step_count(outer, rank, &known_items_);
    if (schedule_.held) {
      items_held_ = (*known_items_ + schedule_.row_threads - 1) / schedule_.row_threads;
    }
    for (int phase = 0; phase <= values_.last_phase(); ++phase) {
      for (int result : values_.reductions(phase)) reductions_.declare_shared(result);
    }
    // t: the thread's place in its row; row: the row, or the group of rows side by side.
    const std::string per_block = num(rows_per_block());
    const std::string in_block =
        columns ? "thread_x() % " + per_block : "thread_x() / " + num(schedule_.row_threads);
    const std::string t =
        columns ? "thread_x() / " + per_block : "thread_x() % " + num(schedule_.row_threads);
    if (rows_per_block() == 1) {
      out_.line("const int32 t = thread_x();");
      out_.line("const " + index_ + " row = " + indices_.block() + ";");
    } else {
      out_.line("const int32 t = " + t + ";");
      const bool exact = known_rows && *known_rows % rows_per_block() == 0;
      // Threads that must take part in exchanges stay, on a row that is there.
      const bool alone = schedule_.row_threads == 1 || (!columns && schedule_.row_threads == 32);
      guarded_ = !exact && !alone;
      out_.line(std::string(guarded_ ? "" : "const ") + index_ + " row = " + indices_.block() +
                " * " + per_block + " + " + in_block + ";");
      if (guarded_) {
        out_.line("const bool active = row < " + rows + ";");
        out_.line("if (!active) row = " + rows + " - 1;");
      } else if (!exact) {
        out_.line("if (row >= " + rows + ") return;");
      }
    }
    if (outer > 0) indices_.define(0, outer, "row", out_);
    for (int phase = 0; phase <= values_.last_phase(); ++phase) {
      print_thread_values(phase);
      for (int result : values_.reductions(phase)) reductions_.open(result);
      if (loads_ahead()) print_loads_ahead(phase);
      print_items(phase);
      for (int result : values_.reductions(phase)) reductions_.close(result);
    }
    print_row_stores();
  }

  void print_row_stores() {
    std::vector<const TileStore*> stores;
    for (const TileStore& store : values_.stores()) {
      if (store.per_row) stores.push_back(&store);
    }
    if (stores.empty()) return;
    const bool guarded = guarded_;
    if (schedule_.row_threads > 1 || guarded) {
      out_.open(std::string("if (") + (schedule_.row_threads > 1 ? "t == 0" : "") +
                (guarded && schedule_.row_threads > 1 ? " && " : "") + (guarded ? "active" : "") +
                ") {");
    }
    guarded_ = false;
    bool lanes = false;
    for (const TileStore* store : stores) lanes = open_store(*store) || lanes;
    if (lanes) {
      registers_.open_lanes(out_);
      for (const TileStore* store : stores) print_lane_store(*store);
      out_.close();
    }
    for (const TileStore* store : stores) close_store(*store);
    guarded_ = guarded;
    if (schedule_.row_threads > 1 || guarded) out_.close();
  }

  const TileKernel& kernel_;
  const TileCode& code_;
  const TileSchedule& schedule_;
  const TileIndices indices_;
  const TileRegisters registers_;
  const TileValues& values_ = registers_.values();
  const std::string index_ = indices_.type();
  std::vector<std::string> declared_;
  SourceText out_;
  TileReductions reductions_;
  std::string items_;  // how many the thread's loop runs over
  std::optional<int64_t> known_items_;
  int64_t items_held_ = 1;  // items of a thread, when that is known
  int item_braces_ = 0;
  bool guarded_ = false;  // some threads work on a row that is not theirs: `active` is false
};

Result<KernelSource> print(const Json& params) {
  KILN_ASSIGN_OR_RETURN(const TileKernel kernel, TileKernel::from_json(params));
  return print_tile_kernel(kernel);
}

KILN_CUDA_KERNEL_FAMILY(tile, "tile", print);

}  // namespace

KernelSource print_tile_kernel(const TileKernel& kernel) { return TilePrinter(kernel).print(); }

}  // namespace kiln::cuda
