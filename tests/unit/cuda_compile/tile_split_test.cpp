// Reductions in two steps: what is cut and what is not, and that both programs together compute
// what the one did, by the naive interpreter.
#include "backends/cuda/compile/tile_split.h"

#include <gtest/gtest.h>

#include "unit/cpu_kernels/tile_oracle.h"

namespace kiln::cuda {
namespace {

using tile_test::CodeBuilder;
using tile_test::Operand;

DeviceSpec device(int multiprocessors = 132) {
  DeviceSpec spec;
  spec.kind = DeviceKind::kCuda;
  spec.isa = "sm_90";
  spec.multiprocessors = multiprocessors;
  return spec;
}

std::vector<DimExpr> dense(const std::vector<DimExpr>& extents) {
  std::vector<DimExpr> strides(extents.size(), DimExpr(1));
  for (size_t d = extents.size(); d-- > 1;) strides[d - 1] = strides[d] * extents[d];
  return strides;
}

// One access for each memory instruction of the code, dense.
TileParams params_of(TileCode code, std::vector<DimExpr> extents,
                     std::vector<std::vector<DimExpr>> strides) {
  TileParams params;
  params.code = std::move(code);
  params.extents = std::move(extents);
  for (std::vector<DimExpr>& of : strides) params.accesses.push_back({0, std::move(of), {}});
  return params;
}

// y[r] = op over the row of x[r, ...].
TileParams reduction(TileOp op, std::vector<DimExpr> extents, int32_t row_rank = 1,
                     DType dtype = DType::kF32) {
  const auto rank = static_cast<int32_t>(extents.size());
  CodeBuilder b(rank, row_rank);
  const int32_t x = b.input(dtype), y = b.output(dtype);
  b.store(y, b.op(op, {b.load(x)}));
  std::vector<DimExpr> to = dense({extents.begin(), extents.end() - row_rank});
  to.resize(extents.size(), DimExpr(0));
  const std::vector<DimExpr> from = dense(extents);
  return params_of(b.code, std::move(extents), {from, std::move(to)});
}

TileBinding binding_of(const TileParams& params, const std::vector<Operand>& inputs,
                       const std::vector<Operand>& outputs) {
  auto binding = params.bind({});
  EXPECT_TRUE(binding.ok()) << binding.status().to_string();
  for (const Operand& input : inputs) binding->input_elements.push_back(input.elements());
  for (const Operand& output : outputs) binding->output_elements.push_back(output.elements());
  return *binding;
}

std::vector<Operand> interpreted(const TileParams& params, std::vector<Operand> inputs,
                                 std::vector<Operand> outputs) {
  tile_test::Case test{params.code, binding_of(params, inputs, outputs), std::move(inputs),
                       std::move(outputs)};
  EXPECT_EQ(tile_test::interpret(test, &test.outputs), "");
  return test.outputs;
}

// Numbers that no other place has: a part that is read twice or not at all shows.
void fill(Operand& operand) {
  for (int64_t i = 0; i < operand.elements(); ++i) {
    operand.set(i, static_cast<double>((i * 7919 + i / 97) % 2003) / 8 - 100);
  }
}

// Sums of multiples of 1/8 below 2^21 are exact in f32 in any order.
void expect_same(const TileParams& form, std::vector<int64_t> input_elements,
                 std::vector<int64_t> output_elements, const DeviceSpec& on = device()) {
  const auto split = split_reduction(form, on);
  ASSERT_TRUE(split.has_value());
  std::vector<Operand> inputs, outputs, partials;
  for (size_t i = 0; i < input_elements.size(); ++i) {
    inputs.push_back(tile_test::make_operand(form.code.inputs[i], input_elements[i]));
    fill(inputs.back());
  }
  for (size_t i = 0; i < output_elements.size(); ++i) {
    outputs.push_back(tile_test::make_operand(form.code.outputs[i], output_elements[i]));
  }
  for (DType dtype : split->partial_types) {
    partials.push_back(tile_test::make_operand(dtype, split->partial_elements));
  }
  const std::vector<Operand> expected = interpreted(form, inputs, outputs);
  partials = interpreted(split->first, inputs, partials);
  std::vector<Operand> all = inputs;
  all.insert(all.end(), partials.begin(), partials.end());
  const std::vector<Operand> actual = interpreted(split->second, all, outputs);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_EQ(actual[i].bytes, expected[i].bytes) << i;
}

TEST(TileSplit, EveryReductionOfFewLongRows) {
  for (TileOp op : {TileOp::kReduceSum, TileOp::kReduceMax, TileOp::kReduceMin}) {
    expect_same(reduction(op, {3, 16384}), {3 * 16384}, {3});
  }
  expect_same(reduction(TileOp::kReduceSum, {2, 3, 16384}, 1, DType::kI64), {6 * 16384}, {6});
  expect_same(reduction(TileOp::kReduceAny, {2, 16384}, 1, DType::kBool), {2 * 16384}, {2});
  expect_same(reduction(TileOp::kReduceAll, {2, 16384}, 1, DType::kBool), {2 * 16384}, {2});
}

TEST(TileSplit, RowsOfSeveralDimsAndAllOfATensor) {
  expect_same(reduction(TileOp::kReduceSum, {2, 64, 256}, 2), {2 * 64 * 256}, {2});
  expect_same(reduction(TileOp::kReduceMax, {32768}), {32768}, {1});
}

TEST(TileSplit, ALengthThatHasNoEvenParts) {
  expect_same(reduction(TileOp::kReduceSum, {2, 5 * 1639}), {2 * 5 * 1639}, {2});
}

// mean and mean square, then a result of both and of an operand of the rows: what comes before the
// reductions is in the first program, what comes after them in the second, what both need in both.
TEST(TileSplit, WhatComesBeforeAndAfterReductions) {
  CodeBuilder b(2, 1);
  const int32_t x = b.input(DType::kF32), bias = b.input(DType::kF32), y = b.output(DType::kF32);
  const int32_t row_bias = b.load(bias);
  const int32_t shifted = b.op(TileOp::kAdd, {b.load(x), row_bias});
  const int32_t low = b.op(TileOp::kReduceMin, {shifted});
  const int32_t high = b.op(TileOp::kReduceMax, {b.op(TileOp::kNeg, {shifted})});
  b.store(y, b.op(TileOp::kSub, {b.op(TileOp::kAdd, {low, high}), row_bias}));
  const TileParams form = params_of(b.code, {4, 8192}, {{1, 0}, {8192, 1}, {1, 0}});
  const auto split = split_reduction(form, device());
  ASSERT_TRUE(split.has_value());
  EXPECT_EQ(split->partial_types, (std::vector<DType>{DType::kF32, DType::kF32}));
  EXPECT_EQ(split->first.code.outputs.size(), 2u);
  EXPECT_EQ(split->second.code.inputs.size(), 4u);
  expect_same(form, {4 * 8192, 4}, {4});
}

TEST(TileSplit, TheIndexOfAnotherDimGoesAlong) {
  CodeBuilder b(3, 2);
  const int32_t x = b.input(DType::kI64), y = b.output(DType::kI64);
  // The row's dims are 1 and 2; 1 is cut.
  const int32_t weighted = b.op(TileOp::kAdd, {b.load(x), b.iota(2)});
  b.store(y, b.op(TileOp::kReduceSum, {b.op(TileOp::kAdd, {weighted, b.iota(0)})}));
  expect_same(params_of(b.code, {2, 64, 256}, {{16384, 256, 1}, {1, 0, 0}}), {2 * 16384}, {2});
}

TEST(TileSplit, PartsKeepTheDeviceBusyAndAreNotShort) {
  const auto parts = [](const TileParams& form, const DeviceSpec& on) {
    const auto split = split_reduction(form, on);
    return split ? split->second.extents.back().value() : 0;
  };
  const int64_t most = int64_t{1} << 20;
  EXPECT_EQ(parts(reduction(TileOp::kReduceSum, {1, most}), device(132)), 512);  // of 4 * 132
  EXPECT_EQ(parts(reduction(TileOp::kReduceSum, {16, most}), device(132)), 32);  // of 33
  EXPECT_EQ(parts(reduction(TileOp::kReduceSum, {1, 16384}), device(132)), 16);  // of 1024 each
  // Parts whose length is a multiple of 8 go before more parts.
  EXPECT_EQ(parts(reduction(TileOp::kReduceSum, {1, 8 * 9 * 1024}), device(132)), 72);
  EXPECT_EQ(parts(reduction(TileOp::kReduceSum, {1, 8 * 7 * 13 * 17}), device(132)), 7);
  EXPECT_EQ(parts(reduction(TileOp::kReduceSum, {1, most}), device(0)), 4);
}

TEST(TileSplit, NotWhereItWouldNotPay) {
  EXPECT_TRUE(split_reduction(reduction(TileOp::kReduceSum, {2, 8192}), device()));
  EXPECT_FALSE(split_reduction(reduction(TileOp::kReduceSum, {2, 8184}), device()));    // short
  EXPECT_FALSE(split_reduction(reduction(TileOp::kReduceSum, {133, 8192}), device()));  // many
  EXPECT_FALSE(split_reduction(reduction(TileOp::kReduceSum, {0, 8192}), device()));
  EXPECT_FALSE(split_reduction(reduction(TileOp::kReduceSum, {2, 10007}), device()));  // prime
}

TEST(TileSplit, NotWhatItCannotCut) {
  const DimExpr n = DimExpr::symbol("n");
  EXPECT_FALSE(split_reduction(reduction(TileOp::kReduceSum, {n, 8192}), device()));
  EXPECT_FALSE(split_reduction(reduction(TileOp::kReduceSum, {2, n}), device()));
  const std::vector<DimExpr> extents = {2, 8192};
  {  // no row
    CodeBuilder b(2, 0);
    const int32_t x = b.input(DType::kF32), y = b.output(DType::kF32);
    b.store(y, b.load(x));
    EXPECT_FALSE(split_reduction(params_of(b.code, extents, {{8192, 1}, {8192, 1}}), device()));
  }
  {  // a place in the row
    CodeBuilder b(2, 1);
    const int32_t x = b.input(DType::kF32), y = b.output(DType::kI64);
    b.store(y, b.op(TileOp::kReduceArgMax, {b.load(x)}));
    EXPECT_FALSE(split_reduction(params_of(b.code, extents, {{8192, 1}, {1, 0}}), device()));
  }
  {  // the index along the dim that would be cut
    CodeBuilder b(2, 1);
    const int32_t y = b.output(DType::kI64);
    b.store(y, b.op(TileOp::kReduceSum, {b.iota(1)}));
    EXPECT_FALSE(split_reduction(params_of(b.code, extents, {{1, 0}}), device()));
  }
  {  // a result along the row
    CodeBuilder b(2, 1);
    const int32_t x = b.input(DType::kF32), y = b.output(DType::kF32);
    const int32_t value = b.load(x);
    b.store(y, b.op(TileOp::kSub, {value, b.op(TileOp::kReduceMax, {value})}));
    EXPECT_FALSE(split_reduction(params_of(b.code, extents, {{8192, 1}, {8192, 1}}), device()));
  }
  {  // the same, of which every point of the row writes one place
    CodeBuilder b(2, 1);
    const int32_t x = b.input(DType::kF32), y = b.output(DType::kF32);
    const int32_t value = b.load(x);
    b.store(y, b.op(TileOp::kSub, {value, b.op(TileOp::kReduceMax, {value})}));
    EXPECT_FALSE(split_reduction(params_of(b.code, extents, {{8192, 1}, {1, 0}}), device()));
  }
  {  // a reduction of a reduction
    CodeBuilder b(2, 1);
    const int32_t x = b.input(DType::kF32), y = b.output(DType::kF32);
    const int32_t value = b.load(x);
    const int32_t mean = b.op(TileOp::kReduceSum, {value});
    b.store(y, b.op(TileOp::kReduceSum, {b.op(TileOp::kSub, {value, mean})}));
    EXPECT_FALSE(split_reduction(params_of(b.code, extents, {{8192, 1}, {1, 0}}), device()));
  }
}

}  // namespace
}  // namespace kiln::cuda
