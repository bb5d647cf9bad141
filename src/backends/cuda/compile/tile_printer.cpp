// A tile kernel is printed pass by pass: what is known once per thread, then a loop over the
// thread's items (groups of points, or its part of the row), in each item first what its lanes
// share, then a loop over the lanes, then stores; then reductions among threads, and the next pass.
#include "backends/cuda/compile/tile_printer.h"

#include <algorithm>
#include <optional>

#include "backends/cuda/compile/source_text.h"
#include "backends/cuda/compile/tile_expression.h"
#include "backends/cuda/compile/tile_values.h"

namespace kiln::cuda {
namespace {

using Kind = TileSchedule::Kind;
using Size = TileKernel::Size;

std::string num(int64_t value) { return std::to_string(value); }

class TilePrinter {
 public:
  explicit TilePrinter(const TileKernel& kernel)
      : kernel_(kernel), code_(kernel.code), schedule_(kernel.schedule), values_(kernel) {
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
  // ---- sizes and indices as text

  static std::string size(const Size& size) {
    return size.known() ? int_literal(size.value) : "n" + num(size.argument);
  }

  std::optional<int64_t> known_steps(size_t d) const {
    if (!kernel_.extents[d].known()) return {};
    const int64_t step = kernel_.step_size(d);
    return std::max<int64_t>((kernel_.extents[d].value + step - 1) / step, 1);
  }

  std::string extent(size_t d) const { return size(kernel_.extents[d]); }

  std::string steps(size_t d) const {
    if (const auto known = known_steps(d)) return num(*known);
    const int64_t step = kernel_.step_size(d);
    if (step == 1) return extent(d);
    const bool partial = schedule_.tail || schedule_.kind == Kind::kTranspose;
    if (!partial) return "(" + extent(d) + " / " + num(step) + ")";
    return "((" + extent(d) + " + " + num(step - 1) + ") / " + num(step) + ")";
  }

  // Product of the steps of dims [begin, end), and its value where it is known. An empty dim makes
  // it zero.
  std::string step_count(size_t begin, size_t end, std::optional<int64_t>* known) const {
    int64_t product = 1;
    std::string text;
    bool all = true;
    for (size_t d = begin; d < end; ++d) {
      if (kernel_.extents[d].known()) {
        product *= kernel_.extents[d].is(0) ? 0 : *known_steps(d);
      } else {
        all = false;
        text += (text.empty() ? "" : " * ") + steps(d);
      }
    }
    known->reset();
    if (all) *known = product;
    if (all) return num(product);
    return product == 1 ? text : text + " * " + num(product);
  }

  // Defines i_d for dims [begin, end) from the counter `counter`, the last dim running fastest.
  void define_indices(size_t begin, size_t end, std::string counter) {
    for (size_t d = end; d-- > begin;) {
      const std::string n = num(static_cast<int64_t>(d));
      const int64_t size = kernel_.step_size(d);
      const std::string times = size == 1 ? "" : " * " + num(size);
      if (d == begin) {
        out_.line("const " + index_ + " i" + n + " = " + counter + times + ";");
        return;
      }
      std::string quotient = "divide(" + counter + ", " + steps(d) + ")";
      if (const auto known = known_steps(d)) {
        quotient = "divide_by<" + num(*known) + ">(" + counter + ")";
      } else if (!schedule_.wide) {
        quotient = "divide(" + counter + ", multiply" + n + ", shift" + n + ")";
      }
      out_.line("const " + index_ + " q" + n + " = " + quotient + ";");
      const std::string rest = counter + " - q" + n + " * " + steps(d);
      out_.line("const " + index_ + " i" + n + " = " + (times.empty() ? rest : "(" + rest + ")") +
                times + ";");
      counter = "q" + n;
    }
  }

  std::string block() const {
    return schedule_.wide ? "block_x()" : "static_cast<int32>(block_x())";
  }

  std::string stride(size_t access, size_t d) const {
    return size(kernel_.accesses[access].strides[d]);
  }

  // The address of lane 0 of an access, relative to the operand; "" for 0.
  std::string offset(size_t access) const {
    std::string text;
    const auto add = [&](const std::string& term) { text += (text.empty() ? "" : " + ") + term; };
    const TileKernel::Access& at = kernel_.accesses[access];
    if (!at.offset.is(0)) add(size(at.offset));
    for (size_t d = 0; d < at.strides.size(); ++d) {
      if (at.strides[d].is(0)) continue;
      const std::string i = "i" + num(static_cast<int64_t>(d));
      add(at.strides[d].is(1) ? i : i + " * " + stride(access, d));
    }
    return text;
  }
  // What lane v adds.
  std::string lane_offset(size_t access) const {
    const int dim = kernel_.vector_dim();
    if (schedule_.vector == 1 || dim < 0) return "";
    const Size& known = kernel_.accesses[access].strides[static_cast<size_t>(dim)];
    if (known.is(0)) return "";
    return known.is(1) ? "v" : "v * " + stride(access, static_cast<size_t>(dim));
  }
  std::string element(const std::string& operand, size_t access, bool lane,
                      const std::string& more = "") const {
    std::string text = offset(access);
    const auto add = [&](const std::string& term) {
      if (!term.empty()) text += (text.empty() ? "" : " + ") + term;
    };
    if (lane) add(lane_offset(access));
    add(more);
    return operand + "[" + (text.empty() ? "0" : text) + "]";
  }
  // The number that an element holds: on the host an element is an object of its own.
  static std::string number(DType dtype, const std::string& element) {
    return std::string(stored_c_type(dtype)) + "(" + element + ")";
  }
  std::string pointer(const std::string& operand, size_t access) const {
    const std::string text = offset(access);
    return text.empty()
               ? operand
               : operand + " + " + (text.find(' ') == std::string::npos ? text : "(" + text + ")");
  }

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

  // ---- values as text

  std::string name(int reg) const { return "r" + num(reg); }

  // A register as the statement being printed sees it; v is the lane's number.
  std::string reference(int reg) const {
    const TileValue& value = values_[reg];
    return !value.per_item && value.per_lane ? name(reg) + "[v]" : name(reg);
  }

  const TileInstr& instr_of(int reg) const { return code_.instrs[values_[reg].instr]; }

  std::string statement(int reg) const {
    const TileInstr& instr = instr_of(reg);
    if (instr.op == TileOp::kIota) {
      const std::string lane = values_[reg].per_lane ? " + v" : "";
      return "static_cast<int64>(i" + num(instr.integer) + lane + ")";
    }
    std::vector<std::string> operands;
    for (int32_t source : instr.src) {
      if (source >= 0) operands.push_back(reference(source));
    }
    return expression(instr, code_.registers[static_cast<size_t>(reg)], operands);
  }

  std::string operand_name(const TileInstr& instr) const {
    return (instr.op == TileOp::kStore ? "out" : "in") + num(instr.operand);
  }
  DType stored_type(const TileInstr& instr) const {
    const auto at = static_cast<size_t>(instr.operand);
    return instr.op == TileOp::kStore ? code_.outputs[at] : code_.inputs[at];
  }
  bool is_vector(int reg) const {
    const TileValue& value = values_[reg];
    return value.access >= 0 && value.per_lane &&
           kernel_.is_vector_access(static_cast<size_t>(value.access));
  }
  std::string pack_type(const TileInstr& instr) const {
    return "Pack<" + std::string(stored_c_type(stored_type(instr))) + ", " + num(schedule_.vector) +
           ">";
  }
  std::string vector_load(int reg) const {
    const TileInstr& instr = instr_of(reg);
    const std::string from = pointer(operand_name(instr), static_cast<size_t>(values_[reg].access));
    if (!schedule_.tail) return "load<" + num(schedule_.vector) + ">(" + from + ")";
    return "load_some<" + std::string(stored_c_type(stored_type(instr))) + ", " +
           num(schedule_.vector) + ">(" + from + ", count)";
  }

  // Defines register `reg` with `target` ("const float r3" or "r3[v]"), inside a loop over lanes
  // when it is per lane.
  void define(int reg, const std::string& target) {
    const TileInstr& instr = instr_of(reg);
    const TileValue& value = values_[reg];
    const auto access = static_cast<size_t>(value.access);
    if (instr.op == TileOp::kLoad) {
      std::string stored;
      if (is_separate(reg)) {
        stored = separate(reg);
      } else if (is_staged(access)) {
        stored = number(stored_type(instr), staged_element(access));
      } else if (is_vector(reg)) {
        stored = "p" + num(reg) + ".at[v]";
      } else {
        stored = number(stored_type(instr), element(operand_name(instr), access, value.per_lane));
      }
      out_.line(target + " = " + lane_of(instr.type, stored_type(instr), stored) + ";");
      return;
    }
    if (instr.op == TileOp::kGather) {
      const std::string valid = "valid" + num(reg);
      out_.line("bool " + valid + " = true;");
      std::string more;
      for (size_t k = 0; k < kernel_.accesses[access].axes.size(); ++k) {
        const TileKernel::Axis& axis = kernel_.accesses[access].axes[k];
        const std::string place = "g" + num(reg) + "_" + num(static_cast<int64_t>(k));
        out_.line("const int64 " + place + " = gather_index(" + reference(instr.src[k]) + ", " +
                  size(axis.size) + ", fault, kFaultIndex, " + valid + ");");
        more += (more.empty() ? "" : " + ") + place + " * " + size(axis.stride);
      }
      const std::string read = lane_of(
          instr.type, stored_type(instr),
          number(stored_type(instr), element(operand_name(instr), access, value.per_lane, more)));
      out_.line(target + " = " + valid + " ? " + read + " : " + literal(instr.type, 0, 0) + ";");
      return;
    }
    out_.line(target + " = " + statement(reg) + ";");
  }

  std::string type_of(int reg) const {
    return std::string(lane_c_type(code_.registers[static_cast<size_t>(reg)]));
  }

  void open_lanes() {
    out_.line("#pragma unroll");
    out_.open("for (int32 v = 0; v < " + num(schedule_.vector) + "; ++v) {");
  }

  // What is known once per thread before pass `phase`.
  void print_thread_values(int phase) {
    const std::vector<int>& list = values_.thread_values(phase);
    for (size_t i = 0; i < list.size();) {
      const int reg = list[i];
      if (!values_[reg].per_lane) {
        define(reg, "const " + type_of(reg) + " " + name(reg));
        ++i;
        continue;
      }
      size_t end = i;
      while (end < list.size() && values_[list[end]].per_lane) {
        const int lane = list[end++];
        if (is_vector(lane)) {
          out_.line("const " + pack_type(instr_of(lane)) + " p" + num(lane) + " = " +
                    vector_load(lane) + ";");
        }
        out_.line(type_of(lane) + " " + name(lane) + "[" + num(schedule_.vector) + "];");
      }
      open_lanes();
      for (; i < end; ++i) define(list[i], name(list[i]) + "[v]");
      out_.close();
    }
  }

  // ---- loads that run ahead of the computation, all items of a thread at once

  bool loads_ahead() const { return schedule_.held || schedule_.unroll > 1; }
  bool is_separate(int reg) const {
    return loads_ahead() && values_[reg].per_item && instr_of(reg).op == TileOp::kLoad;
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
      const TileInstr& instr = instr_of(reg);
      const std::string type =
          values_[reg].per_lane ? pack_type(instr) : std::string(stored_c_type(stored_type(instr)));
      out_.line(type + " p" + num(reg) + "[" + num(items_held_) + "];");
    }
    open_items();
    for (int reg : loads) {
      const auto access = static_cast<size_t>(values_[reg].access);
      const std::string from = operand_name(instr_of(reg));
      if (is_vector(reg)) {
        out_.line("p" + num(reg) + "[k] = " + vector_load(reg) + ";");
      } else if (values_[reg].per_lane) {
        open_lanes();
        out_.line(separate(reg) + " = " + element(from, access, true) + ";");
        out_.close();
      } else {
        out_.line(separate(reg) + " = " + element(from, access, false) + ";");
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
      define_indices(0, code_.rank, "x");
      if (schedule_.tail) {
        out_.line("const int32 count = static_cast<int32>(" + extent(0) + " - i0 < " +
                  num(schedule_.vector) + " ? " + extent(0) + " - i0 : " + num(schedule_.vector) +
                  ");");
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
      open("if (i" + y + " < " + extent(static_cast<size_t>(code_.rank) - 2) + " && i" + x + " < " +
           extent(static_cast<size_t>(code_.rank) - 1) + ") {");
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
    define_indices(static_cast<size_t>(kernel_.outer_rank()), static_cast<size_t>(code_.rank), "x");
  }
  void close_items() {
    for (; item_braces_ > 0; --item_braces_) out_.close();
  }

  // The items of pass `phase`: their values, what the reductions take of them, stores.
  void print_items(int phase) {
    const std::vector<int>& reductions = values_.reductions(phase);
    std::vector<const TileStore*> stores;
    if (phase == values_.last_phase()) {
      for (const TileStore& store : values_.stores()) {
        if (!store.per_row) stores.push_back(&store);
      }
    }
    if (reductions.empty() && stores.empty()) return;
    const std::vector<int>& own = values_.item_values(phase);
    for (int reg : own) {
      if (values_[reg].held && !is_separate(reg)) {
        out_.line(type_of(reg) + " h" + num(reg) + "[" + num(items_held_) + "]" +
                  (values_[reg].per_lane ? "[" + num(schedule_.vector) + "]" : "") + ";");
      }
    }
    open_items();
    bool lanes = false;
    const auto print_value = [&](int reg, bool kept) {
      const std::string target = "const " + type_of(reg) + " " + name(reg);
      const TileValue& value = values_[reg];
      const std::string held = "h" + num(reg) + "[k]" + (value.per_lane ? "[v]" : "");
      if (kept && !is_separate(reg)) {
        out_.line(target + " = " + held + ";");
        return;
      }
      define(reg, target);
      if (value.held && !is_separate(reg) && !kept) out_.line(held + " = " + name(reg) + ";");
    };
    // In two rounds: what the lanes share, then what each has for itself.
    for (const bool per_lane : {false, true}) {
      if (per_lane) {
        for (int reg : own) {
          lanes = lanes || values_[reg].per_lane;
          if (is_vector(reg) && !is_separate(reg) && instr_of(reg).op == TileOp::kLoad) {
            out_.line("const " + pack_type(instr_of(reg)) + " p" + num(reg) + " = " +
                      vector_load(reg) + ";");
          }
        }
        for (int reg : values_.kept_values(phase)) lanes = lanes || values_[reg].per_lane;
        for (const TileStore* store : stores) lanes = open_store(*store) || lanes;
        lanes = lanes || (schedule_.vector > 1 && !reductions.empty());
        if (schedule_.vector == 1) lanes = false;
        if (lanes) open_lanes();
      }
      for (int reg : values_.kept_values(phase)) {
        if (values_[reg].per_lane == per_lane) print_value(reg, true);
      }
      for (int reg : own) {
        if (values_[reg].per_lane == per_lane) print_value(reg, false);
      }
    }
    for (int result : reductions) print_join(result);
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
      out_.line(pack_type(code_.instrs[store.instr]) + " w" + num(store.access) + ";");
    }
    return stores_lanes(store);
  }
  std::string stored_value(const TileStore& store) const {
    const TileInstr& instr = code_.instrs[store.instr];
    return stored_of(stored_type(instr), instr.type, reference(instr.src[0]));
  }
  void print_lane_store(const TileStore& store) {
    const TileInstr& instr = code_.instrs[store.instr];
    if (is_vector_store(store)) {
      out_.line("w" + num(store.access) + ".at[v] = " + stored_value(store) + ";");
    } else if (stores_lanes(store)) {
      std::string text = element(operand_name(instr), static_cast<size_t>(store.access), true) +
                         " = " + stored_value(store) + ";";
      out_.line(guarded_ ? "if (active) " + text : text);
    } else if (schedule_.vector == 1 || !values_[instr.src[0]].per_lane) {
      return;  // after the lanes
    } else {
      out_.line("if (v == 0" + std::string(guarded_ ? " && active" : "") + ") " +
                element(operand_name(instr), static_cast<size_t>(store.access), false) + " = " +
                stored_value(store) + ";");
    }
  }
  void close_store(const TileStore& store) {
    const TileInstr& instr = code_.instrs[store.instr];
    const auto access = static_cast<size_t>(store.access);
    std::string text;
    if (is_vector_store(store)) {
      const std::string to = pointer(operand_name(instr), access) + ", w" + num(store.access);
      text = schedule_.tail ? "store_some<" + std::string(stored_c_type(stored_type(instr))) +
                                  ", " + num(schedule_.vector) + ">(" + to + ", count);"
                            : "store<" + num(schedule_.vector) + ">(" + to + ");";
    } else if (!stores_lanes(store) && (schedule_.vector == 1 || !values_[instr.src[0]].per_lane)) {
      text = element(operand_name(instr), access, false) + " = " + stored_value(store) + ";";
    }
    if (!text.empty()) out_.line(guarded_ ? "if (active) " + text : text);
  }

  // ---- points

  void print_points() {
    std::optional<int64_t> known;
    items_ = step_count(0, static_cast<size_t>(code_.rank), &known);
    items_held_ = schedule_.unroll;
    const std::string per_block = num(int64_t{schedule_.threads} * schedule_.unroll);
    const std::string first = block() + " * " + per_block + " + thread_x()";
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
      if (instr_of(reg).op == TileOp::kLoad &&
          is_staged(static_cast<size_t>(values_[reg].access))) {
        staged.push_back(reg);
      }
    }
    for (int reg : staged) {
      out_.line("KILN_SHARED(" + std::string(stored_c_type(stored_type(instr_of(reg)))) + ", tile" +
                num(values_[reg].access) + ", " + num(kTransposeTile * (kTransposeTile + 1)) +
                ");");
    }
    // i_y and i_x name elements; tile_y and tile_x the block's first ones.
    out_.line("const " + index_ + " x = " + block() + ";");
    const std::string y = num(code_.rank - 2), x = num(code_.rank - 1);
    define_tile(rank);
    print_thread_values(0);
    out_.line("#pragma unroll");
    out_.open("for (int32 k = 0; k < " + num(kTransposeTile / down) + "; ++k) {");
    out_.line("const int32 across = warp() + k * " + num(down) + ";");
    out_.line("const " + index_ + " i" + y + " = tile_y + lane();");
    out_.line("const " + index_ + " i" + x + " = tile_x + across;");
    out_.open("if (i" + y + " < " + extent(rank - 2) + " && i" + x + " < " + extent(rank - 1) +
              ") {");
    for (int reg : staged) {
      const auto access = static_cast<size_t>(values_[reg].access);
      out_.line("tile" + num(values_[reg].access) + "[across * " + num(kTransposeTile + 1) +
                " + lane()] = " + element(operand_name(instr_of(reg)), access, false) + ";");
    }
    out_.close();
    out_.close();
    out_.line("barrier();");
    print_items(0);
  }
  // The block's place: indices of the outer dims and of the tile's first element.
  void define_tile(size_t rank) {
    std::string counter = "x";
    for (const auto& [d, tile] : {std::pair(rank - 1, "tile_x"), std::pair(rank - 2, "tile_y")}) {
      const std::string n = num(static_cast<int64_t>(d));
      if (d == 0) {
        out_.line("const " + index_ + " " + tile + " = " + counter + " * " + num(kTransposeTile) +
                  ";");
        return;
      }
      std::string quotient = "divide(" + counter + ", " + steps(d) + ")";
      if (const auto known = known_steps(d)) {
        quotient = "divide_by<" + num(*known) + ">(" + counter + ")";
      } else if (!schedule_.wide) {
        quotient = "divide(" + counter + ", multiply" + n + ", shift" + n + ")";
      }
      out_.line("const " + index_ + " q" + n + " = " + quotient + ";");
      out_.line("const " + index_ + " " + tile + " = (" + counter + " - q" + n + " * " + steps(d) +
                ") * " + num(kTransposeTile) + ";");
      counter = "q" + n;
    }
    if (rank > 2) define_indices(0, rank - 2, counter);
  }

  // ---- rows and columns

  bool columns() const { return schedule_.kind == Kind::kColumns; }
  int rows_per_block() const { return schedule_.threads / schedule_.row_threads; }
  // Accumulators of a reduction side by side.
  int widths(int result) const {
    if (columns()) return values_[result].per_lane ? schedule_.vector : 1;
    return schedule_.held || is_arg_reduction(instr_of(result).op) ? 1 : schedule_.vector;
  }

  void print_rows() {
    const auto outer = static_cast<size_t>(kernel_.outer_rank());
    const auto rank = static_cast<size_t>(code_.rank);
    std::optional<int64_t> known_rows;
    const std::string rows = step_count(0, outer, &known_rows);
    items_ = step_count(outer, rank, &known_items_);
    if (schedule_.held) {
      items_held_ = (*known_items_ + schedule_.row_threads - 1) / schedule_.row_threads;
    }
    for (int phase = 0; phase <= values_.last_phase(); ++phase) {
      for (int result : values_.reductions(phase)) {
        const int64_t shared = shared_values(result);
        if (shared == 0) continue;
        out_.line("KILN_SHARED(" + reduction_type(instr_of(result)) + ", shared" + num(result) +
                  ", " + num(shared) + ");");
      }
    }
    // t: the thread's place in its row; row: the row, or the group of rows side by side.
    const std::string per_block = num(rows_per_block());
    const std::string in_block =
        columns() ? "thread_x() % " + per_block : "thread_x() / " + num(schedule_.row_threads);
    const std::string t =
        columns() ? "thread_x() / " + per_block : "thread_x() % " + num(schedule_.row_threads);
    if (rows_per_block() == 1) {
      out_.line("const int32 t = thread_x();");
      out_.line("const " + index_ + " row = " + block() + ";");
    } else {
      out_.line("const int32 t = " + t + ";");
      const bool exact = known_rows && *known_rows % rows_per_block() == 0;
      // Threads that must take part in exchanges stay, on a row that is there.
      const bool alone = schedule_.row_threads == 1 || (!columns() && schedule_.row_threads == 32);
      guarded_ = !exact && !alone;
      out_.line(std::string(guarded_ ? "" : "const ") + index_ + " row = " + block() + " * " +
                per_block + " + " + in_block + ";");
      if (guarded_) {
        out_.line("const bool active = row < " + rows + ";");
        out_.line("if (!active) row = " + rows + " - 1;");
      } else if (!exact) {
        out_.line("if (row >= " + rows + ") return;");
      }
    }
    if (outer > 0) define_indices(0, outer, "row");
    for (int phase = 0; phase <= values_.last_phase(); ++phase) {
      print_thread_values(phase);
      for (int result : values_.reductions(phase)) open_reduction(result);
      if (loads_ahead()) print_loads_ahead(phase);
      print_items(phase);
      for (int result : values_.reductions(phase)) close_reduction(result);
    }
    print_row_stores();
  }

  int64_t shared_values(int result) const {
    if (columns()) {
      return schedule_.row_threads == 1 ? 0 : int64_t{schedule_.threads} * widths(result);
    }
    return schedule_.row_threads > 32 ? schedule_.row_threads / 32 : 0;
  }

  void open_reduction(int result) {
    const TileInstr& instr = instr_of(result);
    const std::string s = "s" + num(result), identity = reduction_op(instr) + "::identity()";
    if (!columns() && widths(result) == 1) {
      out_.line(reduction_type(instr) + " " + s + " = " + identity + ";");
      return;
    }
    out_.line(reduction_type(instr) + " " + s + "[" + num(widths(result)) + "];");
    out_.line("#pragma unroll");
    out_.line("for (int32 v = 0; v < " + num(widths(result)) + "; ++v) " + s + "[v] = " + identity +
              ";");
  }

  // Inside the loop over lanes, if there is one.
  void print_join(int result) {
    const TileInstr& instr = instr_of(result);
    const bool array = columns() || widths(result) > 1;
    std::string s = "s" + num(result);
    if (array) s += schedule_.vector > 1 && widths(result) > 1 ? "[v]" : "[0]";
    std::string value = reference(instr.src[0]);
    if (is_arg_reduction(instr.op)) {
      std::string place = "x";
      if (!columns() && schedule_.vector > 1) place += " * " + num(schedule_.vector) + " + v";
      value = reduction_type(instr) + "{" + value + ", " + place + "}";
    }
    const std::string line = s + " = " + reduction_op(instr) + "::join(" + s + ", " + value + ");";
    // One accumulator for equal columns takes one of them.
    const bool once = columns() && schedule_.vector > 1 && widths(result) == 1;
    out_.line(once ? "if (v == 0) " + line : line);
  }

  void close_reduction(int result) {
    const TileInstr& instr = instr_of(result);
    const std::string n = num(result), op = reduction_op(instr);
    const std::string member = is_arg_reduction(instr.op) ? ".place" : "";
    if (columns()) {
      if (schedule_.row_threads > 1) {
        out_.line("columns_reduce<" + op + ", " + num(rows_per_block()) + ", " +
                  num(schedule_.row_threads) + ", " + num(widths(result)) + ">(s" + n + ", shared" +
                  n + ");");
      }
      if (widths(result) == 1) {
        out_.line("const " + type_of(result) + " " + name(result) + " = s" + n + "[0]" + member +
                  ";");
        return;
      }
      out_.line(type_of(result) + " " + name(result) + "[" + num(schedule_.vector) + "];");
      open_lanes();
      out_.line(name(result) + "[v] = s" + n + "[v]" + member + ";");
      out_.close();
      return;
    }
    std::string value = "s" + n;
    if (widths(result) > 1) {
      value = "s" + n + "[0]";
      out_.line("#pragma unroll");
      out_.line("for (int32 v = 1; v < " + num(widths(result)) + "; ++v) " + value + " = " + op +
                "::join(" + value + ", s" + n + "[v]);");
    }
    if (schedule_.row_threads > 32) {
      value = "block_reduce<" + op + ", " + num(schedule_.threads) + ">(" + value + ", shared" + n +
              ")";
    } else if (schedule_.row_threads > 1) {
      value = "lanes_reduce<" + op + ", " + num(schedule_.row_threads) + ">(" + value + ")";
    }
    out_.line("const " + type_of(result) + " " + name(result) + " = " + value + member + ";");
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
      open_lanes();
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
  const TileValues values_;
  const std::string index_ = schedule_.wide ? "int64" : "int32";
  std::vector<std::string> declared_;
  SourceText out_;
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
