// What lowering must make of certain programs: where values lie and how many steps there are.
#include <gmock/gmock.h>

#include "unit/cpu_compile/lowered_program.h"

namespace kiln {
namespace {

using cpu_compile_test::expect_same;
using cpu_compile_test::lower;
using cpu_compile_test::Program;

constexpr const char* kPasses = "assign_layouts, fuse_epilogues, fuse_tiles";

struct Steps {
  int tiles = 0, copies = 0;
  bool operator==(const Steps&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Steps& steps) {
  return out << steps.tiles << " tiles, " << steps.copies << " copies";
}

void check(const std::string& text, Steps steps, const SymbolValues& symbols = {},
           double tolerance = 0) {
  Program program = lower(text, kPasses, DataKind::kSmallIntegers);
  ASSERT_NE(program.engine, nullptr);
  EXPECT_EQ((Steps{program.count_steps("tile"), program.count_steps("copy")}), steps);
  expect_same(program, symbols, tolerance);
}

TEST(Lowering, ReshapedResultsAreComputedInTheOutput) {
  check(R"(main(%x: f32[4,6]) {
  %0 = relu(%x) : f32[4,6]
  %1 = reshape(%0) {shape=[2, 12]} : f32[2,12]
  %2 = reshape(%1) {shape=[24]} : f32[24]
  return %2 {name="y"}
})",
        {1, 0});
}

TEST(Lowering, AnOutputThatOthersReadIsNotCopied) {
  check(R"(main(%x: f32[4,6]) {
  %0 = reduce_sum(%x) {axes=[1], keepdim=true} : f32[4,1]
  %1 = reshape(%0) {shape=[4]} : f32[4]
  %2 = permute(%0) {order=[1, 0]} : f32[1,4]
  %3 = neg(%2) : f32[1,4]
  return %1 {name="y"}, %3 {name="z"}
})",
        {2, 0});
}

TEST(Lowering, TheSameValueTwiceIsTwoOutputs) {
  check(R"(main(%x: f32[4,6]) {
  %0 = relu(%x) : f32[4,6]
  return %0 {name="y"}, %0 {name="z"}
})",
        {1, 1});
}

TEST(Lowering, ViewsOfInputsAreCopiedOnce) {
  check(R"(main(%x: f32[4,6]) {
  %0 = permute(%x) {order=[1, 0]} : f32[6,4]
  %1 = slice(%0) {axis=0, start=1, end=6, step=2} : f32[3,4]
  return %1 {name="y"}, %x {name="same"}
})",
        {0, 2});
}

TEST(Lowering, ConcatInPlace) {
  check(R"(main(%x: f32[4,6], %y: f32[4,3]) {
  %0 = relu(%x) : f32[4,6]
  %1 = neg(%y) : f32[4,3]
  %2 = concat(%0, %1) {axis=1} : f32[4,9]
  return %2 {name="z"}
})",
        {2, 0});
}

TEST(Lowering, ConcatOfConcats) {
  check(R"(main(%x: f32[4,6], %y: f32[4,3]) {
  %0 = relu(%x) : f32[4,6]
  %1 = neg(%y) : f32[4,3]
  %2 = concat(%0, %1) {axis=1} : f32[4,9]
  %3 = concat(%2, %x) {axis=1} : f32[4,15]
  return %3 {name="z"}
})",
        {2, 1});
}

TEST(Lowering, ConcatOfOneValueTwice) {
  check(R"(main(%x: f32[4,6]) {
  %0 = relu(%x) : f32[4,6]
  %1 = concat(%0, %0) {axis=0} : f32[8,6]
  return %1 {name="z"}
})",
        {1, 2});
}

TEST(Lowering, ConcatWithSymbols) {
  check(R"(symbols {
  a in [1, 50]
  b in [0, 50]
}
main(%x: f32[?a,3], %y: f32[?b,3]) {
  %0 = relu(%x) : f32[?a,3]
  %1 = neg(%y) : f32[?b,3]
  %2 = concat(%1, %0) {axis=0} : f32[?(a + b),3]
  %3 = mul(%2, %2) : f32[?(a + b),3]
  return %2 {name="z"}, %3 {name="square"}
})",
        {3, 0}, {{"a", 7}, {"b", 5}});
}

TEST(Lowering, ChainIsOneStep) {
  check(R"(main(%x: f32[3,50], %y: f32[3,50]) {
  %0 = add(%x, %y) : f32[3,50]
  %1 = layer_norm(%0) {eps=0.001} : f32[3,50]
  %2 = relu(%1) : f32[3,50]
  %3 = reduce_max(%2) {axes=[1]} : f32[3]
  %4 = neg(%3) : f32[3]
  return %0 {name="sum"}, %2 {name="norm"}, %4 {name="low"}
})",
        {1, 0}, {}, 1e-5);
}

// %2 broadcasts the sums along the other axis: it must not join the group that reduces.
TEST(Lowering, ReducedValuesReadAlongTheWrongAxis) {
  check(R"(main(%x: f32[4,4], %z: f32[4,4]) {
  %0 = relu(%x) : f32[4,4]
  %1 = reduce_sum(%0) {axes=[1]} : f32[4]
  %2 = add(%1, %z) : f32[4,4]
  %3 = mul(%0, %2) : f32[4,4]
  return %3 {name="y"}
})",
        {2, 0});
}

TEST(Lowering, RowsOfOneElement) {
  check(R"(main(%x: f32[5,1]) {
  %0 = add(%x, %x) : f32[5,1]
  %1 = reduce_sum(%0) {axes=[1], keepdim=true} : f32[5,1]
  %2 = add(%1, %0) : f32[5,1]
  %3 = softmax(%2) {axis=1} : f32[5,1]
  %4 = sub(%2, %3) : f32[5,1]
  return %4 {name="y"}
})",
        {1, 0});
}

TEST(Lowering, GroupNormJoinsItsNeighbours) {
  check(R"(symbols {
  n in [1, 9]
  h in [1, 9]
}
weights {
  %w0 = parameter "w" : f32[6]
  %w1 = parameter "b" : f32[6]
}
init {
  const %c0 = %w0 : f32[6] name "w"
  const %c1 = %w1 : f32[6] name "b"
}
main(%x: f32[?n,6,?h,5]) {
  %0 = neg(%x) : f32[?n,6,?h,5]
  %1 = group_norm(%0, %c0, %c1) {groups=3, eps=0.1} : f32[?n,6,?h,5]
  %2 = relu(%1) : f32[?n,6,?h,5]
  return %2 {name="y"}
})",
        {1, 0}, {{"n", 2}, {"h", 3}}, 1e-5);
}

TEST(Lowering, WritesBackAfterAllReads) {
  check(R"(main(%x: f32[5,5], %y: f32[5,5]) {
  %0 = permute(%x) {order=[1, 0]} : f32[5,5]
  %1 = add(%x, %y) : f32[5,5]
  return %1 {name="sum"}, %0 {name="t"}
})",
        {1, 1});
  // x and y change places: both are read before either is written.
  Program program = lower(R"(main(%x: f32[3,3], %y: f32[3,3]) {
  %0 = permute(%y) {order=[1, 0]} : f32[3,3]
  return %0 {writes=%x, name="x"}, %x {writes=%y, name="y"}
})",
                          kPasses);
  ASSERT_NE(program.engine, nullptr);
  std::vector<HostTensor> inputs = cpu_compile_test::random_inputs(program, {});
  const std::vector<HostTensor> before = inputs;
  std::vector<TensorView> views;
  for (HostTensor& input : inputs) {
    views.push_back({input.bytes(), input.dtype(), Device(), 2, input.shape().data(), nullptr});
  }
  ExecutionContext::Impl context(program.engine);
  ASSERT_TRUE(context.prepare(views).ok());
  ASSERT_TRUE(context.run(views, std::vector<TensorView>(2)).ok());
  EXPECT_TRUE(inputs[1] == before[0]);
  for (int64_t i = 0; i < 9; ++i) {
    EXPECT_EQ(inputs[0].get_double(i), before[1].get_double(i % 3 * 3 + i / 3));
  }
}

TEST(Lowering, ConstantsOfInitAreComputedOnce) {
  Program program = lower(R"(weights {
  %w0 = parameter "w" : f32[4,6]
}
init {
  %0 = permute(%w0) {order=[1, 0]} : f32[6,4]
  %1 = neg(%0) : f32[6,4]
  const %c0 = %1 : f32[6,4]
  const %c1 = %0 : f32[6,4]
  const %c2 = %w0 : f32[4,6] name "w"
}
main(%x: f32[6,4]) {
  %0 = add(%x, %c0) : f32[6,4]
  %1 = mul(%0, %c1) : f32[6,4]
  return %1 {name="y"}, %c2 {name="w"}
})",
                          kPasses);
  ASSERT_NE(program.engine, nullptr);
  EXPECT_EQ(program.plan.init.steps.size(), 2u);  // neg and the transposed weight
  expect_same(program);
}

TEST(Lowering, ScalarsAndEmptyTensors) {
  check(R"(symbols {
  n in [0, 9]
}
main(%x: f32[], %e: f32[?n,3]) {
  %0 = neg(%x) : f32[]
  %1 = add(%e, %0) : f32[?n,3]
  %2 = reduce_sum(%1) {axes=[0]} : f32[3]
  return %0 {name="y"}, %1 {name="z"}, %2 {name="s"}
})",
        {2, 0}, {{"n", 0}});
}

}  // namespace
}  // namespace kiln
