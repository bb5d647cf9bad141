// Convolutions by cuDNN: channels-last from end to end, epilogues, weights made by the init plan.
#include <gmock/gmock.h>

#include <cmath>

#include "library_backend.h"
#include "samples/sample_program.h"
#include "unit/cpu_compile/lowered_program.h"
#include "unit/cuda_runtime/fake_cudnn.h"

namespace kiln::cuda_test {
namespace {

using cpu_compile_test::expect_same;
using cpu_compile_test::lower;
using cpu_compile_test::Program;
using testing::ElementsAre;

constexpr const char* kPasses = "assign_layouts, fuse_epilogues, fuse_tiles";

class CudnnProvider : public testing::Test {
 protected:
  void SetUp() override {
    fake_cudnn() = {};
    fake_cublaslt() = {};
    set_cudnn_for_test(&fake_cudnn_table());
    set_cublaslt_for_test(&fake_cublaslt_table());
  }
  void TearDown() override {
    set_cudnn_for_test(nullptr);
    set_cublaslt_for_test(nullptr);
  }
  static Program checked(const std::string& text, double tolerance = 0) {
    Program program = lower(text, kPasses, DataKind::kSmallIntegers,
                            std::make_unique<LibraryBackend>());
    expect_same(program, {}, tolerance);
    return program;
  }
  static std::vector<std::string> kinds(const Plan& plan) {
    std::vector<std::string> kinds;
    for (const StepDesc& step : plan.steps) kinds.push_back(step.kind);
    return kinds;
  }
};

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
  auto refusal = [](const std::string& text) {
    auto module = parse_module(text);
    EXPECT_TRUE(module.ok()) << module.status().to_string();
    const auto provider = cuda::make_cudnn_conv_provider({});
    return refusal_of(*(*module)->main.snapshot()[0], *provider);
  };
  const std::string conv = R"(main(%x: f32[1,3,7,7], %w: f32[4,3,3,3]) {
  %0 = conv(%x, %w) {stride=[1, 1], padding=[0, 0], padding_high=[0, 0], dilation=[1, 1], groups=1} : f32[1,4,5,5]
  return %0 {name="y"}
})";
  EXPECT_EQ(refusal(conv), "");
  fake_cudnn().tensor_core_engines = 100;
  EXPECT_THAT(refusal(std::string(conv).replace(conv.find("7,7]"), 3, "7,8").replace(
                  conv.find("5,5]"), 3, "5,6")),
              testing::HasSubstr("no engine"));
}

// Every sample of its ops whose dtype the library has.
TEST_F(CudnnProvider, ComputesTheSamplesOfItsOps) {
  int compared = 0;
  for (const char* name : {"conv", "conv_transpose"}) {
    const OpDef* op = &OpRegistry::global().get(name);
    for (const OpSample& sample : op->samples()) {
      const DType dtype = sample.operands[0]->tensor().dtype;
      if (!is_float(dtype)) continue;
      const auto data = make_sample_data(sample, 7);
      ASSERT_TRUE(data.ok()) << data.status().to_string();
      const auto graph = make_sample_graph(*op, sample);
      ASSERT_TRUE(graph.ok());
      const auto results = run_reference(*graph->node, *data);
      ASSERT_TRUE(results.ok());
      for (const InputForm form : {InputForm::kContiguous, InputForm::kReversed, InputForm::kGaps,
                                   InputForm::kWeights}) {
        auto program = SampleProgram::make(*op, sample, form, 1,
                                           std::make_unique<LibraryBackend>(), &*data);
        if (!program.ok() || (*program)->steps().find("cudnn") == std::string::npos) continue;
        const auto outputs = (*program)->run(*data);
        ASSERT_TRUE(outputs.ok()) << sample.why << ": " << outputs.status().to_string();
        const HostTensor &actual = (*outputs)[0], &expected = (*results)[0];
        ASSERT_EQ(actual.shape(), expected.shape()) << sample.why;
        double sum = 0, error = 0;
        for (int64_t i = 0; i < expected.num_elements(); ++i) {
          const double difference = actual.get_double(i) - expected.get_double(i);
          sum += expected.get_double(i) * expected.get_double(i);
          error += difference * difference;
        }
        const double tolerance = dtype == DType::kBF16 ? 1e-2 : dtype == DType::kF16 ? 1e-3 : 1e-6;
        EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(sum) + 1e-30)
            << name << " " << sample.why;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 60);
}

}  // namespace
}  // namespace kiln::cuda_test
