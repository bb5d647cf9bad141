#include "backends/cuda/compile/tile_reductions.h"

#include "backends/cuda/compile/tile_expression.h"

namespace kiln::cuda {
namespace {
std::string num(int64_t value) { return std::to_string(value); }

// What of a reduced value is the result.
std::string member(const TileInstr& instr) { return is_arg_reduction(instr.op) ? ".place" : ""; }
}  // namespace

// Accumulators of a reduction side by side.
int TileReductions::widths(int result) const {
  if (columns()) return registers_.values()[result].per_lane ? schedule_.vector : 1;
  return schedule_.held || is_arg_reduction(registers_.instr(result).op) ? 1 : schedule_.vector;
}

int64_t TileReductions::across() const { return schedule_.threads / schedule_.row_threads; }

int64_t TileReductions::column_parts() const {
  return across() < 32 ? schedule_.threads / 32 : schedule_.row_threads;
}

void TileReductions::declare_shared(int result) {
  int64_t count = 0;
  if (columns()) {
    count = column_parts() == 1 ? 0 : column_parts() * across() * widths(result);
  } else {
    count = schedule_.row_threads > 32 ? schedule_.row_threads / 32 : 0;
  }
  if (count == 0) return;
  out_.line("KILN_SHARED(" + reduction_type(registers_.instr(result)) + ", shared" + num(result) +
            ", " + num(count) + ");");
}

void TileReductions::open(int result) {
  const TileInstr& instr = registers_.instr(result);
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

void TileReductions::join(int result) {
  const TileInstr& instr = registers_.instr(result);
  const bool array = columns() || widths(result) > 1;
  std::string s = "s" + num(result);
  if (array) s += schedule_.vector > 1 && widths(result) > 1 ? "[v]" : "[0]";
  std::string value = registers_.reference(instr.src[0]);
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

void TileReductions::close(int result) {
  if (columns()) return close_columns(result);
  const TileInstr& instr = registers_.instr(result);
  const std::string n = num(result), op = reduction_op(instr);
  std::string value = "s" + n;
  if (widths(result) > 1) {
    value = "s" + n + "[0]";
    out_.line("#pragma unroll");
    out_.line("for (int32 v = 1; v < " + num(widths(result)) + "; ++v) " + value + " = " + op +
              "::join(" + value + ", s" + n + "[v]);");
  }
  if (schedule_.row_threads > 32) {
    value =
        "block_reduce<" + op + ", " + num(schedule_.threads) + ">(" + value + ", shared" + n + ")";
  } else if (schedule_.row_threads > 1) {
    value = "lanes_reduce<" + op + ", " + num(schedule_.row_threads) + ">(" + value + ")";
  }
  out_.line("const " + registers_.type(result) + " " + registers_.name(result) + " = " + value +
            member(instr) + ";");
}

void TileReductions::close_columns(int result) {
  const TileInstr& instr = registers_.instr(result);
  const std::string n = num(result), name = registers_.name(result);
  const std::string of_columns = "<" + reduction_op(instr) + ", " + num(across()) + ", ";
  if (column_parts() > 1) {
    out_.line("columns_reduce" + of_columns + num(schedule_.row_threads) + ", " +
              num(widths(result)) + ">(s" + n + ", shared" + n + ");");
  } else if (schedule_.row_threads > 1) {
    out_.line("column_lanes_reduce" + of_columns + num(widths(result)) + ">(s" + n + ");");
  }
  if (widths(result) == 1) {
    out_.line("const " + registers_.type(result) + " " + name + " = s" + n + "[0]" + member(instr) +
              ";");
    return;
  }
  out_.line(registers_.type(result) + " " + name + "[" + num(schedule_.vector) + "];");
  registers_.open_lanes(out_);
  out_.line(name + "[v] = s" + n + "[v]" + member(instr) + ";");
  out_.close();
}

}  // namespace kiln::cuda
