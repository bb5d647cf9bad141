// CUDA C++ for single statements of tile programs, on the functions of device/math.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "runtime/tile_code.h"

namespace kiln::cuda {

std::string_view lane_c_type(LaneType type);    // "float", "double", "int64", "bool"
std::string_view stored_c_type(DType dtype);    // "f16", "uint8" (also of bool), ...
std::string literal(LaneType type, double value, int64_t integer);
std::string int_literal(int64_t value);

// A lane of `type` from the stored number `text`, and the other way.
std::string lane_of(LaneType type, DType stored, const std::string& text);
std::string stored_of(DType stored, LaneType type, const std::string& text);

// Conversions, unary, binary and ternary statements and constants, of operands given as text.
// `result`: the type of the result.
std::string expression(const TileInstr& instr, LaneType result,
                       const std::vector<std::string>& operands);

// The operation of device/reduce.h for a reduction, and the type of what it reduces.
bool is_arg_reduction(TileOp op);
std::string reduction_op(const TileInstr& instr);          // "Sum<float>"
std::string reduction_type(const TileInstr& instr);        // "float", "Found<float>"

// How long a statement takes, additions being 1.
int statement_cost(const TileInstr& instr);

}  // namespace kiln::cuda
