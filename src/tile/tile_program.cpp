#include "tile/tile_program.h"

namespace kiln {

Status verify(const TileProgram& program) {
  KILN_RETURN_IF_ERROR(verify_tile_code(program.code));
  const auto rank = static_cast<size_t>(program.code.rank);
  if (program.extents.size() != rank) {
    return Status::error("K2321", "tile program has another number of extents than dims: " +
                                      std::to_string(program.extents.size()));
  }
  if (program.accesses.size() != static_cast<size_t>(program.code.memory_instr_count())) {
    return Status::error("K2321", "tile program has another number of accesses than memory "
                                  "statements: " + std::to_string(program.accesses.size()));
  }
  for (const TileAccessExpr& access : program.accesses) {
    if (access.strides.size() != rank) {
      return Status::error("K2321", "tile access has another number of strides than dims: " +
                                        std::to_string(access.strides.size()));
    }
  }
  return {};
}

std::string print(const TileProgram& program) {
  std::string text = print_tile_code(program.code);
  text += "domain";
  for (const DimExpr& extent : program.extents) text += " [" + extent.to_string() + "]";
  text += "\n";
  for (const TileAccessExpr& access : program.accesses) {
    text += "access [" + access.offset.to_string() + "]";
    for (const DimExpr& stride : access.strides) text += " [" + stride.to_string() + "]";
    for (const TileParams::Axis& axis : access.axes) {
      text += " axis [" + axis.size.to_string() + "] [" + axis.stride.to_string() + "]";
    }
    text += "\n";
  }
  return text;
}

}  // namespace kiln
