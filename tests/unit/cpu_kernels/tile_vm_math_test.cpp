// Accuracy of every function of the tile virtual machine, measured against double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "unit/cpu_kernels/simd_targets.h"
#include "unit/cpu_kernels/tile_run.h"

namespace kiln {
namespace {

using tile_test::Case;
using tile_test::CodeBuilder;
using tile_test::make_operand;
using tile_test::Operand;

struct Function {
  TileOp op;
  double low, high;     // the range from which most arguments come
  double ulps;          // allowed error for f32, in units of the last place of the result
  double absolute = 0;  // also allowed
  std::vector<double> params = {};
};

const std::vector<Function>& functions() {
  static const std::vector<Function> list = {
      {TileOp::kNeg, -10, 10, 0},
      {TileOp::kAbs, -10, 10, 0},
      {TileOp::kSign, -10, 10, 0},
      {TileOp::kRelu, -10, 10, 0},
      {TileOp::kExp, -105, 90, 2},
      {TileOp::kExp2, -151, 129, 2},
      {TileOp::kExpm1, -20, 90, 2},
      {TileOp::kLog, 0, 100, 2},
      {TileOp::kLog2, 0, 100, 2.5},
      {TileOp::kLog10, 0, 100, 2.5},
      {TileOp::kLog1p, -1, 100, 2.5},
      {TileOp::kSqrt, 0, 100, 0.5},
      {TileOp::kRsqrt, 0, 100, 1.5},
      {TileOp::kReciprocal, -100, 100, 0.5},
      {TileOp::kSin, -8000, 8000, 2, 5e-8},
      {TileOp::kCos, -8000, 8000, 2, 5e-8},
      {TileOp::kTan, -100, 100, 2},
      {TileOp::kAsin, -1, 1, 2},
      {TileOp::kAcos, -1, 1, 2},
      {TileOp::kAtan, -10, 10, 2},
      {TileOp::kSinh, -90, 90, 2},
      {TileOp::kCosh, -90, 90, 2},
      {TileOp::kTanh, -10, 10, 2},
      {TileOp::kAsinh, -100, 100, 2},
      {TileOp::kAcosh, 1, 100, 2},
      {TileOp::kAtanh, -1, 1, 2},
      {TileOp::kErf, -5, 5, 2},
      {TileOp::kErfc, -5, 10, 4},
      {TileOp::kSigmoid, -20, 20, 2.5, 3e-39},
      {TileOp::kGeluErf, -5, 10, 20, 7e-9},    // see gelu_erf_f32
      {TileOp::kGeluTanh, -5, 10, 40, 1e-36},  // the exponent's rounding grows with |x|
      {TileOp::kSilu, -20, 20, 3, 3e-37},
      {TileOp::kHardswish, -5, 5, 2},
      {TileOp::kHardsigmoid, -5, 5, 1},
      {TileOp::kMish, -20, 30, 6, 1e-42},
      {TileOp::kSoftplus, -20, 30, 3, 1e-43, {1, 20}},
      {TileOp::kSoftplus, -20, 30, 12, 1e-30, {0.7, 5}},
      {TileOp::kElu, -10, 10, 4, 0, {1.6732632423543772, 1.0507009873554805, 1}},
      {TileOp::kElu, -10, 10, 3, 0, {0.5, 1, 2}},
      {TileOp::kLeakyRelu, -10, 10, 1, 0, {0.01}},
      {TileOp::kClamp, -10, 10, 0, 0, {-2, 3}},
      {TileOp::kFloor, -10, 10, 0},
      {TileOp::kCeil, -10, 10, 0},
      {TileOp::kRound, -10, 10, 0},
      {TileOp::kTrunc, -10, 10, 0},
      {TileOp::kFrac, -10, 10, 0},
  };
  return list;
}

std::vector<double> arguments(double low, double high, bool f32) {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<double> list = {
      0.0,  -0.0,  inf,      -inf, std::nan(""), 1,      -1,   0.5,   -0.5,    1.5,      2.5, -2.5,
      3,    -3,    6,        -6,   1e-30,        -1e-30, 1e30, -1e30, 8388609, -8388609, 3e9, -3e9,
      1e-8, -1e-8, 16777216, 88.9, -88.9,        104,    -104, 20,    -20,     7e-46};
  if (f32)
    for (double tiny : {1e-40, -1e-40, 3.4e38, -3.4e38}) list.push_back(tiny);
  std::mt19937 random(7);
  std::uniform_real_distribution<double> value(low, high), small(-1, 1);
  for (int i = 0; i < 20000; ++i) list.push_back(i % 4 ? value(random) : small(random));
  return list;
}

double ulp_of(double value) {
  const float f = std::fabs(static_cast<float>(value));
  if (!std::isfinite(f)) return 1e31;
  return std::max(static_cast<double>(std::nextafter(f, INFINITY) - f), 1.4e-45);
}

void check(const Function& function, LaneType type) {
  const DType dtype = type == LaneType::kF32 ? DType::kF32 : DType::kF64;
  const auto values = arguments(function.low, function.high, type == LaneType::kF32);
  CodeBuilder builder(1, 0);
  builder.store(builder.output(dtype),
                builder.op(function.op, {builder.load(builder.input(dtype))}, function.params));
  Case test = tile_test::contiguous_case(builder.code, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) test.inputs[0].set(static_cast<int64_t>(i), values[i]);
  // The oracle computes in double; f32 programs are compared with the double result unrounded.
  Case exact = test;
  exact.code.inputs = exact.code.outputs = {DType::kF64};
  for (LaneType& lanes : exact.code.registers) lanes = LaneType::kF64;
  for (TileInstr& instr : exact.code.instrs) instr.type = LaneType::kF64;
  exact.inputs = {make_operand(DType::kF64, test.inputs[0].elements())};
  for (int64_t i = 0; i < test.inputs[0].elements(); ++i)
    exact.inputs[0].set(i, test.inputs[0].get(i));
  std::vector<Operand> expected = {make_operand(DType::kF64, test.inputs[0].elements())};
  if (type == LaneType::kF32)  // parameters are f32 then
    for (TileInstr& instr : exact.code.instrs)
      for (double& p : instr.params) p = static_cast<float>(p);
  ASSERT_EQ(tile_test::interpret(exact, &expected), "");

  auto actual = tile_test::run_case(test);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  double worst = 0, worst_at = 0;
  for (int64_t i = 0; i < test.inputs[0].elements(); ++i) {
    const double x = test.inputs[0].get(i), got = (*actual)[0].get(i), want = expected[0].get(i);
    const std::string where = std::string(tile_op_info(function.op).name) + "(" +
                              std::to_string(x) + ") = " + std::to_string(got) + ", expected " +
                              std::to_string(want);
    if (std::isnan(want) || std::isnan(got)) {
      ASSERT_EQ(std::isnan(want), std::isnan(got)) << where;
      continue;
    }
    if (type == LaneType::kF32) {
      const float rounded = static_cast<float>(want);
      if (std::isinf(rounded) || std::isinf(got)) {
        // At the edge of the range an intermediate result (6 x, in hardswish) may overflow.
        ASSERT_GE(std::fabs(got), 3.4e38 / 6) << where;
        ASSERT_GE(std::fabs(rounded), 3.4e38 / 6) << where;
        ASSERT_EQ(std::signbit(got), std::signbit(want)) << where;
        continue;
      }
      if (std::fabs(got - want) <= function.absolute) continue;
      const double error = std::fabs(got - want) / ulp_of(want);
      if (error > worst) {
        worst = error;
        worst_at = x;
      }
    } else {
      if (std::isinf(want)) {
        ASSERT_EQ(got, want) << where;
        continue;
      }
      ASSERT_NEAR(got, want, std::fabs(want) * 1e-13 + 1e-300) << where;
    }
  }
  EXPECT_LE(worst, std::max(function.ulps, 0.5))
      << tile_op_info(function.op).name << " at " << worst_at;
}

TEST(TileVmMath, F32) {
  cpu::for_each_simd_target([] {
    for (const Function& function : functions()) check(function, LaneType::kF32);
  });
}

TEST(TileVmMath, F64) {
  cpu::for_each_simd_target([] {
    for (const Function& function : functions()) check(function, LaneType::kF64);
  });
}

// f32 sums of many numbers of mixed size stay as close as a pairwise sum would.
TEST(TileVmMath, SumsAreAccurate) {
  cpu::for_each_simd_target([] {
    for (const int64_t n : {100, 4096, 100000}) {
      for (const bool along_columns : {false, true}) {
        CodeBuilder builder(2, 1);
        builder.store(builder.output(DType::kF32),
                      builder.op(TileOp::kReduceSum, {builder.load(builder.input(DType::kF32))}));
        Case test;
        test.code = builder.code;
        const int64_t results = along_columns ? 20 : 2;
        test.binding.extents = {results, n};
        test.binding.accesses.push_back(
            {0, along_columns ? std::vector<int64_t>{1, results} : std::vector<int64_t>{n, 1}, {}});
        test.binding.accesses.push_back({0, {1, 0}, {}});
        test.binding.input_elements = {results * n};
        test.binding.output_elements = {results};
        test.inputs = {make_operand(DType::kF32, results * n)};
        test.outputs = {make_operand(DType::kF32, results)};
        std::mt19937 random(3);
        std::uniform_real_distribution<double> value(0, 1);
        for (int64_t i = 0; i < results * n; ++i) test.inputs[0].set(i, value(random));
        auto actual = tile_test::run_case(test);
        ASSERT_TRUE(actual.ok());
        for (int64_t r = 0; r < results; ++r) {
          double want = 0;
          for (int64_t i = 0; i < n; ++i)
            want += test.inputs[0].get(along_columns ? i * results + r : r * n + i);
          EXPECT_NEAR((*actual)[0].get(r), want, 4e-7 * want) << n << " " << along_columns;
        }
      }
    }
  });
}

}  // namespace
}  // namespace kiln
