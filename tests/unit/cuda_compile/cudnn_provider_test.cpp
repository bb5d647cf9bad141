// Convolutions by cuDNN: channels-last from end to end, epilogues, weights made by the init plan.
#include <gmock/gmock.h>

#include <algorithm>

#include "library_provider.h"

namespace kiln::cuda_test {
namespace {

using testing::ElementsAre;

class CudnnProvider : public LibraryProvider {};

TEST_F(CudnnProvider, NothingIsConvertedBetweenConvolutions) {
  const Program program = checked(R"(weights {
  %w0 = parameter "w1" : f32[8,3,3,3]
  %w1 = parameter "b1" : f32[8]
  %w2 = parameter "w2" : f32[8,8,3,3]
  %w3 = parameter "b2" : f32[8]
}
init {
  const %c0 = %w0 : f32[8,3,3,3]
  const %c1 = %w1 : f32[8]
  const %c2 = %w2 : f32[8,8,3,3]
  const %c3 = %w3 : f32[8]
}
main(%x: f32[2,3,9,9]) {
  %0 = conv(%x, %c0, %c1) {stride=[2, 2], padding=[1, 1], padding_high=[1, 1], dilation=[1, 1], groups=1} : f32[2,8,5,5]
  %1 = relu(%0) : f32[2,8,5,5]
  %2 = conv(%1, %c2, %c3) {stride=[1, 1], padding=[1, 1], padding_high=[1, 1], dilation=[1, 1], groups=1} : f32[2,8,5,5]
  %3 = add(%2, %1) : f32[2,8,5,5]
  %4 = relu(%3) : f32[2,8,5,5]
  %5 = reduce_sum(%4) {axes=[2, 3], keepdim=false} : f32[2,8]
  return %5 {name="y"}
})");
  // One copy: the contiguous input becomes channels-last. The weights are made so at load.
  EXPECT_THAT(kinds(program.plan.main),
              ElementsAre("copy", "cuda.cudnn_conv", "cuda.cudnn_conv", "tile"));
  EXPECT_THAT(kinds(program.plan.init), ElementsAre("copy", "copy"));
  EXPECT_EQ(fake_cudnn().executions, 2);
  EXPECT_EQ(program.plan.main.steps[2].label, "conv+add+relu");
}

TEST_F(CudnnProvider, ActivationsAreAbsorbed) {
  for (const char* activation :
       {"relu(%0)", "sigmoid(%0)", "tanh(%0)", "leaky_relu(%0) {slope=0.125}",
        "clamp(%0) {has_min=true, min=0.0, has_max=true, max=6.0}"}) {
    const Program program = checked(std::string(R"(weights {
  %w0 = parameter "w" : f32[4,3,3,3]
  %w1 = parameter "b" : f32[4]
}
init {
  const %c0 = %w0 : f32[4,3,3,3]
  const %c1 = %w1 : f32[4]
}
main(%x: f32[1,3,7,7]) {
  %0 = conv(%x, %c0, %c1) {stride=[1, 1], padding=[0, 0], padding_high=[0, 0], dilation=[1, 1], groups=1} : f32[1,4,5,5]
  %1 = )") + activation + R"( : f32[1,4,5,5]
  return %1 {name="y"}
})",
                                    1e-5);
    // The contiguous result is one copy more.
    EXPECT_THAT(kinds(program.plan.main), ElementsAre("copy", "cuda.cudnn_conv", "copy"))
        << activation;
  }
}

TEST_F(CudnnProvider, ABiasBesideMultiplesOf16BytesIsCopied) {
  for (const auto& [start, copies] : {std::pair(3, 4), {4, 3}}) {
    const std::string from = std::to_string(start), to = std::to_string(start + 4);
    const Program program =
        checked(R"(main(%x: f32[1,3,7,7]@nhwc, %w: f32[4,3,3,3]@nhwc, %p: f32[9]) {
  %b = slice(%p) {axis=0, start=)" + from + ", end=" + to + R"(} : f32[4]
  %0 = conv(%x, %w, %b) {stride=[1, 1], padding=[0, 0], padding_high=[0, 0], dilation=[1, 1], groups=1} : f32[1,4,5,5]
  return %0 {name="y"}
})",
                1e-5);
    const auto found = kinds(program.plan.main);
    EXPECT_EQ(std::count(found.begin(), found.end(), "copy"), copies) << start;
  }
}

TEST_F(CudnnProvider, AnAddendAfterTheActivationStaysBehind) {
  const Program program = checked(R"(weights {
  %w0 = parameter "w" : f32[4,3,3,3]
  %w1 = parameter "b" : f32[4]
}
init {
  const %c0 = %w0 : f32[4,3,3,3]
  const %c1 = %w1 : f32[4]
}
main(%x: f32[1,3,7,7], %z: f32[1,4,5,5]) {
  %0 = conv(%x, %c0, %c1) {stride=[1, 1], padding=[0, 0], padding_high=[0, 0], dilation=[1, 1], groups=1} : f32[1,4,5,5]
  %1 = relu(%0) : f32[1,4,5,5]
  %2 = add(%1, %z) : f32[1,4,5,5]
  %3 = reduce_sum(%2) {axes=[2, 3], keepdim=false} : f32[1,4]
  return %3 {name="y"}
})");
  EXPECT_EQ(program.count_steps("cuda.cudnn_conv"), 1);
  EXPECT_EQ(program.plan.main.steps[1].label, "conv+relu");
}

TEST_F(CudnnProvider, RefusesWithReasons) {
  const auto provider = cuda::make_cudnn_conv_provider({});
  const std::string conv = R"(main(%x: f32[1,3,7,7], %w: f32[4,3,3,3]) {
  %0 = conv(%x, %w) {stride=[1, 1], padding=[0, 0], padding_high=[0, 0], dilation=[1, 1], groups=1} : f32[1,4,5,5]
  return %0 {name="y"}
})";
  EXPECT_EQ(refusal(conv, *provider), "");
  fake_cudnn().tensor_core_engines = 100;
  EXPECT_THAT(refusal(std::string(conv).replace(conv.find("7,7]"), 3, "7,8").replace(
                  conv.find("5,5]"), 3, "5,6"), *provider),
              testing::HasSubstr("no engine"));
}

// Every sample of its ops whose dtype the library has.
TEST_F(CudnnProvider, ComputesTheSamplesOfItsOps) {
  EXPECT_GT(compare_samples({"conv", "conv_transpose"}, "cudnn").programs, 60);
}

}  // namespace
}  // namespace kiln::cuda_test
