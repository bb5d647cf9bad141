// The registers of tile programs as variables of the printed kernel: r<n>, an array of the lanes
// where each has a value of its own once per thread.
#pragma once

#include <string>

#include "backends/cuda/compile/source_text.h"
#include "backends/cuda/compile/tile_values.h"

namespace kiln::cuda {

class TileRegisters {
 public:
  explicit TileRegisters(const TileKernel& kernel) : kernel_(kernel), values_(kernel) {}

  const TileValues& values() const { return values_; }
  std::string name(int reg) const { return "r" + std::to_string(reg); }
  std::string type(int reg) const;
  // As the statement being printed sees it; v is the lane's number.
  std::string reference(int reg) const;
  // The instruction that defines it.
  const TileInstr& instr(int reg) const { return kernel_.code.instrs[values_[reg].instr]; }
  // That instruction on its operands; no load and no gather.
  std::string statement(int reg) const;

  // Of a memory instruction: "in0", and the type of the elements there.
  std::string operand(const TileInstr& instr) const;
  DType stored_type(const TileInstr& instr) const;
  std::string pack_type(const TileInstr& instr) const;
  // Does it load `vector` elements at once?
  bool is_vector(int reg) const;

  void open_lanes(SourceText& out) const;

 private:
  const TileKernel& kernel_;
  const TileValues values_;
};

}  // namespace kiln::cuda
