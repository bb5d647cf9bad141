#include "backends/cuda/compile/tile_registers.h"

#include "backends/cuda/compile/tile_expression.h"

namespace kiln::cuda {
namespace {
std::string num(int64_t value) { return std::to_string(value); }
}  // namespace

std::string TileRegisters::type(int reg) const {
  return std::string(lane_c_type(kernel_.code.registers[static_cast<size_t>(reg)]));
}

std::string TileRegisters::reference(int reg) const {
  const TileValue& value = values_[reg];
  return !value.per_item && value.per_lane ? name(reg) + "[v]" : name(reg);
}

std::string TileRegisters::statement(int reg) const {
  const TileInstr& instr = this->instr(reg);
  if (instr.op == TileOp::kIota) {
    const std::string lane = values_[reg].per_lane ? " + v" : "";
    return "static_cast<int64>(i" + num(instr.integer) + lane + ")";
  }
  std::vector<std::string> operands;
  for (int32_t source : instr.src) {
    if (source >= 0) operands.push_back(reference(source));
  }
  return expression(instr, kernel_.code.registers[static_cast<size_t>(reg)], operands);
}

std::string TileRegisters::operand(const TileInstr& instr) const {
  return (instr.op == TileOp::kStore ? "out" : "in") + num(instr.operand);
}

DType TileRegisters::stored_type(const TileInstr& instr) const {
  const auto at = static_cast<size_t>(instr.operand);
  return instr.op == TileOp::kStore ? kernel_.code.outputs[at] : kernel_.code.inputs[at];
}

std::string TileRegisters::pack_type(const TileInstr& instr) const {
  return "Pack<" + std::string(stored_c_type(stored_type(instr))) + ", " +
         num(kernel_.schedule.vector) + ">";
}

bool TileRegisters::is_vector(int reg) const {
  const TileValue& value = values_[reg];
  return value.access >= 0 && value.per_lane &&
         kernel_.is_vector_access(static_cast<size_t>(value.access));
}

void TileRegisters::open_lanes(SourceText& out) const {
  out.line("#pragma unroll");
  out.open("for (int32 v = 0; v < " + num(kernel_.schedule.vector) + "; ++v) {");
}

}  // namespace kiln::cuda
