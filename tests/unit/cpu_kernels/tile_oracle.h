// Naive interpreter of tile code, and random programs and bindings: what the tile virtual machine
// is compared with.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "runtime/tile_code.h"

namespace kiln::tile_test {

struct Operand {
  DType dtype = DType::kF32;
  std::vector<uint8_t> bytes;
  int64_t elements() const { return static_cast<int64_t>(bytes.size() / dtype_bytes(dtype)); }
  double get(int64_t i) const;  // integers beyond 2^53 lose digits
  int64_t get_int(int64_t i) const;
  void set(int64_t i, double value);
  void set_int(int64_t i, int64_t value);
};

Operand make_operand(DType dtype, int64_t elements);

// A program with sizes and data.
struct Case {
  TileCode code;
  TileBinding binding;
  std::vector<Operand> inputs, outputs;
};

// Registers one at a time: adds an instruction and returns its register.
class CodeBuilder {
 public:
  CodeBuilder(int32_t rank, int32_t row_rank);
  int32_t input(DType dtype);  // operand numbers
  int32_t output(DType dtype);
  int32_t load(int32_t operand, LaneType type);
  int32_t load(int32_t operand) { return load(operand, lane_type_of(code.inputs[operand])); }
  int32_t gather(int32_t operand, std::vector<int32_t> indices);
  void store(int32_t operand, int32_t reg);
  int32_t constant(LaneType type, double value);
  int32_t iota(int64_t dim);
  int32_t cast(int32_t reg, LaneType to);
  int32_t round_to(int32_t reg, DType storage);
  int32_t op(TileOp op, std::vector<int32_t> regs, std::vector<double> params = {});
  TileCode code;

 private:
  int32_t add(TileInstr instr, LaneType result);
};

// The plain meaning of a verified program: writes the outputs. Returns "" or the code of the error.
std::string interpret(const Case& test, std::vector<Operand>* outputs);

// Exact programs (small integers in every type) of random shape, strides, types and statements.
Case random_case(std::mt19937& random, bool long_rows);

// Fills operands with small integers.
void fill(Operand* operand, std::mt19937& random);

}  // namespace kiln::tile_test
