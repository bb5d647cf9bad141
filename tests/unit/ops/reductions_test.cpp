// Reductions, scans and normalisations at their edges: no elements, NaN, ties, precision.
#include <cmath>
#include <limits>

#include "eval_op.h"

namespace kiln {
namespace {

using D = std::vector<double>;
using Ints = std::vector<int64_t>;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

AttrList axes(Ints list, bool keepdim = false) {
  return {{"axes", std::move(list)}, {"keepdim", keepdim}};
}

TEST(Reductions, EmptyRows) {
  const HostTensor none(DType::kF32, {2, 0});
  EXPECT_EQ(doubles(eval("reduce_sum", {none}, axes({1}))), (D{0, 0}));
  EXPECT_EQ(doubles(eval("reduce_prod", {none}, axes({1}))), (D{1, 1}));
  EXPECT_TRUE(std::isnan(eval("reduce_mean", {none}, axes({1})).get_double(0)));
  EXPECT_EQ(doubles(eval("reduce_any", {none}, axes({1}))), (D{0, 0}));
  EXPECT_EQ(doubles(eval("reduce_all", {none}, axes({1}))), (D{1, 1}));
  for (const char* op : {"reduce_max", "reduce_min", "reduce_argmax"})
    EXPECT_EQ(refusal(op, {Type(DType::kF32, {2, 0})}, axes({1})), "K2205") << op;
  EXPECT_EQ(eval("reduce_max", {HostTensor(DType::kF32, {0, 3})}, axes({1})).num_elements(), 0);
}

TEST(Reductions, SeveralAxesInAnyOrder) {
  HostTensor x(DType::kI64, {2, 3, 2});
  for (int64_t i = 0; i < 12; ++i) x.set_int(i, i);
  EXPECT_EQ(integers(eval("reduce_sum", {x}, axes({2, 0}))), (Ints{14, 22, 30}));
  EXPECT_EQ(eval("reduce_sum", {x}, axes({0, 2}, true)).shape(), (Ints{1, 3, 1}));
  EXPECT_EQ(integers(eval("reduce_max", {x}, axes({1}))), (Ints{4, 5, 10, 11}));
}

TEST(Reductions, SumsDoNotLoseSmallTerms) {
  // In fp32 the ones would vanish beside 2^24.
  EXPECT_EQ(doubles(eval("reduce_sum", {vector_of({16777216, 1, 1, -16777216})}, axes({0}))),
            (D{2}));
  const int64_t big = (int64_t{1} << 53) + 1;
  EXPECT_EQ(integers(eval("reduce_sum", {ints(DType::kI64, {2}, {big, 2})}, axes({0}))),
            (Ints{big + 2}));
  EXPECT_EQ(integers(eval("reduce_sum", {ints(DType::kU8, {2}, {200, 100})}, axes({0}))),
            (Ints{44}));
}

TEST(Reductions, NanWins) {
  const HostTensor x = vector_of({1, kNan, 3});
  EXPECT_TRUE(std::isnan(eval("reduce_max", {x}, axes({0})).get_double(0)));
  EXPECT_TRUE(std::isnan(eval("reduce_min", {x}, axes({0})).get_double(0)));
  EXPECT_EQ(eval("reduce_argmax", {x}, axes({0})).get_int(0), 1);
  EXPECT_EQ(eval("reduce_argmin", {x}, axes({0})).get_int(0), 1);
  EXPECT_EQ(eval("reduce_any", {vector_of({0, kNan})}, axes({0})).get_int(0), 1);
}

TEST(Reductions, FirstOfEqualsWins) {
  EXPECT_EQ(eval("reduce_argmax", {vector_of({1, 3, 3})}, axes({0})).get_int(0), 1);
  EXPECT_EQ(eval("reduce_argmin", {vector_of({2, 1, 1})}, axes({0})).get_int(0), 1);
  EXPECT_EQ(eval("reduce_argmax", {vector_of({-kInf, -kInf})}, axes({0})).get_int(0), 0);
  EXPECT_EQ(eval("reduce_argmax", {vector_of({1})}, axes({0})).dtype(), DType::kI64);
}

TEST(Reductions, AxesAreChecked) {
  const std::vector<std::optional<Type>> x = {Type(DType::kF32, {2, 3})};
  EXPECT_EQ(refusal("reduce_sum", x, axes({2})), "K2205");
  EXPECT_EQ(refusal("reduce_sum", x, axes({-1})), "K2205");
  EXPECT_EQ(refusal("reduce_sum", x, axes({1, 1})), "K2205");
  EXPECT_EQ(refusal("reduce_sum", x, axes({})), "K2205");
  EXPECT_EQ(refusal("reduce_argmax", x, axes({0, 1})), "K2205");
  EXPECT_EQ(refusal("reduce_mean", {Type(DType::kI32, {2})}, axes({0})), "K2203");
}

TEST(VarOp, CorrectionAndCancellation) {
  const HostTensor x = vector_of({1, 2, 3, 4});
  EXPECT_NEAR(eval("var", {x}, axes({0})).get_double(0), 5.0 / 3, 1e-6);
  AttrList population = axes({0});
  population.push_back({"correction", 0.0});
  EXPECT_EQ(eval("var", {x}, population).get_double(0), 1.25);
  // E[x^2] - E[x]^2 would give 0 or worse here.
  EXPECT_EQ(eval("var", {vector_of({1e6, 1e6 + 1, 1e6 + 2})}, axes({0})).get_double(0), 1);
}

TEST(SoftmaxOps, LargeScoresAndMasks) {
  const AttrList axis = {{"axis", int64_t{0}}};
  EXPECT_EQ(doubles(eval("softmax", {vector_of({1000, 1000})}, axis)), (D{0.5, 0.5}));
  EXPECT_EQ(doubles(eval("softmax", {vector_of({0, -kInf})}, axis)), (D{1, 0}));
  EXPECT_TRUE(std::isnan(eval("softmax", {vector_of({-kInf, -kInf})}, axis).get_double(0)));
  EXPECT_EQ(doubles(eval("log_softmax", {vector_of({0, -2000})}, axis)), (D{0, -2000}));
  EXPECT_EQ(doubles(eval("logsumexp", {vector_of({1000})}, axes({0}))), (D{1000}));
  EXPECT_EQ(doubles(eval("logsumexp", {vector_of({-kInf, -kInf})}, axes({0}))), (D{-kInf}));
  EXPECT_EQ(refusal("softmax", {Type(DType::kF32, {})}, axis), "K2205");
}

TEST(Scans, RunAlongTheirAxis) {
  const HostTensor x = floats(DType::kF32, {2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(doubles(eval("cumsum", {x}, {{"axis", int64_t{0}}})), (D{1, 2, 4, 6}));
  EXPECT_EQ(doubles(eval("cumsum", {x}, {{"axis", int64_t{1}}})), (D{1, 3, 3, 7}));
  EXPECT_EQ(doubles(eval("cumprod", {x}, {{"axis", int64_t{1}}})), (D{1, 2, 3, 12}));
  EXPECT_EQ(integers(eval("cumsum", {ints(DType::kI8, {2}, {127, 1})}, {{"axis", int64_t{0}}})),
            (Ints{127, -128}));
}

TEST(Normalizations, ByHand) {
  // Mean 2, population variance 1.
  const HostTensor x = floats(DType::kF32, {1, 2}, {1, 3});
  EXPECT_EQ(
      doubles(eval("layer_norm", {x, vector_of({2, 3}), vector_of({10, 20})}, {{"eps", 0.0}})),
      (D{8, 23}));
  EXPECT_EQ(doubles(eval("layer_norm", {x, std::nullopt, vector_of({10, 20})}, {{"eps", 3.0}})),
            (D{9.5, 20.5}));
  EXPECT_EQ(doubles(eval("rms_norm", {floats(DType::kF32, {1, 2}, {1, 7}), vector_of({1, 10})},
                         {{"eps", 0.0}})),
            doubles(vector_of({0.2, 14})));
  // Two groups of two channels of one pixel.
  EXPECT_EQ(doubles(eval("group_norm",
                         {floats(DType::kF32, {1, 4}, {1, 3, 10, 14}), vector_of({1, 1, 1, 2}),
                          vector_of({0, 0, 0, 5})},
                         {{"groups", int64_t{2}}, {"eps", 0.0}})),
            (D{-1, 1, -1, 7}));
  EXPECT_EQ(doubles(eval("batch_norm",
                         {floats(DType::kF32, {1, 2, 2}, {1, 2, 3, 4}), vector_of({1, 2}),
                          vector_of({3, 0}), vector_of({2, 1}), vector_of({0, 10})},
                         {{"eps", 1.0}})),
            (D{0, 1, 11, 12}));
}

TEST(Normalizations, ParametersAreChecked) {
  const Type x(DType::kF32, {2, 6});
  const AttrList eps = {{"eps", 1e-5}};
  EXPECT_EQ(refusal("layer_norm", {x, Type(DType::kF32, {5})}, eps), "K2204");
  EXPECT_EQ(refusal("layer_norm", {x, Type(DType::kF16, {6})}, eps), "K2203");
  EXPECT_EQ(refusal("layer_norm", {Type(DType::kBF16, {2, 6}), Type(DType::kF32, {6})}, eps), "");
  EXPECT_EQ(refusal("layer_norm", {x}, {{"eps", -1.0}}), "K2205");
  EXPECT_EQ(refusal("layer_norm", {x}, {{"eps", 1e-5}, {"num_axes", int64_t{3}}}), "K2205");
  EXPECT_EQ(refusal("group_norm", {x}, {{"eps", 1e-5}, {"groups", int64_t{4}}}), "K2205");
  EXPECT_EQ(refusal("batch_norm", {x, Type(DType::kF32, {6})}, eps), "K2201");
  EXPECT_EQ(refusal("rms_norm", {Type(DType::kBF16, {2, 6}), Type(DType::kF32, {6})}, eps),
            "K2203");
}

}  // namespace
}  // namespace kiln
