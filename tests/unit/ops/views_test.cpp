// The broadcasting rule, and the ops that move elements without arithmetic.
#include "eval_op.h"
#include "ops/broadcast.h"

namespace kiln {
namespace {

using D = std::vector<double>;
using Ints = std::vector<int64_t>;
using Dims = std::vector<DimExpr>;
const DimExpr kS0 = DimExpr::symbol("s0"), kS1 = DimExpr::symbol("s1");

HostTensor counting(std::vector<int64_t> shape) {
  HostTensor tensor(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < tensor.num_elements(); ++i) tensor.set_double(i, static_cast<double>(i));
  return tensor;
}

TEST(Broadcast, DimsAreEqualOrOne) {
  Result<Shape> joint = broadcast_shapes({2, 1, 5}, {3, 1});
  ASSERT_TRUE(joint.ok());
  EXPECT_EQ(*joint, (Shape{2, 3, 5}));
  EXPECT_EQ(broadcast_shapes({2}, {3}).status().code(), "K2204");
  EXPECT_EQ(*broadcast_shapes({1}, {0}), Shape{0});
  EXPECT_EQ(broadcast_shapes({2}, {0}).status().code(), "K2204");
  EXPECT_EQ(*broadcast_shapes(Shape{}, Shape{4}), Shape{4});
}

TEST(Broadcast, SymbolsAreEqualByExpression) {
  EXPECT_EQ(*broadcast_shapes({kS0 + 1}, {1 + kS0}), Shape{kS0 + 1});
  EXPECT_EQ(*broadcast_shapes({kS0, 1}, {kS1}), (Shape{kS0, kS1}));
  EXPECT_EQ(broadcast_shapes({kS0}, {kS1}).status().code(), "K2204");
  EXPECT_EQ(broadcast_shapes({kS0}, {4}).status().code(), "K2204");
}

TEST(Broadcast, OneWay) {
  EXPECT_TRUE(broadcasts_to({1, 3}, {2, 3}));
  EXPECT_FALSE(broadcasts_to({2, 3}, {1, 3}));
  EXPECT_FALSE(broadcasts_to({1, 2, 3}, {2, 3}));
  EXPECT_EQ(broadcast_strides({3, 1}, {2, 3, 4}), (Ints{0, 1, 0}));
}

TEST(ReshapeOp, ProvesElementCounts) {
  EXPECT_EQ(refusal("reshape", {Type(DType::kF32, {kS0, 6})}, {{"shape", Dims{kS0 * 2, 3}}}), "");
  EXPECT_EQ(refusal("reshape", {Type(DType::kF32, {kS0, 6})}, {{"shape", Dims{kS1, 6}}}), "K2204");
  EXPECT_EQ(refusal("reshape", {Type(DType::kF32, {6})}, {{"shape", Dims{-2, -3}}}), "K2205");
}

TEST(PermuteOp, MovesAxes) {
  const HostTensor y = eval("permute", {counting({2, 3, 4})}, {{"order", Ints{2, 0, 1}}});
  EXPECT_EQ(y.shape(), (Ints{4, 2, 3}));
  EXPECT_EQ(y.get_double((1 * 2 + 1) * 3 + 2), 1 * 12 + 2 * 4 + 1);  // y[1,1,2] = x[1,2,1]
  EXPECT_EQ(refusal("permute", {Type(DType::kF32, {2, 3})}, {{"order", Ints{0, 0}}}), "K2205");
  EXPECT_EQ(refusal("permute", {Type(DType::kF32, {2, 3})}, {{"order", Ints{1}}}), "K2205");
}

TEST(SliceOp, StepsAndBounds) {
  EXPECT_EQ(doubles(eval("slice", {counting({11})},
                         {{"axis", int64_t{0}},
                          {"start", DimExpr(1)},
                          {"end", DimExpr(11)},
                          {"step", DimExpr(3)}})),
            (D{1, 4, 7, 10}));
  const auto attrs = [](DimExpr start, DimExpr end, DimExpr step) {
    return AttrList{{"axis", int64_t{0}}, {"start", start}, {"end", end}, {"step", step}};
  };
  const std::vector<std::optional<Type>> x = {Type(DType::kF32, {5})};
  EXPECT_EQ(refusal("slice", x, attrs(3, 2, 1)), "K2205");
  EXPECT_EQ(refusal("slice", x, attrs(0, 6, 1)), "K2205");
  EXPECT_EQ(refusal("slice", x, attrs(-1, 2, 1)), "K2205");
  EXPECT_EQ(refusal("slice", x, attrs(0, 5, 0)), "K2205");
}

// A bound that only the run can know is checked by the run.
TEST(SliceOp, SymbolicBoundsAreCheckedAtRunTime) {
  OpSample sample;
  sample.operands = {Type(DType::kF32, {kS0})};
  sample.attrs = {{"axis", int64_t{0}}, {"start", DimExpr(0)}, {"end", kS1}};
  Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get("slice"), sample);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  SampleData data;
  data.operands.push_back(counting({4}));
  data.symbols = {{"s0", 4}, {"s1", 5}};
  EXPECT_EQ(run_reference(*graph->node, data).status().code(), "K4201");
  data.symbols["s1"] = 3;
  Result<std::vector<HostTensor>> results = run_reference(*graph->node, data);
  ASSERT_TRUE(results.ok());
  EXPECT_EQ(doubles(results->at(0)), (D{0, 1, 2}));
}

TEST(FlipOp, ReversesOnlyItsAxes) {
  EXPECT_EQ(doubles(eval("flip", {counting({2, 3})}, {{"axes", Ints{1}}})), (D{2, 1, 0, 5, 4, 3}));
}

TEST(ConcatOp, JoinsAndRefuses) {
  EXPECT_EQ(doubles(eval("concat", {counting({2, 1}), counting({2, 2})}, {{"axis", int64_t{1}}})),
            (D{0, 0, 1, 1, 2, 3}));
  const AttrList axis = {{"axis", int64_t{0}}};
  EXPECT_EQ(refusal("concat", {Type(DType::kF32, {2, 3}), Type(DType::kF32, {2, 4})}, axis),
            "K2204");
  EXPECT_EQ(refusal("concat", {Type(DType::kF32, {2, 3}), Type(DType::kF32, {2})}, axis), "K2204");
  EXPECT_EQ(refusal("concat", {Type(DType::kF32, {2}), Type(DType::kI32, {2})}, axis), "K2203");
}

TEST(PadOp, Modes) {
  const auto pad = [](int64_t low, int64_t high, const char* mode) {
    return doubles(eval(
        "pad", {counting({4})},
        {{"low", Dims{low}}, {"high", Dims{high}}, {"mode", std::string(mode)}, {"value", 9.0}}));
  };
  EXPECT_EQ(pad(2, 1, "constant"), (D{9, 9, 0, 1, 2, 3, 9}));
  EXPECT_EQ(pad(-1, -2, "constant"), (D{1}));
  EXPECT_EQ(pad(3, 3, "reflect"), (D{3, 2, 1, 0, 1, 2, 3, 2, 1, 0}));
  EXPECT_EQ(pad(2, 1, "replicate"), (D{0, 0, 0, 1, 2, 3, 3}));
  EXPECT_EQ(pad(2, 1, "circular"), (D{2, 3, 0, 1, 2, 3, 0}));
  const auto refused = [](int64_t low, const char* mode) {
    return refusal("pad", {Type(DType::kF32, {4})},
                   {{"low", Dims{low}}, {"high", Dims{0}}, {"mode", std::string(mode)}});
  };
  EXPECT_EQ(refused(4, "reflect"), "K2205");
  EXPECT_EQ(refused(5, "circular"), "K2205");
  EXPECT_EQ(refused(-1, "replicate"), "K2205");
  EXPECT_EQ(refused(-5, "constant"), "K2205");
  EXPECT_EQ(refused(1, "mirror"), "K2205");
}

TEST(RollOp, MovesElementsUp) {
  EXPECT_EQ(doubles(eval("roll", {counting({5})}, {{"shifts", Dims{2}}, {"axes", Ints{0}}})),
            (D{3, 4, 0, 1, 2}));
  EXPECT_EQ(doubles(eval("roll", {counting({5})}, {{"shifts", Dims{-6}}, {"axes", Ints{0}}})),
            (D{1, 2, 3, 4, 0}));
}

TEST(TriangleOps, Diagonals) {
  EXPECT_EQ(doubles(eval("tril", {counting({2, 3})}, {{"diagonal", int64_t{1}}})),
            (D{0, 1, 0, 3, 4, 5}));
  EXPECT_EQ(doubles(eval("triu", {counting({2, 3})}, {{"diagonal", int64_t{1}}})),
            (D{0, 1, 2, 0, 0, 5}));
  EXPECT_EQ(refusal("tril", {Type(DType::kF32, {3})}), "K2202");
}

TEST(ReorderOp, ChangesOnlyTheLayout) {
  OpSample sample;
  sample.operands = {Type(DType::kF32, {1, 2, 3, 4})};
  sample.attrs = {{"layout", std::string("nhwc")}};
  Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get("reorder"), sample);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  EXPECT_EQ(graph->node->result()->tensor().layout, Layout::channels_last(4));
  EXPECT_EQ(refusal("reorder", sample.operands, {{"layout", std::string("zigzag")}}), "K2205");
  EXPECT_EQ(refusal("reorder", sample.operands, {{"layout", std::string("order(1,0)")}}), "K2205");
}

TEST(SourceOps, FillAndCount) {
  EXPECT_EQ(
      eval("full", {},
           {{"shape", Dims{1}}, {"dtype", DType::kI64}, {"int_value", int64_t{9007199254740993}}})
          .get_int(0),
      9007199254740993);
  EXPECT_EQ(refusal("full", {}, {{"shape", Dims{1}}, {"dtype", DType::kI64}, {"value", 1.0}}),
            "K2205");
  EXPECT_EQ(refusal("full", {}, {{"shape", Dims{-1}}, {"dtype", DType::kF32}}), "K2205");
  EXPECT_EQ(doubles(eval("iota", {},
                         {{"length", DimExpr(3)},
                          {"dtype", DType::kF32},
                          {"start", DimExpr(4)},
                          {"step", DimExpr(-2)},
                          {"scale", 0.5},
                          {"offset", 1.0}})),
            (D{3, 2, 1}));
  EXPECT_EQ(refusal("iota", {}, {{"length", DimExpr(3)}, {"dtype", DType::kI64}, {"scale", 0.5}}),
            "K2205");
}

}  // namespace
}  // namespace kiln
