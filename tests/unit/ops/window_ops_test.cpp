// Convolutions and pools against values from PyTorch 2.11, and the sizes of their results.
#include <limits>

#include "expect_values.h"
#include "recording_emitter.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Type f32(Shape shape) { return Type(DType::kF32, std::move(shape)); }

TEST(Conv, StrideAndPadding) {
  expect_values(eval("conv", {counting({1, 1, 4, 4}), counting({1, 1, 2, 2}), vector_of({0.5})},
                     {{"stride", Ints{2, 2}}, {"padding", Ints{1, 1}}}),
                {1, 1, 3, 3}, {4.5, 18.5, 12.5, 46.5, 94.5, 44.5, 26.5, 44.5, 16.5});
}

TEST(Conv, PaddingAtOneEnd) {
  // As the case above without its first row and column.
  expect_values(
      eval("conv", {counting({1, 1, 4, 4}), counting({1, 1, 2, 2}), std::nullopt},
           {{"stride", Ints{2, 2}}, {"padding", Ints{0, 0}}, {"padding_high", Ints{1, 1}}}),
      {1, 1, 2, 2}, {44, 64, 124, 144});
  expect_values(eval("conv", {counting({1, 1, 3}), counting({1, 1, 2}), std::nullopt},
                     {{"padding", Ints{2}}, {"padding_high", Ints{0}}}),
                {1, 1, 4}, {0, 2, 5, 8});
}

TEST(Conv, DilationAndGroups) {
  expect_values(eval("conv", {counting({1, 1, 6}), floats(DType::kF32, {1, 1, 2}, {1, -1}), {}},
                     {{"dilation", Ints{3}}}),
                {1, 1, 3}, {-3, -3, -3});
  expect_values(
      eval("conv", {counting({1, 4, 2}), floats(DType::kF32, {2, 2, 1}, {1, 10, 100, 1000}), {}},
           {{"groups", int64_t{2}}}),
      {1, 2, 2}, {31, 42, 7500, 8600});
}

TEST(Conv, SymbolicSizes) {
  const DimExpr h = DimExpr::symbol("h");
  EXPECT_EQ(inferred_shape("conv", {f32({1, 3, h * 2 + 6, h}), f32({8, 3, 3, 3}), std::nullopt},
                           {{"stride", Ints{2, 1}}, {"padding", Ints{0, 1}}}),
            "[1,8,?(floordiv(2*h + 3, 2) + 1),?h]");
}

TEST(Conv, Refusals) {
  const Type x = f32({1, 4, 8, 8});
  EXPECT_EQ(refusal("conv", {x, f32({8, 3, 3, 3})}), "K2204");
  EXPECT_EQ(refusal("conv", {x, f32({8, 4, 9, 3})}), "K2204");
  EXPECT_EQ(refusal("conv", {x, f32({9, 2, 3, 3})}, {{"groups", int64_t{2}}}), "K2204");
  EXPECT_EQ(refusal("conv", {x, f32({8, 4, 3, 3}), f32({7})}), "K2204");
  EXPECT_EQ(refusal("conv", {x, f32({8, 4, DimExpr::symbol("k"), 3})}), "K2204");
  EXPECT_EQ(refusal("conv", {x, Type(DType::kF16, {8, 4, 3, 3})}), "K2203");
  EXPECT_EQ(refusal("conv", {x, f32({8, 4, 3, 3})}, {{"stride", Ints{1}}}), "K2205");
  EXPECT_EQ(refusal("conv", {x, f32({8, 4, 3, 3})}, {{"dilation", Ints{0, 1}}}), "K2205");
  // Channels that are not provably those of the weight.
  EXPECT_EQ(refusal("conv", {f32({1, DimExpr::symbol("c"), 8, 8}), f32({8, 4, 3, 3})}), "K2204");
}

TEST(Conv, AsymmetricPaddingGoesToAtenAsPadAndConvolution) {
  OpSample sample;
  sample.operands = {f32({1, 3, 8, 9}), f32({4, 3, 3, 3})};
  sample.attrs = {{"padding", Ints{0, 1}}, {"padding_high", Ints{2, 1}}};
  Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get("conv"), sample);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  RecordingEmitter emitter;
  ASSERT_TRUE(graph->node->op->to_aten(*graph->node, emitter).ok());
  ASSERT_EQ(emitter.records.size(), 2u);
  EXPECT_EQ(emitter.records[0].name, "aten::constant_pad_nd");
  EXPECT_EQ(std::get<CallArg>(emitter.records[0].args[1].value),
            CallArg(CallArg::List{CallArg(1), CallArg(1), CallArg(0), CallArg(2)}));
  EXPECT_EQ(emitter.records[1].name, "aten::convolution");
  EXPECT_EQ(std::get<CallArg>(emitter.records[1].args[4].value),
            CallArg(CallArg::List{CallArg(0), CallArg(0)}));
}

TEST(ConvTranspose, Values) {
  expect_values(
      eval("conv_transpose",
           {counting({1, 1, 2, 2}), floats(DType::kF32, {1, 1, 2, 2}, {1, 10, 100, 1000}), {}}),
      {1, 1, 3, 3}, {1, 12, 20, 103, 1234, 2040, 300, 3400, 4000});
  expect_values(eval("conv_transpose",
                     {counting({1, 1, 3}), floats(DType::kF32, {1, 1, 3}, {1, 10, 100}), {}},
                     {{"stride", Ints{2}}, {"padding", Ints{1}}, {"output_padding", Ints{1}}}),
                {1, 1, 6}, {10, 102, 20, 203, 30, 300});
  expect_values(
      eval("conv_transpose", {counting({1, 2, 2}), floats(DType::kF32, {2, 1, 1}, {1, 10}), {}},
           {{"groups", int64_t{2}}}),
      {1, 2, 2}, {1, 2, 30, 40});
}

TEST(ConvTranspose, OutputPaddingMustBeBelowTheStride) {
  EXPECT_EQ(refusal("conv_transpose", {f32({1, 1, 3}), f32({1, 1, 3})},
                    {{"stride", Ints{2}}, {"output_padding", Ints{2}}}),
            "K2205");
}

AttrList pool(Ints kernel, Ints stride, Ints padding, bool ceil_mode = false) {
  return {{"kernel", kernel}, {"stride", stride}, {"padding", padding}, {"ceil_mode", ceil_mode}};
}

TEST(MaxPool, CeilMode) {
  const HostTensor x = counting({1, 1, 5});
  expect_values(eval("max_pool", {x}, pool({2}, {}, {})), {1, 1, 2}, {2, 4});
  expect_values(eval("max_pool", {x}, pool({2}, {}, {}, true)), {1, 1, 3}, {2, 4, 5});
  // Rounding up would give three windows; the third would start in the high padding.
  EXPECT_EQ(inferred_shape("max_pool", {f32({1, 1, 5})}, pool({2}, {4}, {1}, true)), "[1,1,2]");
  EXPECT_EQ(inferred_shape("max_pool", {f32({1, 1, 3})}, pool({2}, {2}, {1}, true)), "[1,1,2]");
}

TEST(MaxPool, CeilModeOfASymbolIsThatOfItsValue) {
  const DimExpr h = DimExpr::symbol("h");
  for (const auto& [kernel, stride, padding] :
       {std::tuple<int64_t, int64_t, int64_t>{2, 4, 1}, {3, 2, 1}, {2, 3, 0}, {4, 3, 2}}) {
    OpSample sample;
    sample.operands = {f32({1, 1, h})};
    sample.attrs = pool({kernel}, {stride}, {padding}, true);
    Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get("max_pool"), sample);
    ASSERT_TRUE(graph.ok());
    for (int64_t size = 4; size < 30; ++size) {
      // torch's rule, written as its loop does.
      int64_t expected = (size + 2 * padding - kernel + stride - 1) / stride + 1;
      if ((expected - 1) * stride >= size + padding) --expected;
      EXPECT_EQ(*graph->node->result()->shape()[2].evaluate({{"h", size}}), expected)
          << kernel << " " << stride << " " << padding << " " << size;
      EXPECT_EQ(inferred_shape("max_pool", {f32({1, 1, size})}, sample.attrs),
                "[1,1," + std::to_string(expected) + "]");
    }
  }
}

TEST(MaxPool, TiesAndNan) {
  const HostTensor x =
      floats(DType::kF32, {1, 1, 4, 4}, {1, 3, 3, 2, 3, 0, kNan, 1, kNan, 5, 6, 6, -1, -2, -3, -4});
  AttrList attrs = pool({2, 2}, {}, {});
  attrs.emplace_back("with_indices", true);
  std::vector<HostTensor> results = eval_all("max_pool", {x}, attrs);
  ASSERT_EQ(results.size(), 2u);
  expect_values(results[0], {1, 1, 2, 2}, {3, kNan, kNan, 6});
  EXPECT_EQ(integers(results[1]), (Ints{1, 6, 8, 10}));
  attrs = pool({3, 3}, {1, 1}, {1, 1});
  attrs.emplace_back("with_indices", true);
  results = eval_all("max_pool", {x}, attrs);
  EXPECT_EQ(integers(results[1]), (Ints{1, 6, 6, 6, 8, 8, 6, 6, 8, 8, 6, 6, 8, 8, 10, 10}));
}

TEST(MaxPool, PaddingIsAtMostHalfTheKernel) {
  EXPECT_EQ(refusal("max_pool", {f32({1, 1, 9})}, pool({3}, {1}, {2})), "K2205");
  EXPECT_EQ(refusal("max_pool", {f32({1, 1, 9})}, pool({4}, {1}, {2})), "");
}

TEST(AvgPool, CountIncludePadInCeilMode) {
  const HostTensor x = counting({1, 1, 4, 4});
  AttrList attrs = pool({3, 3}, {2, 2}, {1, 1}, true);
  expect_values(eval("avg_pool", {x}, attrs), {1, 1, 3, 3},
                {14.0 / 9, 10.0 / 3, 2, 19.0 / 3, 11, 6, 4.5, 7.5, 4});
  attrs.emplace_back("count_include_pad", false);
  expect_values(eval("avg_pool", {x}, attrs), {1, 1, 3, 3}, {3.5, 5, 6, 9.5, 11, 12, 13.5, 15, 16});
}

TEST(AvgPool, WindowPastTheEndIsCutBeforeItCounts) {
  const HostTensor x = counting({1, 1, 6});
  expect_values(eval("avg_pool", {x}, pool({3}, {2}, {}, true)), {1, 1, 3}, {2, 4, 5.5});
  AttrList attrs = pool({4}, {3}, {1}, true);
  expect_values(eval("avg_pool", {x}, attrs), {1, 1, 3}, {1.5, 4.5, 3});
  attrs.emplace_back("count_include_pad", false);
  expect_values(eval("avg_pool", {x}, attrs), {1, 1, 3}, {2, 4.5, 6});
}

TEST(AvgPool, DivisorOverride) {
  AttrList attrs = pool({2, 2}, {2, 2}, {1, 1});
  attrs.emplace_back("divisor_override", int64_t{3});
  expect_values(
      eval("avg_pool", {counting({1, 1, 4, 4})}, attrs), {1, 1, 3, 3},
      {1.0 / 3, 5.0 / 3, 4.0 / 3, 14.0 / 3, 34.0 / 3, 20.0 / 3, 13.0 / 3, 29.0 / 3, 16.0 / 3});
  EXPECT_EQ(refusal("avg_pool", {f32({1, 1, 4})},
                    {{"kernel", Ints{2}}, {"divisor_override", int64_t{3}}}),
            "K2205");
}

TEST(AdaptivePool, OverlappingWindows) {
  const AttrList three{{"output_size", Shape{3}}};
  expect_values(eval("adaptive_avg_pool", {counting({1, 1, 5})}, three), {1, 1, 3}, {1.5, 3, 4.5});
  expect_values(eval("adaptive_avg_pool", {counting({1, 1, 2})}, three), {1, 1, 3}, {1, 1.5, 2});
  const std::vector<HostTensor> max = eval_all("adaptive_max_pool", {counting({1, 1, 5})},
                                               {{"output_size", Shape{3}}, {"with_indices", true}});
  ASSERT_EQ(max.size(), 2u);
  expect_values(max[0], {1, 1, 3}, {2, 4, 5});
  EXPECT_EQ(integers(max[1]), (Ints{1, 3, 4}));
}

}  // namespace
}  // namespace kiln
