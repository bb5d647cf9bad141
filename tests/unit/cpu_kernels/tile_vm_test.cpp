// The tile virtual machine against a naive interpreter.
#include "backends/cpu/kernels/tile_vm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "unit/cpu_kernels/simd_targets.h"
#include "unit/cpu_kernels/tile_oracle.h"
#include "unit/cpu_kernels/tile_run.h"

namespace kiln {
namespace {

using cpu::TileKernel;
using cpu::TileLimits;
using tile_test::Case;
using tile_test::CodeBuilder;
using tile_test::contiguous_case;
using tile_test::interpret;
using tile_test::make_operand;
using tile_test::Operand;
using tile_test::Pointers;
using tile_test::random_case;
using tile_test::run_case;
using tile_test::run_kernel;
using tile_test::Scratch;

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
        << what << ", output " << k << ", " << where << "\n"
        << describe(test);
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
    ASSERT_TRUE(verify_tile_code(test.code).ok()) << verify_tile_code(test.code).to_string() << "\n"
                                                  << describe(test);
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

// Sizes, strides and types that random programs reach rarely: the plan that each is meant for.
TEST(TileVm, EveryPlanIsReached) {
  std::mt19937 random(5);
  int columns = 0, chunked = 0, phases = 0, in_rows = 0;
  for (int k = 0; k < 1500; ++k) {
    const Case test = random_case(random, k % 2 == 0);
    if (has_empty_extremum(test)) continue;
    auto kernel = TileKernel::bind(test.code, test.binding, small_tiles());
    ASSERT_TRUE(kernel.ok());
    const std::string plan = (*kernel)->describe();
    columns += plan.starts_with("columns");
    in_rows += plan.starts_with("rows");
    chunked += plan.find(" 1 chunks") == std::string::npos;
    phases += plan.find(" 1 phases") == std::string::npos;
  }
  EXPECT_GT(columns, 10);
  EXPECT_GT(in_rows, 50);
  EXPECT_GT(chunked, 50);
  EXPECT_GT(phases, 10);
}

// Every two- and three-operand instruction in every type, with vector and scalar operands.
TEST(TileVm, OperandKinds) {
  cpu::for_each_simd_target([] {
    std::mt19937 random(11);
    for (int o = 0; o < kTileOpCount; ++o) {
      const TileOp op = static_cast<TileOp>(o);
      const TileOpInfo& info = tile_op_info(op);
      if (info.kind != TileOpKind::kBinary && info.kind != TileOpKind::kTernary) continue;
      for (LaneType type : {LaneType::kF32, LaneType::kF64, LaneType::kI64, LaneType::kBool}) {
        if (!(info.types & (1 << static_cast<int>(type)))) continue;
        constexpr DType kStored[] = {DType::kF32, DType::kF64, DType::kI64, DType::kBool};
        const DType dtype = kStored[static_cast<int>(type)];
        for (int kinds = 0; kinds < 27;
             ++kinds) {  // per operand: full, one per row, one per column
          if (info.arity == 2 && kinds >= 9) break;
          CodeBuilder builder(2, 1);
          std::vector<int32_t> regs;
          for (int k = 0; k < info.arity; ++k)
            regs.push_back(builder.load(
                builder.input(op == TileOp::kSelect && k == 0 ? DType::kBool : dtype)));
          const int32_t result = builder.op(op, regs);
          const LaneType lanes = builder.code.registers[result];
          builder.store(builder.output(kStored[static_cast<int>(lanes)]), result);
          Case test = contiguous_case(builder.code, {5, 37});
          for (int k = 0, rest = kinds; k < info.arity; ++k, rest /= 3) {
            if (rest % 3 == 1) test.binding.accesses[k].strides = {1, 0};
            if (rest % 3 == 2) test.binding.accesses[k].strides = {0, 1};
          }
          for (Operand& operand : test.inputs) fill(&operand, random);
          if (op >= TileOp::kFloorDiv && op <= TileOp::kFmod && type == LaneType::kI64)
            for (int64_t i = 0; i < test.inputs[1].elements(); ++i)
              if (test.inputs[1].get_int(i) == 0) test.inputs[1].set_int(i, -1);
          if (type == LaneType::kI64 && op < TileOp::kFloorDiv) {
            test.inputs[0].set_int(3, std::numeric_limits<int64_t>::min());
            test.inputs[0].set_int(4, std::numeric_limits<int64_t>::max());
          }
          if (type == LaneType::kF32 || type == LaneType::kF64) {
            test.inputs[op == TileOp::kSelect].set(2, std::nan(""));
            test.inputs.back().set(3, std::nan(""));
            test.inputs.back().set(4, std::numeric_limits<double>::infinity());
          }
          std::vector<Operand> expected = test.outputs;
          ASSERT_EQ(interpret(test, &expected), "");
          auto actual = run_case(test);
          ASSERT_TRUE(actual.ok()) << actual.status().to_string();
          for (int64_t i = 0; i < expected[0].elements(); ++i) {
            const double got = (*actual)[0].get(i), want = expected[0].get(i);
            const bool rough = op == TileOp::kPow || op == TileOp::kAtan2;
            ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want)) ||
                        (rough && std::fabs(got - want) <= 3e-7 * std::fabs(want)))
                << got << " instead of " << want << " at " << i << "\n"
                << describe(test);
          }
        }
      }
    }
  });
}

// The rewrites of tile_vm_simplify.h against plain arithmetic: softmax and layer norm over rows
// that lie either way in memory.
TEST(TileVm, NormalisationsMatchDoublePrecision) {
  cpu::for_each_simd_target([] {
    for (const bool transposed : {false, true}) {
      for (int64_t n : {1, 7, 49, 768, 30000}) {
        CodeBuilder builder(2, 1);
        const int32_t x = builder.load(builder.input(DType::kF32));
        const int32_t e = builder.op(
            TileOp::kExp, {builder.op(TileOp::kSub, {x, builder.op(TileOp::kReduceMax, {x})})});
        builder.store(builder.output(DType::kF32),
                      builder.op(TileOp::kDiv, {e, builder.op(TileOp::kReduceSum, {e})}));
        const int32_t count = builder.op(TileOp::kReduceSum, {builder.constant(LaneType::kF32, 1)});
        const int32_t mean = builder.op(TileOp::kDiv, {builder.op(TileOp::kReduceSum, {x}), count});
        const int32_t centered = builder.op(TileOp::kSub, {x, mean});
        const int32_t variance = builder.op(
            TileOp::kDiv,
            {builder.op(TileOp::kReduceSum, {builder.op(TileOp::kMul, {centered, centered})}),
             count});
        const int32_t scale = builder.op(
            TileOp::kRsqrt,
            {builder.op(TileOp::kAdd, {variance, builder.constant(LaneType::kF32, 1e-5)})});
        const int32_t normal = builder.op(TileOp::kMul, {centered, scale});
        const int32_t weighted =
            builder.op(TileOp::kMul, {normal, builder.load(builder.input(DType::kF32))});
        builder.store(builder.output(DType::kF32),
                      builder.op(TileOp::kAdd, {weighted, builder.load(1)}));
        const int64_t rows = n == 30000 ? 9 : 33;
        Case test = contiguous_case(builder.code, {rows, n});
        test.binding.accesses[2].strides = test.binding.accesses[3].strides = {0, 1};
        if (transposed)
          for (size_t a : {0, 1, 4}) test.binding.accesses[a].strides = {1, rows};
        std::mt19937 random(1);
        std::uniform_real_distribution<double> uniform(-3, 3);
        for (Operand& operand : test.inputs)
          for (int64_t i = 0; i < operand.elements(); ++i) operand.set(i, uniform(random));
        auto actual = run_case(test);
        ASSERT_TRUE(actual.ok()) << actual.status().to_string();
        for (int64_t r = 0; r < rows; ++r) {
          const auto at = [&](int64_t c) { return transposed ? c * rows + r : r * n + c; };
          double sum = 0, total = 0, squares = 0;
          for (int64_t c = 0; c < n; ++c) {
            sum += std::exp(test.inputs[0].get(at(c)));
            total += test.inputs[0].get(at(c)) / static_cast<double>(n);
          }
          for (int64_t c = 0; c < n; ++c)
            squares += std::pow(test.inputs[0].get(at(c)) - total, 2) / static_cast<double>(n);
          for (int64_t c = 0; c < n; ++c) {
            const double value = test.inputs[0].get(at(c)), weight = test.inputs[1].get(c);
            ASSERT_NEAR((*actual)[0].get(at(c)) / (std::exp(value) / sum), 1, 2e-6);
            ASSERT_NEAR((*actual)[1].get(at(c)),
                        (value - total) / std::sqrt(squares + 1e-5) * weight + weight,
                        n == 1 ? 1e-3 : 1e-5);
          }
        }
      }
    }
  });
}

TEST(TileVm, PowersWithSpecialExponents) {
  for (double exponent : {2.0, 0.5, -0.5, -1.0, 3.0, 1.5}) {
    CodeBuilder builder(1, 0);
    const int32_t x = builder.load(builder.input(DType::kF32));
    builder.store(builder.output(DType::kF32),
                  builder.op(TileOp::kPow, {x, builder.constant(LaneType::kF32, exponent)}));
    Case test = contiguous_case(builder.code, {50});
    for (int64_t i = 0; i < 50; ++i) test.inputs[0].set(i, 0.25 * static_cast<double>(i + 1));
    auto actual = run_case(test);
    ASSERT_TRUE(actual.ok());
    for (int64_t i = 0; i < 50; ++i)
      EXPECT_NEAR((*actual)[0].get(i) / std::pow(test.inputs[0].get(i), exponent), 1, 4e-7);
  }
}

// Every stored type to every lane type and back, with values that must round, wrap or saturate.
TEST(TileVm, ConversionsOfEveryType) {
  cpu::for_each_simd_target([] {
    const double inf = std::numeric_limits<double>::infinity();
    const std::vector<double> values = {
        0,          -0.0, 1,     -1,           0.5,      1.5,      2.5,   -2.5,    127,
        128,        255,  256,   -129,         32768,    65504,    65520, 1e5,     3e9,
        -3e9,       1e19, -1e19, 1e-8,         6e-8,     1e-5,     0.1,   1.0 / 3, 1.00390625,
        1.01171875, inf,  -inf,  std::nan(""), 16777217, 3.3895e38};
    for (int from = 0; from <= static_cast<int>(DType::kBool); ++from)
      for (int lanes = 0; lanes < 4; ++lanes)
        for (int to = 0; to <= static_cast<int>(DType::kBool); ++to) {
          CodeBuilder builder(1, 0);
          const int32_t x =
              builder.load(builder.input(static_cast<DType>(from)), static_cast<LaneType>(lanes));
          builder.store(builder.output(static_cast<DType>(to)), x);
          Case test = contiguous_case(builder.code, {static_cast<int64_t>(values.size()) + 8});
          for (size_t i = 0; i < values.size(); ++i)
            test.inputs[0].set(static_cast<int64_t>(i), values[i]);
          std::vector<Operand> expected = test.outputs;
          ASSERT_EQ(interpret(test, &expected), "");
          auto actual = run_case(test);
          ASSERT_TRUE(actual.ok());
          for (int64_t i = 0; i < expected[0].elements(); ++i) {
            const double got = (*actual)[0].get(i), want = expected[0].get(i);
            ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want)))
                << got << " instead of " << want << " for " << test.inputs[0].get(i) << "\n"
                << describe(test);
          }
        }
  });
}

TEST(TileVm, RoundingToStoredTypes) {
  cpu::for_each_simd_target([] {
    for (DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      CodeBuilder builder(1, 0);
      const int32_t x = builder.load(builder.input(DType::kF32));
      builder.store(builder.output(DType::kF32), builder.round_to(x, dtype));
      Case test = contiguous_case(builder.code, {3000});
      std::mt19937 random(1);
      for (int64_t i = 0; i < 3000; ++i) {
        const uint32_t bits = random();
        float value;
        std::memcpy(&value, &bits, 4);
        test.inputs[0].set(i, value);
      }
      std::vector<Operand> expected = test.outputs;
      ASSERT_EQ(interpret(test, &expected), "");
      auto actual = run_case(test);
      ASSERT_TRUE(actual.ok());
      for (int64_t i = 0; i < 3000; ++i) {
        const double got = (*actual)[0].get(i), want = expected[0].get(i);
        ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want)))
            << got << " instead of " << want << " for " << test.inputs[0].get(i);
      }
    }
  });
}

TEST(TileVm, NanWinsExtrema) {
  for (TileOp op :
       {TileOp::kReduceMax, TileOp::kReduceMin, TileOp::kReduceArgMax, TileOp::kReduceArgMin}) {
    for (int64_t n : {1, 5, 16, 63, 200}) {
      CodeBuilder builder(2, 1);
      const bool arg = op == TileOp::kReduceArgMax || op == TileOp::kReduceArgMin;
      builder.store(builder.output(arg ? DType::kI64 : DType::kF32),
                    builder.op(op, {builder.load(builder.input(DType::kF32))}));
      Case test = contiguous_case(builder.code, {3, n});
      test.binding.accesses[1].strides = {1, 0};
      for (int64_t i = 0; i < 3 * n; ++i) test.inputs[0].set(i, static_cast<double>(i * 7 % 13));
      test.inputs[0].set(n + n / 2, std::nan(""));
      test.inputs[0].set(2 * n + n - 1, std::nan(""));
      for (const TileLimits& limits : {TileLimits(), small_tiles()}) {
        std::vector<Operand> expected = test.outputs;
        ASSERT_EQ(interpret(test, &expected), "");
        auto actual = run_case(test, limits);
        ASSERT_TRUE(actual.ok());
        for (int64_t r = 0; r < 3; ++r) {
          const double got = (*actual)[0].get(r), want = expected[0].get(r);
          EXPECT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << got << " " << want;
        }
      }
    }
  }
}

// Embedding, and indexing along two axes; negative indices count from the end.
TEST(TileVm, Gather) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kI64, DType::kBool}) {
    CodeBuilder rows(2, 0);
    const int32_t index = rows.load(rows.input(DType::kI64));
    rows.store(rows.output(dtype), rows.gather(rows.input(dtype), {index}));
    Case test = contiguous_case(rows.code, {9, 21});
    test.binding.accesses[0].strides = {1, 0};
    test.binding.accesses[1].strides = {0, 1};
    test.binding.accesses[1].axes = {{6, 21}};
    test.inputs[1] = make_operand(dtype, 6 * 21);
    test.binding.input_elements = {9 * 21, 6 * 21};
    std::mt19937 random(2);
    fill(&test.inputs[1], random);
    for (int64_t i = 0; i < 9; ++i) test.inputs[0].set_int(i, i * 5 % 12 - 6);
    std::vector<Operand> expected = test.outputs;
    ASSERT_EQ(interpret(test, &expected), "");
    for (const TileLimits& limits : {TileLimits(), small_tiles()}) {
      auto actual = run_case(test, limits);
      ASSERT_TRUE(actual.ok()) << actual.status().to_string();
      expect_equal(test, *actual, expected, "gather rows");
    }
    for (int64_t bad : {int64_t{6}, int64_t{-7}, std::numeric_limits<int64_t>::min(),
                        std::numeric_limits<int64_t>::max()}) {
      test.inputs[0].set_int(4, bad);
      auto failed = run_case(test);
      ASSERT_FALSE(failed.ok());
      EXPECT_EQ(failed.status().code(), "K4410");
      EXPECT_NE(failed.status().message().find(std::to_string(bad)), std::string::npos);
    }
    test.binding.accesses[1].axes[0].size = 0;
    EXPECT_EQ(run_case(test).status().code(), "K4410");
  }
  CodeBuilder both(2, 1);
  const int32_t i = both.load(both.input(DType::kI64)), j = both.load(both.input(DType::kI32));
  const int32_t value = both.gather(both.input(DType::kF32), {i, j});
  both.store(both.output(DType::kF32), value);
  both.store(both.output(DType::kF32), both.op(TileOp::kReduceSum, {value}));
  Case test = contiguous_case(both.code, {7, 19});
  test.binding.accesses[0].strides = {1, 0};
  test.binding.accesses[2].strides = {0, 0};
  test.binding.accesses[2].axes = {{4, 5}, {5, 1}};
  test.binding.accesses[4].strides = {1, 0};
  std::mt19937 random(2);
  fill(&test.inputs[2], random);
  for (int64_t k = 0; k < 7 * 19; ++k) {
    test.inputs[0].set_int(k, k % 8 - 4);
    test.inputs[1].set_int(k, k % 10 - 5);
  }
  std::vector<Operand> expected = test.outputs;
  ASSERT_EQ(interpret(test, &expected), "");
  for (const TileLimits& limits : {TileLimits(), small_tiles()}) {
    auto actual = run_case(test, limits);
    ASSERT_TRUE(actual.ok()) << actual.status().to_string();
    expect_equal(test, *actual, expected, "gather points");
  }
}

TEST(TileVm, IntegerDivisionByZeroFails) {
  for (TileOp op : {TileOp::kFloorDiv, TileOp::kTruncDiv, TileOp::kRemainder, TileOp::kFmod}) {
    CodeBuilder builder(1, 0);
    const int32_t a = builder.load(builder.input(DType::kI64));
    builder.store(builder.output(DType::kI64),
                  builder.op(op, {a, builder.load(builder.input(DType::kI64))}));
    Case test = contiguous_case(builder.code, {100});
    for (int64_t i = 0; i < 100; ++i) test.inputs[1].set_int(i, i == 0 ? -1 : i);
    test.inputs[0].set_int(0, std::numeric_limits<int64_t>::min());
    EXPECT_TRUE(run_case(test).ok());
    test.inputs[1].set_int(50, 0);
    EXPECT_EQ(run_case(test).status().code(), "K4411");
  }
}

// An output in the memory of an input with the same access.
TEST(TileVm, InPlace) {
  std::mt19937 random(9);
  int tried = 0;
  for (int k = 0; k < 3000 && tried < 300; ++k) {
    Case test = random_case(random, k % 3 == 0);
    if (has_empty_extremum(test)) continue;
    // The first load whose type and size are those of an output; both get its access.
    int input = -1, output = -1;
    std::vector<size_t> of_input, of_output;
    size_t next = 0;
    std::vector<const TileInstr*> memory;
    for (const TileInstr& instr : test.code.instrs)
      if (tile_op_info(instr.op).kind == TileOpKind::kMemory) memory.push_back(&instr);
    for (const TileInstr* instr : memory) {
      if (instr->op == TileOp::kStore && output < 0)
        for (const TileInstr* other : memory)
          if (other->op == TileOp::kLoad && dtype_bytes(test.code.inputs[other->operand]) ==
                                                dtype_bytes(test.code.outputs[instr->operand])) {
            input = other->operand;
            output = instr->operand;
          }
      ++next;
    }
    if (output < 0) continue;
    TileAccess access;
    for (size_t a = 0; a < memory.size(); ++a)
      if (memory[a]->op == TileOp::kStore && memory[a]->operand == output)
        access = test.binding.accesses[a];
    for (size_t a = 0; a < memory.size(); ++a)
      if (memory[a]->op == TileOp::kLoad && memory[a]->operand == input)
        test.binding.accesses[a] = access;
    const int64_t elements = test.outputs[output].elements();
    test.binding.input_elements[input] = elements;
    test.inputs[input] = make_operand(test.code.inputs[input], elements);
    fill(&test.inputs[input], random);
    std::vector<Operand> expected = test.outputs;
    ASSERT_EQ(interpret(test, &expected), "");
    for (const TileLimits& limits : {TileLimits(), small_tiles()}) {
      auto kernel = TileKernel::bind(test.code, test.binding, limits);
      if (!kernel.ok()) {  // the value now varies more than its store
        ASSERT_EQ(kernel.status().code(), "K4402");
        break;
      }
      ++tried;
      std::vector<Operand> outputs = test.outputs;
      outputs[output].bytes = test.inputs[input].bytes;
      Pointers pointers(test.inputs, &outputs);
      pointers.inputs[input] = pointers.outputs[output];
      Scratch scratch((*kernel)->scratch_bytes(1));
      ASSERT_TRUE(
          (*kernel)->run(pointers.inputs.data(), pointers.outputs.data(), scratch.get(), 1).ok());
      // Elements between those written keep what the input had.
      std::vector<Operand> in_place = test.outputs;
      in_place[output].bytes = test.inputs[input].bytes;
      ASSERT_EQ(interpret(test, &in_place), "");
      expect_equal(test, outputs, in_place, "in place, " + (*kernel)->describe());
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GE(tried, 300);
}

TEST(TileVm, PartsMakeOneRun) {
  std::mt19937 random(4);
  for (int k = 0; k < 100; ++k) {
    const Case test = random_case(random, k % 2 == 0);
    if (has_empty_extremum(test)) continue;
    std::vector<Operand> expected = test.outputs, actual = test.outputs;
    ASSERT_EQ(interpret(test, &expected), "");
    auto kernel = TileKernel::bind(test.code, test.binding, small_tiles());
    ASSERT_TRUE(kernel.ok());
    Pointers pointers(test.inputs, &actual);
    Scratch scratch((*kernel)->scratch_bytes(1));
    for (int64_t part = 4; part-- > 0;)
      ASSERT_TRUE(
          (*kernel)
              ->run_part(part, 5, pointers.inputs.data(), pointers.outputs.data(), scratch.get())
              .ok());
    ASSERT_TRUE((*kernel)
                    ->run_part(4, 5, pointers.inputs.data(), pointers.outputs.data(), scratch.get())
                    .ok());
    expect_equal(test, actual, expected, "parts");
    if (HasFatalFailure()) return;
  }
}

// Programs large enough to run on two threads, with scratch of their own.
TEST(TileVm, Threads) {
  CodeBuilder builder(2, 1);
  const int32_t x = builder.load(builder.input(DType::kF32));
  const int32_t shifted = builder.op(TileOp::kSub, {x, builder.op(TileOp::kReduceMax, {x})});
  const int32_t e = builder.op(TileOp::kExp, {shifted});
  builder.store(builder.output(DType::kF32),
                builder.op(TileOp::kDiv, {e, builder.op(TileOp::kReduceSum, {e})}));
  for (int64_t cols : {100, 40000}) {
    const int64_t rows = cols == 100 ? 600 : 33;
    Case test = contiguous_case(builder.code, {rows, cols});
    for (int64_t i = 0; i < rows * cols; ++i)
      test.inputs[0].set(i, static_cast<double>(i * 37 % 101) / 10);
    auto kernel = TileKernel::bind(test.code, test.binding);
    ASSERT_TRUE(kernel.ok());
    EXPECT_GT((*kernel)->useful_parts(), 1);
    std::vector<Operand> one = test.outputs, three = test.outputs;
    ASSERT_TRUE(run_kernel(**kernel, test.inputs, &one, 1).ok());
    ASSERT_TRUE(run_kernel(**kernel, test.inputs, &three, 3).ok());
    EXPECT_EQ(one[0].bytes, three[0].bytes);
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += one[0].get(32 * cols + c);
    EXPECT_NEAR(sum, 1, 1e-5);
  }
}

TEST(TileVm, RejectsWhatDoesNotFit) {
  CodeBuilder builder(2, 1);
  const int32_t x = builder.load(builder.input(DType::kF32));
  builder.store(builder.output(DType::kF32), x);
  const Case good = contiguous_case(builder.code, {4, 6});
  const auto code_of = [](const Case& test) {
    auto kernel = TileKernel::bind(test.code, test.binding);
    return kernel.ok() ? std::string() : kernel.status().code();
  };
  EXPECT_EQ(code_of(good), "");
  const auto with = [&](auto change) {
    Case test = good;
    change(test);
    return code_of(test);
  };
  const int64_t huge = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[0].offset = 1; }), "K4403");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[0].offset = -1; }), "K4403");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[1].offset = 1; }), "K4403");
  EXPECT_EQ(with([](Case& t) { t.binding.input_elements[0] = 23; }), "K4403");
  EXPECT_EQ(with([&](Case& t) { t.binding.accesses[0].strides[0] = huge; }), "K4403");
  EXPECT_EQ(with([&](Case& t) { t.binding.accesses[0].strides = {huge / 3, -huge / 3}; }), "K4403");
  EXPECT_EQ(with([&](Case& t) { t.binding.extents = {huge, huge}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.extents = {4}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.extents = {4, -1}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses.pop_back(); }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[1].strides = {0, 1}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[1].strides = {1, 1}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[1].strides = {1, 0}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.binding.accesses[0].axes = {{1, 1}}; }), "K4402");
  EXPECT_EQ(with([](Case& t) { t.code.instrs[1].src[0] = 1; }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.instrs[1].src[0] = -2; }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.instrs[0].operand = 1; }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.instrs[0].dst = 7; }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.instrs[1].type = LaneType::kF64; }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.instrs[0].op = static_cast<TileOp>(250); }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.inputs[0] = static_cast<DType>(99); }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.registers[0] = static_cast<LaneType>(9); }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.rank = 40; }), "K4401");
  EXPECT_EQ(with([](Case& t) { t.code.row_rank = 3; }), "K4401");
  EXPECT_EQ(with([](Case& t) { std::swap(t.code.instrs[0], t.code.instrs[1]); }), "K4401");
}

// Damaged programs and bindings: refused, or run without leaving their operands (the sanitizer
// builds watch).
TEST(TileVm, DamagedProgramsAreRefusedOrHarmless) {
  std::mt19937 random(13);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  int refused = 0, harmless = 0;
  for (int k = 0; k < 4000; ++k) {
    Case test = random_case(random, k % 4 == 0);
    for (int change = static_cast<int>(pick(1, 2)); change-- > 0;) {
      TileInstr& instr =
          test.code.instrs[pick(0, static_cast<int64_t>(test.code.instrs.size()) - 1)];
      TileAccess& access =
          test.binding.accesses[pick(0, static_cast<int64_t>(test.binding.accesses.size()) - 1)];
      switch (pick(0, 10)) {
        case 0: instr.op = static_cast<TileOp>(pick(0, kTileOpCount + 2)); break;
        case 1: instr.type = static_cast<LaneType>(pick(0, 4)); break;
        case 2: instr.dst = static_cast<int32_t>(pick(-2, 40)); break;
        case 3: instr.src[pick(0, 2)] = static_cast<int32_t>(pick(-2, 40)); break;
        case 4: instr.operand = static_cast<int32_t>(pick(-1, 5)); break;
        case 5: instr.integer = pick(-2, 6); break;
        case 6: instr.storage = static_cast<DType>(pick(0, 11)); break;
        case 7: access.offset += pick(-4, 4); break;
        case 8:
          if (!access.strides.empty())
            access.strides[pick(0, static_cast<int64_t>(access.strides.size()) - 1)] = pick(-3, 40);
          break;
        case 9:
          if (!test.binding.extents.empty())
            test.binding.extents[pick(0, static_cast<int64_t>(test.binding.extents.size()) - 1)] =
                pick(0, 40);
          break;
        case 10: test.code.row_rank = static_cast<int32_t>(pick(0, test.code.rank)); break;
      }
    }
    auto kernel = TileKernel::bind(test.code, test.binding, k % 2 ? TileLimits() : small_tiles());
    if (!kernel.ok()) {
      EXPECT_TRUE(kernel.status().code() == "K4401" || kernel.status().code() == "K4402" ||
                  kernel.status().code() == "K4403");
      ++refused;
      continue;
    }
    ++harmless;
    std::vector<Operand> outputs = test.outputs;
    const Status status = run_kernel(**kernel, test.inputs, &outputs);
    EXPECT_TRUE(status.ok() || status.code() == "K4410" || status.code() == "K4411");
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(harmless, 500);
}

TEST(TileCode, TextRoundTrips) {
  std::mt19937 random(17);
  for (int k = 0; k < 300; ++k) {
    const Case test = random_case(random, false);
    const std::string text = print_tile_code(test.code);
    auto parsed = parse_tile_code(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status().to_string() << "\n" << text;
    EXPECT_EQ(*parsed, test.code) << text;
    EXPECT_EQ(print_tile_code(*parsed), text);
    // Cut anywhere: an error or a valid program, never a crash.
    const auto cut = parse_tile_code(std::string_view(text).substr(0, text.size() * k / 300));
    EXPECT_TRUE(cut.ok() || cut.status().code() == "K4404" || cut.status().code() == "K4401");
  }
  for (const char* bad :
       {"", "tile rank=1 row=0", "tile rank=x row=0\nin\nout\n", "tile rank=1 row=0\nin f99\nout\n",
        "tile rank=1 row=0\nin f32\nout\n%0 = load.f32 in1\n",
        "tile rank=1 row=0\nin f32\nout\n%0 = load.f32 in0 extra\n",
        "tile rank=1 row=0\nin f32\nout\n%99999999 = load.f32 in0\n",
        "tile rank=1 row=0\nin f32\nout\n%0 = nonsense.f32 in0\n",
        "tile rank=1 row=0\nin\nout\n%0 = const.f32\n"})
    EXPECT_FALSE(parse_tile_code(bad).ok()) << bad;
}

}  // namespace
}  // namespace kiln
