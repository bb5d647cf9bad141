// Products by cuBLASLt: what is absorbed, what is refused, and that whole programs compute the same
// with a library that does what cuBLASLt's documentation says.
#include <gmock/gmock.h>

#include "library_provider.h"

namespace kiln::cuda_test {
namespace {

using testing::ElementsAre;

class CublasLtProvider : public LibraryProvider {};

TEST_F(CublasLtProvider, LinearLayersAreOneStepWithTheWeightsAsTheyAre) {
  const Program program = checked(R"(weights {
  %w0 = parameter "w" : f32[6,5]
  %w1 = parameter "b" : f32[6]
}
init {
  const %c0 = %w0 : f32[6,5]
  const %c1 = %w1 : f32[6]
}
main(%x: f32[2,3,5]) {
  %0 = linear(%x, %c0, %c1) : f32[2,3,6]
  return %0 {name="y"}
})");
  EXPECT_THAT(steps(program), ElementsAre("cuda.cublaslt"));
  EXPECT_TRUE(program.plan.init.steps.empty());
  EXPECT_EQ(fake_cublaslt().products, 1);
}

TEST_F(CublasLtProvider, EpiloguesAreAbsorbedInTheirOrder) {
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %w: f32[6,5], %b: f32[6], %z: f32[4,6]) {
  %0 = linear(%x, %w, %b) : f32[4,6]
  %1 = add(%z, %0) : f32[4,6]
  %2 = relu(%1) : f32[4,6]
  return %2 {name="y"}
})")),
              ElementsAre("cuda.cublaslt"));
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %w: f32[6,5]) {
  %0 = linear(%x, %w) : f32[4,6]
  %1 = gelu(%0) {approximate="tanh"} : f32[4,6]
  return %1 {name="y"}
})",
                            1e-6)),
              ElementsAre("cuda.cublaslt"));
  // A factor, then a bias that lies in a tensor of more dims.
  EXPECT_THAT(steps(checked(R"(main(%x: f32[2,4,5], %y: f32[2,5,6], %b: f32[1,1,6]) {
  %0 = matmul(%x, %y) : f32[2,4,6]
  %1 = full() {shape=[], dtype=f32, value=0.25} : f32[]
  %2 = mul(%0, %1) : f32[2,4,6]
  %3 = add(%2, %b) : f32[2,4,6]
  return %3 {name="y"}
})")),
              ElementsAre("cuda.cublaslt"));
}

TEST_F(CublasLtProvider, WhatNoEpilogueHasStaysBehind) {
  // An activation, then an addend.
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %w: f32[6,5], %z: f32[4,6]) {
  %0 = linear(%x, %w) : f32[4,6]
  %1 = relu(%0) : f32[4,6]
  %2 = add(%1, %z) : f32[4,6]
  return %2 {name="y"}
})")),
              ElementsAre("cuda.cublaslt", "tile"));
  // The exact gelu.
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %w: f32[6,5]) {
  %0 = linear(%x, %w) : f32[4,6]
  %1 = gelu(%0) {approximate="none"} : f32[4,6]
  return %1 {name="y"}
})",
                            1e-5)),
              ElementsAre("cuda.cublaslt", "tile"));
  // A factor of more than the product; a column that is no bias.
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %w: f32[6,5], %b: f32[6]) {
  %0 = linear(%x, %w, %b) : f32[4,6]
  %1 = full() {shape=[], dtype=f32, value=0.5} : f32[]
  %2 = mul(%0, %1) : f32[4,6]
  return %2 {name="y"}
})")),
              ElementsAre("cuda.cublaslt", "tile"));
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %w: f32[6,5], %c: f32[4,1]) {
  %0 = linear(%x, %w) : f32[4,6]
  %1 = add(%0, %c) : f32[4,6]
  return %1 {name="y"}
})")),
              ElementsAre("cuda.cublaslt", "tile"));
}

TEST_F(CublasLtProvider, ViewsAreReadAndWrittenInPlace) {
  // Heads of attention: nothing is copied on the way in, one call a batch.
  EXPECT_THAT(steps(checked(R"(main(%q: f32[2,3,12], %k: f32[2,5,12]) {
  %0 = reshape(%q) {shape=[2, 3, 4, 3]} : f32[2,3,4,3]
  %1 = permute(%0) {order=[0, 2, 1, 3]} : f32[2,4,3,3]
  %2 = reshape(%k) {shape=[2, 5, 4, 3]} : f32[2,5,4,3]
  %3 = permute(%2) {order=[0, 2, 1, 3]} : f32[2,4,5,3]
  %4 = matmul(%1, %3) {transpose_b=true} : f32[2,4,3,5]
  return %4 {name="y"}
})")),
              ElementsAre("cuda.cublaslt"));
  EXPECT_EQ(fake_cublaslt().products, 2);
  // Parts of a concatenation are written where they belong.
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,5], %v: f32[6,5], %w: f32[7,5]) {
  %0 = linear(%x, %v) : f32[4,6]
  %1 = linear(%x, %w) : f32[4,7]
  %2 = concat(%0, %1) {axis=1} : f32[4,13]
  return %2 {name="y"}
})")),
              ElementsAre("cuda.cublaslt", "cuda.cublaslt"));
  // Columns with gaps are copied.
  EXPECT_THAT(steps(checked(R"(main(%x: f32[4,10], %w: f32[6,5]) {
  %0 = slice(%x) {axis=1, start=0, end=10, step=2} : f32[4,5]
  %1 = linear(%0, %w) : f32[4,6]
  return %1 {name="y"}
})")),
              ElementsAre("copy", "cuda.cublaslt"));
}

// A convolution of patches with its bias. `order`: the image is a permuted input; `rest`: behind
// it, of which %3 is the result.
std::string patches(const std::string& image, const std::string& weight, const std::string& result,
                    const std::string& stride, const std::string& rest = "",
                    const std::string& input = "", const std::string& order = "") {
  const std::string out = weight.substr(0, weight.find(','));
  std::string text = "weights {\n  %w0 = parameter \"w\" : f32[" + weight +
                     "]\n  %w1 = parameter \"b\" : f32[" + out +
                     "]\n}\ninit {\n  const %c0 = %w0 : f32[" + weight +
                     "]\n  const %c1 = %w1 : f32[" + out + "]\n}\nmain(%x: f32[" +
                     (order.empty() ? image : input) + "], %z: f32[" + result + "]) {\n";
  if (!order.empty()) text += "  %0 = permute(%x) {order=[" + order + "]} : f32[" + image + "]\n";
  text += "  %1 = conv(%" + std::string(order.empty() ? "x" : "0") + ", %c0, %c1) {stride=[" +
          stride + "]} : f32[" + result + "]\n" + rest;
  return text + "  return %" + (rest.empty() ? "1" : "3") + " {name=\"y\"}\n}";
}

TEST_F(CublasLtProvider, ConvolutionsOfPatchesAreProducts) {
  // Pixels are gathered in the order in which weights lie; the contiguous result is one copy more.
  Program program = checked(patches("2,3,8,12", "5,3,4,4", "2,5,2,3", "4, 4"));
  EXPECT_THAT(steps(program), ElementsAre("copy", "cuda.cublaslt", "copy"));
  EXPECT_TRUE(program.plan.init.steps.empty());
  EXPECT_EQ(fake_cublaslt().products, 1);
  // Of a channels-last image, a row of a window lies in a row: the weights are turned at load.
  program =
      checked(patches("2,3,8,12", "5,3,4,4", "2,5,2,3", "4, 4", "", "2,8,12,3", "0, 3, 1, 2"));
  EXPECT_THAT(steps(program), ElementsAre("copy", "cuda.cublaslt", "copy"));
  EXPECT_EQ(program.plan.init.steps.size(), 1U);
  const PlanView& windows = program.plan.main.steps[0].inputs[0];
  EXPECT_EQ(windows.dims.size(), 6U);
  EXPECT_TRUE(windows.strides.back().is_value(1));
  EXPECT_TRUE(windows.dims.back().is_value(3));
  // Pixels behind the last window; windows that are no squares; other numbers of axes.
  for (const std::string& text :
       {patches("1,3,9,11", "5,3,4,2", "1,5,2,5", "4, 2"), patches("2,2,11", "5,2,3", "2,5,3", "3"),
        patches("2,2,11", "5,2,3", "2,5,3", "3", "", "2,11,2", "0, 2, 1"),
        patches("1,1,4,6,4", "5,1,2,3,4", "1,5,2,2,1", "2, 3, 4"),
        patches("0,3,8,8", "5,3,4,4", "0,5,2,2", "4, 4")}) {
    EXPECT_EQ(checked(text).count_steps("cuda.cublaslt"), 1) << text;
  }
}

TEST_F(CublasLtProvider, ConvolutionsOfPatchesHaveTheEpiloguesOfProducts) {
  const Program program = checked(patches("2,3,8,8", "5,3,4,4", "2,5,2,2", "4, 4",
                                          "  %2 = add(%1, %z) : f32[2,5,2,2]\n"
                                          "  %3 = relu(%2) : f32[2,5,2,2]\n"));
  EXPECT_EQ(program.count_steps("cuda.cublaslt"), 1);
  EXPECT_EQ(program.count_steps("tile"), 0);
}

TEST_F(CublasLtProvider, OtherConvolutionsAreNoProducts) {
  const auto meant_for_it = [](const std::string& operands, const std::string& attrs) {
    const auto provider = cuda::make_cublaslt_provider({});
    const std::string text =
        "main(" + operands.substr(0, operands.find(';')) + ") {\n  %0 = conv(%x, %w) {" + attrs +
        "} : " + operands.substr(operands.find(';') + 1) + "\n  return %0 {name=\"y\"}\n}";
    return refusal(text, *provider).empty();
  };
  EXPECT_TRUE(meant_for_it("%x: f16[1,3,8,8], %w: f16[4,3,2,2];f16[1,4,4,4]", "stride=[2, 2]"));
  // Windows that overlap, or have pixels between them; padding; holes; groups.
  EXPECT_FALSE(meant_for_it("%x: f16[1,3,8,8], %w: f16[4,3,2,2];f16[1,4,7,4]", "stride=[1, 2]"));
  EXPECT_FALSE(meant_for_it("%x: f16[1,3,8,8], %w: f16[4,3,2,2];f16[1,4,3,3]", "stride=[3, 3]"));
  EXPECT_FALSE(meant_for_it("%x: f16[1,3,6,8], %w: f16[4,3,2,2];f16[1,4,4,4]",
                            "stride=[2, 2], padding=[1, 0]"));
  EXPECT_FALSE(meant_for_it("%x: f16[1,3,7,8], %w: f16[4,3,2,2];f16[1,4,4,4]",
                            "stride=[2, 2], padding=[0, 0], padding_high=[1, 0]"));
  EXPECT_FALSE(meant_for_it("%x: f16[1,3,8,8], %w: f16[4,3,2,2];f16[1,4,3,4]",
                            "stride=[2, 2], dilation=[2, 1]"));
  EXPECT_FALSE(
      meant_for_it("%x: f16[1,6,8,8], %w: f16[4,3,2,2];f16[1,4,4,4]", "stride=[2, 2], groups=2"));
  // Pixels of whole vectors; windows of one pixel.
  EXPECT_FALSE(meant_for_it("%x: f16[1,8,8,8], %w: f16[4,8,2,2];f16[1,4,4,4]", "stride=[2, 2]"));
  EXPECT_FALSE(meant_for_it("%x: f16[1,3,8,8], %w: f16[4,3,1,1];f16[1,4,8,8]", "stride=[1, 1]"));
}

TEST_F(CublasLtProvider, RefusesWithReasons) {
  const auto provider = cuda::make_cublaslt_provider({});
  EXPECT_EQ(refusal("main(%x: i32[4,5], %y: i32[5,6]) {\n  %0 = matmul(%x, %y) : i32[4,6]\n"
                    "  return %0 {name=\"y\"}\n}",
                    *provider),
            "dtype i32");
  EXPECT_EQ(refusal("main(%x: f16[4,5], %y: f16[5,6]) {\n  %0 = matmul(%x, %y) : f16[4,6]\n"
                    "  return %0 {name=\"y\"}\n}",
                    *provider),
            "");
}

// Every sample of matmul and linear whose dtype the library has, in each form of its inputs.
TEST_F(CublasLtProvider, ComputesTheSamplesOfItsOps) {
  const Compared compared = compare_samples({"matmul", "linear"}, "cuda.cublaslt");
  EXPECT_THAT(compared.others, testing::IsEmpty());
  EXPECT_GT(compared.programs, 60);
}

}  // namespace
}  // namespace kiln::cuda_test
