// Whole programs with attention by cuDNN, its engines being a fake that computes, beside Kiln's own
// kernel on the emulator: which of the two runs, and that both give the same.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/compile/own_providers.h"
#include "base/options.h"
#include "emulated_samples.h"
#include "ops/sample_types.h"
#include "unit/cuda_runtime/fake_cudnn.h"

namespace kiln::emulator {
namespace {

using cuda_test::fake_cudnn;
using Fill = OpSample::Fill;

class WithSdpa : public OwnCudaKernels {
 public:
  WithSdpa() : providers_(cuda::cuda_providers()) {
    std::erase_if(providers_, [](const auto& provider) {
      return !provider->name().starts_with("cuda.") && provider->name() != "cudnn.sdpa";
    });
  }
  const ProviderList& providers() override { return providers_; }
  bool adds_mask(Node& attention) override {
    return cuda::cudnn_sdpa_adds_mask(attention, device(), {});
  }

 private:
  ProviderList providers_;
};

class SdpaProgram : public testing::Test {
 protected:
  void SetUp() override {
    use_emulated_cuda();
    fake_cudnn() = {};
    cuda::set_cudnn_for_test(&cuda_test::fake_cudnn_table());
  }
  void TearDown() override { cuda::set_cudnn_for_test(nullptr); }

  struct Outcome {
    std::string steps;
    int by_cudnn = 0;  // executions
  };
  // Runs the sample, at the sizes `also` too on the same engine, and compares with the reference.
  static Outcome run(const OpSample& sample, const SymbolValues& also = {}) {
    const OpDef& op = OpRegistry::global().get("attention");
    auto data = make_sample_data(sample, kSeed);
    EXPECT_TRUE(data.ok()) << data.status().to_string();
    auto program = SampleProgram::make(op, sample, InputForm::kContiguous, 1,
                                       std::make_unique<WithSdpa>(), &*data);
    EXPECT_TRUE(program.ok()) << program.status().to_string();
    if (!data.ok() || !program.ok()) return {};
    auto graph = make_sample_graph(op, sample);
    EXPECT_EQ(difference_from(*graph->node, **program, *data, sample.tolerance), "") << sample.why;
    if (!also.empty()) {
      auto other = sample_at(op, sample, also, kSeed);
      EXPECT_TRUE(other.has_value());
      if (other) {
        EXPECT_EQ(difference_from(*other->graph.node, **program, other->data, sample.tolerance), "")
            << sample.why;
      }
    }
    return {(*program)->steps(), fake_cudnn().executions};
  }
  static std::optional<Type> f16(kiln::Shape shape) {
    return tensor_of(DType::kF16, std::move(shape));
  }
};

TEST_F(SdpaProgram, ManyScoresGoToCudnnAndFewDoNot) {
  const DimExpr length = DimExpr::symbol("s");
  OpSample dynamic = make_sample(
      "dynamic length", {f16({1, 1, length, 8}), f16({1, 1, length, 8}), f16({1, 1, length, 8})},
      {{"is_causal", true}});
  dynamic.tolerance *= 3;  // the probabilities are rounded to f16 too, as in the op's own samples
  SymbolValues many, few;
  many["s"] = 1026;
  few["s"] = 65;
  Outcome outcome = run(dynamic, many);
  EXPECT_EQ(outcome.steps, "cuda.cudnn_sdpa cuda.copy");
  EXPECT_EQ(outcome.by_cudnn, 1);
  fake_cudnn().executions = 0;
  EXPECT_EQ(run(dynamic, few).by_cudnn, 0);
}

TEST_F(SdpaProgram, FewKeysStayWithTheKernelByWarpgroups) {
  // As many scores as cuDNN is taken for otherwise.
  OpSample sample = make_sample(
      "few keys", {f16({16, 4, 128, 8}), f16({16, 4, 64, 8}), f16({16, 4, 64, 8})});
  sample.tolerance *= 3;
  EXPECT_EQ(run(sample).by_cudnn, 0);
  DebugOptions options;
  options.attention_tilings = "none";
  set_debug_options(options);
  EXPECT_EQ(run(sample).by_cudnn, 1);
  set_debug_options({});
}

TEST_F(SdpaProgram, TheOwnKernelStandsIn) {
  const OpSample sample =
      make_sample("many keys", {f16({1, 4, 64, 8}), f16({1, 2, 2049, 8}), f16({1, 2, 2049, 8})},
                  {{"enable_gqa", true}, {"scale", 0.3}});
  EXPECT_EQ(run(sample).by_cudnn, 1);
  fake_cudnn().executions = 0;
  fake_cudnn().failing_plans = 100;  // of all engines
  const Outcome outcome = run(sample);
  EXPECT_EQ(outcome.steps, "cuda.cudnn_sdpa cuda.copy");
  EXPECT_EQ(outcome.by_cudnn, 0);
}

TEST_F(SdpaProgram, MasksOfBoolAreAdded) {
  OpSample sample = make_sample("bool mask",
                                {f16({2, 2, 512, 8}), f16({2, 2, 257, 8}), f16({2, 2, 257, 8}),
                                 tensor_of(DType::kBool, {2, 1, 512, 257})},
                                {}, {Fill::kNormal, Fill::kNormal, Fill::kNormal, Fill::kBool});
  Outcome outcome = run(sample);
  EXPECT_EQ(outcome.steps, "cuda.tile cuda.cudnn_sdpa cuda.copy");
  EXPECT_EQ(outcome.by_cudnn, 1);
  // cuDNN does not add those of bf16 rightly; they stay as they are.
  for (size_t i = 0; i < 3; ++i) sample.operands[i] = tensor_of(DType::kBF16, {2, 2, 6, 8});
  sample.operands[3] = tensor_of(DType::kBool, {2, 1, 6, 6});
  sample.tolerance = default_tolerance(DType::kBF16);
  outcome = run(sample);
  EXPECT_EQ(outcome.steps, "cuda.attention cuda.copy");
}

}  // namespace
}  // namespace kiln::emulator
