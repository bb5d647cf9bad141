// Attention and matrix products against values from PyTorch 2.11.
#include <limits>

#include "expect_values.h"

namespace kiln {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

Tensors qkv() {
  return {floats(DType::kF64, {1, 1, 2, 2}, {1, 0, 0, 1}),
          floats(DType::kF64, {1, 1, 3, 2}, {1, 1, 2, 0, 0, 3}),
          floats(DType::kF64, {1, 1, 3, 2}, {1, 10, 2, 20, 3, 30})};
}
Tensors with_mask(HostTensor mask) {
  Tensors operands = qkv();
  operands.emplace_back(std::move(mask));
  return operands;
}
constexpr double kTolerance = 1e-8;

TEST(Attention, DefaultAndExplicitScale) {
  expect_values(eval("attention", qkv()), {1, 1, 2, 2},
                {1.85603384, 18.5603384, 2.55531095, 25.5531095}, kTolerance);
  expect_values(eval("attention", qkv(), {{"scale", 0.5}}), {1, 1, 2, 2},
                {1.87912784, 18.7912784, 2.39730782, 23.9730782}, kTolerance);
}

TEST(Attention, CausalCountsFromTheFirstKey) {
  expect_values(eval("attention", qkv(), {{"is_causal", true}}), {1, 1, 2, 2},
                {1, 10, 1.33023845, 13.3023845}, kTolerance);
}

TEST(Attention, FullyMaskedRowIsZero) {
  expect_values(eval("attention", with_mask(ints(DType::kBool, {2, 3}, {1, 0, 1, 0, 0, 0}))),
                {1, 1, 2, 2}, {1.6604769, 16.604769, 0, 0}, kTolerance);
  expect_values(
      eval("attention", with_mask(floats(DType::kF64, {2, 3}, {0, 1, -1, -kInf, -kInf, -kInf}))),
      {1, 1, 2, 2}, {1.87771677, 18.7771677, 0, 0}, kTolerance);
}

TEST(Attention, GroupedQueriesShareHeadsInRuns) {
  expect_values(eval("attention",
                     {floats(DType::kF64, {1, 4, 1, 1}, {1, 2, 3, 4}),
                      floats(DType::kF64, {1, 2, 2, 1}, {0, 1, 1, 0}),
                      floats(DType::kF64, {1, 2, 2, 1}, {1, 2, 3, 4})},
                     {{"enable_gqa", true}}),
                {1, 4, 1, 1}, {1.73105858, 1.88079708, 3.04742587, 3.01798621}, kTolerance);
}

TEST(Attention, NanIsNotTakenForMasked) {
  const HostTensor one = floats(DType::kF32, {1, 1}, {1});
  const HostTensor nan = floats(DType::kF32, {1, 1}, {std::numeric_limits<double>::quiet_NaN()});
  expect_values(eval("attention", {nan, one, one}), {1, 1},
                {std::numeric_limits<double>::quiet_NaN()});
}

TEST(Attention, Refusals) {
  const Type q(DType::kF32, {1, 4, 5, 8});
  const Type kv(DType::kF32, {1, 2, 7, 8});
  EXPECT_EQ(refusal("attention", {q, kv, kv}), "K2204");
  EXPECT_EQ(refusal("attention", {q, kv, kv}, {{"enable_gqa", true}}), "");
  EXPECT_EQ(refusal("attention", {q, q, q, Type(DType::kI64, {5, 5})}), "K2203");
  EXPECT_EQ(refusal("attention", {q, q, q, Type(DType::kBool, {5, 6})}), "K2204");
  EXPECT_EQ(refusal("attention", {q, q, Type(DType::kF32, {1, 4, 6, 8})}), "K2204");
}

TEST(Matmul, BroadcastAndTranspose) {
  const std::vector<double> expected{7, 10, 19, 22, 15, 22, 43, 50};
  expect_values(eval("matmul", {counting({2, 1, 1, 2}), counting({2, 2, 2})}), {2, 2, 1, 2},
                expected);
  // The same with both operands stored the other way round.
  expect_values(
      eval("matmul",
           {counting({2, 1, 2, 1}), floats(DType::kF32, {2, 2, 2}, {1, 3, 2, 4, 5, 7, 6, 8})},
           {{"transpose_a", true}, {"transpose_b", true}}),
      {2, 2, 1, 2}, expected);
}

TEST(Matmul, IntegersWrap) {
  EXPECT_EQ(eval("matmul",
                 {ints(DType::kI32, {1, 2}, {1 << 30, 1 << 30}), ints(DType::kI32, {2, 1}, {2, 3})})
                .get_int(0),
            (int64_t{5} << 30) - (int64_t{1} << 32));
}

TEST(Matmul, Refusals) {
  const DimExpr s = DimExpr::symbol("s");
  EXPECT_EQ(refusal("matmul", {Type(DType::kF32, {2, 3}), Type(DType::kF32, {2, 3})}), "K2204");
  EXPECT_EQ(refusal("matmul", {Type(DType::kF32, {2, s}), Type(DType::kF32, {3, 2})}), "K2204");
  EXPECT_EQ(refusal("matmul", {Type(DType::kF32, {2, 4, 3}), Type(DType::kF32, {3, 3, 4})}),
            "K2204");
  EXPECT_EQ(refusal("matmul", {Type(DType::kF32, {3}), Type(DType::kF32, {3, 4})}), "K2202");
  EXPECT_EQ(refusal("matmul", {Type(DType::kBool, {3, 3}), Type(DType::kBool, {3, 4})}), "K2203");
}

TEST(Linear, Refusals) {
  const Type x(DType::kF32, {2, 3});
  EXPECT_EQ(refusal("linear", {x, Type(DType::kF32, {3, 4})}), "K2204");
  EXPECT_EQ(refusal("linear", {x, Type(DType::kF32, {4, 3}), Type(DType::kF32, {3})}), "K2204");
  EXPECT_EQ(refusal("linear", {x, Type(DType::kF32, {4, 3}), Type(DType::kF32, {4})}), "");
}

}  // namespace
}  // namespace kiln
