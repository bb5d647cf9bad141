// The tile virtual machine against a naive interpreter.
#include "backends/cpu/kernels/tile_vm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "unit/cpu_kernels/simd_targets.h"
#include "unit/cpu_kernels/tile_oracle.h"

namespace kiln {
namespace {

using cpu::TileKernel;
using cpu::TileLimits;
using tile_test::Case;
using tile_test::CodeBuilder;
using tile_test::interpret;
using tile_test::make_operand;
using tile_test::Operand;
using tile_test::random_case;

// Tiles so small that small programs have several units, phases and chunks.
TileLimits small_tiles() {
  TileLimits limits;
  limits.tile_bytes = 512;
  limits.min_points = 32;
  limits.max_points = 64;
  limits.max_unbuffered_points = 128;
  limits.whole_row_bytes = 256;
  limits.max_rows = 5;
  limits.transposed_side = 8;
  return limits;
}

struct Scratch {
  explicit Scratch(size_t bytes) : memory(bytes + 64) {}
  void* get() {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  }
  std::vector<char> memory;
};

struct Pointers {
  Pointers(const std::vector<Operand>& from, std::vector<Operand>* to) {
    for (const Operand& operand : from) inputs.push_back(operand.bytes.data());
    for (Operand& operand : *to) outputs.push_back(operand.bytes.data());
  }
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
};

Status run_kernel(const TileKernel& kernel, const std::vector<Operand>& inputs,
                  std::vector<Operand>* outputs, int threads = 2) {
  Pointers pointers(inputs, outputs);
  Scratch scratch(kernel.scratch_bytes(threads));
  return kernel.run(pointers.inputs.data(), pointers.outputs.data(), scratch.get(), threads);
}

[[maybe_unused]] Result<std::vector<Operand>> run_case(const Case& test, const TileLimits& limits = {}) {
  KILN_ASSIGN_OR_RETURN(auto kernel, TileKernel::bind(test.code, test.binding, limits));
  std::vector<Operand> outputs = test.outputs;
  KILN_RETURN_IF_ERROR(run_kernel(*kernel, test.inputs, &outputs));
  return outputs;
}

std::string describe(const Case& test) {
  std::string text = print_tile_code(test.code) + "extents";
  for (int64_t extent : test.binding.extents) text += " " + std::to_string(extent);
  for (const TileAccess& access : test.binding.accesses) {
    text += "\naccess +" + std::to_string(access.offset);
    for (int64_t stride : access.strides) text += " " + std::to_string(stride);
  }
  return text;
}

bool same_bits(const Operand& a, const Operand& b, std::string* where) {
  for (int64_t i = 0; i < a.elements(); ++i) {
    const size_t size = dtype_bytes(a.dtype);
    if (std::memcmp(a.bytes.data() + i * size, b.bytes.data() + i * size, size) == 0) continue;
    if (a.get(i) == 0 && b.get(i) == 0) continue;  // zeros of either sign
    *where = "element " + std::to_string(i) + ": " + std::to_string(a.get(i)) + " instead of " +
             std::to_string(b.get(i));
    return false;
  }
  return true;
}

void expect_equal(const Case& test, const std::vector<Operand>& actual,
                  const std::vector<Operand>& expected, const std::string& what) {
  for (size_t k = 0; k < expected.size(); ++k) {
    std::string where;
    ASSERT_TRUE(same_bits(actual[k], expected[k], &where))
        << what << ", output " << k << ", " << where << "\n" << describe(test);
  }
}

bool has_empty_extremum(const Case& test) {
  int64_t row = 1;
  for (int d = test.code.rank - test.code.row_rank; d < test.code.rank; ++d)
    row *= test.binding.extents[d];
  bool extremum = false;
  for (const TileInstr& instr : test.code.instrs)
    extremum |= instr.op >= TileOp::kReduceMax && instr.op <= TileOp::kReduceArgMin;
  return row == 0 && extremum;
}

void check_random_cases(int count, uint32_t seed) {
  std::mt19937 random(seed);
  for (int k = 0; k < count; ++k) {
    const Case test = random_case(random, k % 4 == 0);
    ASSERT_TRUE(verify_tile_code(test.code).ok())
        << verify_tile_code(test.code).to_string() << "\n" << describe(test);
    if (has_empty_extremum(test)) continue;
    std::vector<Operand> expected = test.outputs;
    ASSERT_EQ(interpret(test, &expected), "");
    for (const TileLimits& limits : {TileLimits(), small_tiles()}) {
      auto kernel = TileKernel::bind(test.code, test.binding, limits);
      ASSERT_TRUE(kernel.ok()) << kernel.status().to_string() << "\n" << describe(test);
      std::vector<Operand> actual = test.outputs;
      ASSERT_TRUE(run_kernel(**kernel, test.inputs, &actual).ok());
      expect_equal(test, actual, expected,
                   "case " + std::to_string(k) + ", " + (*kernel)->describe());
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(TileVm, RandomProgramsMatchInterpreter) { check_random_cases(2500, 1); }

TEST(TileVm, RandomProgramsOnEverySimdTarget) {
  cpu::for_each_simd_target([] { check_random_cases(500, 2); });
}

}  // namespace
}  // namespace kiln
