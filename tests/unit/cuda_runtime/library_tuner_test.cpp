// The tuner on a driver without a GPU, whose clock runs as the test says.
#include "backends/cuda/runtime/library_tuner.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "backends/cuda/runtime/cublaslt_step.h"
#include "cuda/null_driver.h"
#include "fake_cublaslt.h"
#include "fake_cudnn.h"
#include "library_step.h"
#include "runtime/timing_cache.h"

namespace kiln::cuda_test {
namespace {

using test::NullDriver;

float milliseconds_of_a_launch = 1;

CUresult elapsed(float* milliseconds, CUevent, CUevent) {
  *milliseconds = milliseconds_of_a_launch;
  return 0;
}

class LibraryTuner : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("kiln_tuner_" + std::to_string(::getpid()));
    setenv("KILN_CACHE_DIR", folder_.c_str(), 1);
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }
  void SetUp() override {
    NullDriver::get().reset();
    table_ = NullDriver::table();
    table_.EventElapsedTime = elapsed;
    set_driver_for_test(&table_);
    fake_cublaslt() = {};
    fake_cudnn() = {};
  }
  void TearDown() override {
    set_driver_for_test(nullptr);
    set_cublaslt_for_test(nullptr);
    set_cudnn_for_test(nullptr);
  }

  // Candidates that take so many milliseconds; negative: it fails.
  TuningProblem problem(const std::string& key, std::vector<float> costs) {
    costs_ = std::move(costs);
    calls_ = 0;
    TuningProblem p;
    p.key = key;
    for (size_t i = 0; i < costs_.size(); ++i) p.choices.push_back("c" + std::to_string(i));
    p.bytes = 1000;
    p.workspace_bytes = 100;
    p.run = [this](size_t choice, char* operands, void* workspace, CUstream) {
      ++calls_;
      std::memset(operands, 0, 1000);  // it is there
      std::memset(workspace, 0, 100);
      milliseconds_of_a_launch = costs_[choice];
      return costs_[choice] < 0 ? Status::error("K5308", "cannot") : Status();
    };
    return p;
  }

  inline static std::filesystem::path folder_;
  Driver table_;
  std::vector<float> costs_;
  int calls_ = 0;
};

TEST_F(LibraryTuner, TakesTheFastestAndKeepsIt) {
  EXPECT_EQ(tune(problem("keeps", {3, 1, 2})), 1u);
  EXPECT_GT(calls_, 3 * 4);
  const size_t bytes = NullDriver::get().live_bytes();
  EXPECT_EQ(bytes, 0u);
  // Another process, or the next shape plan: nothing is measured.
  EXPECT_EQ(tune(problem("keeps", {1, 3, 3})), 1u);
  EXPECT_EQ(calls_, 0);
  const auto device = device_description(table_, 0);
  ASSERT_TRUE(device.ok());
  const auto entry = TimingCache::user().find("keeps; " + *device);
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->choice, "c1");
  EXPECT_DOUBLE_EQ(entry->microseconds, 250);  // a launch of 1 ms has 4 calls
}

TEST_F(LibraryTuner, LeavesOutWhatFails) {
  EXPECT_EQ(tune(problem("fails", {-1, 3, 2})), 2u);
  EXPECT_EQ(tune(problem("all fail", {-1, -1})), 0u);
  // A choice that there is no more is measured anew.
  EXPECT_EQ(tune(problem("gone", {3, 2, 1})), 2u);
  EXPECT_EQ(tune(problem("gone", {2, 1})), 1u);
}

TEST_F(LibraryTuner, WithoutMemoryTheFirstIsTaken) {
  NullDriver::get().fail_next("cuMemAlloc", 2);
  EXPECT_EQ(tune(problem("memory", {3, 1})), 0u);
}

TEST_F(LibraryTuner, StepsAreTunedWhereTheyAskForIt) {
  set_cublaslt_for_test(&fake_cublaslt_table());
  set_cudnn_for_test(&fake_cudnn_table());
  CublasLtStepParams params;
  params.tune = true;
  params.bias = params.add = true;
  params.workspace_bytes = 1 << 20;
  Operand a(DType::kF32, {2, 6, 7}), b(DType::kF32, {1, 7, 5}), bias(DType::kF32, {5});
  Operand c(DType::kF32, {2, 6, 5}), d(DType::kF32, {2, 6, 5});
  auto bound = bind_step("cuda.cublaslt", params.to_json(), {&a, &b, &bias, &c}, d);
  ASSERT_TRUE(bound.ok()) << bound.status().to_string();
  EXPECT_GT(fake_cublaslt().products, 3);
  params.tune = false;
  fake_cublaslt().products = 0;
  ASSERT_TRUE(bind_step("cuda.cublaslt", params.to_json(), {&a, &b, &bias, &c}, d).ok());
  EXPECT_EQ(fake_cublaslt().products, 0);

  CudnnConvStepParams conv;
  conv.stride = conv.dilation = {1, 1};
  conv.padding_low = conv.padding_high = {0, 0};
  conv.bias = conv.add = conv.tune = true;
  conv.workspace_bytes = 1 << 20;
  auto nhwc = [](std::vector<int64_t> dims) {
    return Operand(DType::kF16, dims, {dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]});
  };
  Operand x = nhwc({1, 4, 5, 5}), w = nhwc({4, 4, 3, 3}), z = nhwc({1, 4, 3, 3});
  Operand y = nhwc({1, 4, 3, 3}), k(DType::kF16, {4});
  auto step = bind_step("cuda.cudnn_conv", conv.to_json(), {&x, &w, &k, &z}, y);
  ASSERT_TRUE(step.ok()) << step.status().to_string();
  EXPECT_GT(fake_cudnn().executions, 3);
}

// A step whose launches take so many milliseconds.
class Other : public BoundStep {
 public:
  explicit Other(float cost) : cost_(cost) {}
  Status run(const RunArgs& args) override {
    milliseconds_of_a_launch = cost_;
    std::memset(args.inputs[3], 0, 5 * 7 * 2);  // all operands are there
    std::memset(args.outputs[0], 0, 2 * 4 * 5 * 8 * 2);
    std::memset(args.scratch, 0, scratch_bytes());
    return {};
  }
  size_t scratch_bytes() const override { return 100000; }
  std::string implementation() const override { return "other"; }

 private:
  float cost_;
};

TEST_F(LibraryTuner, AttentionIsCudnnsOrTheOtherSteps) {
  set_cudnn_for_test(&fake_cudnn_table());
  const Operand q(DType::kF16, {2, 4, 5, 8}), k(DType::kF16, {2, 4, 7, 8});
  const Operand mask(DType::kF16, {1, 1, 5, 7}), out(DType::kF16, {2, 4, 5, 8});
  const CudnnSdpa::Operands operands{q.view, k.view, k.view, out.view, mask.view};
  CudnnSdpaStepParams params;
  params.mask = true;
  params.workspace_bytes = 1 << 20;
  auto chosen = [&](double scale, BoundStep* other) {
    params.scale = scale;
    milliseconds_of_a_launch = 1;
    fake_cudnn().plans = fake_cudnn().executions = 0;
    const auto sdpa = tune_sdpa(params, operands, other, 0);
    if (!sdpa.ok()) return sdpa.status().to_string();
    return *sdpa == nullptr ? "other" : (*sdpa)->engine();
  };
  Other slow(2), fast(0.5f);
  EXPECT_EQ(chosen(1, &slow), "eng0.0");
  EXPECT_GT(fake_cudnn().executions, 3 * 4);
  EXPECT_EQ(fake_cudnn().plans, 3);
  EXPECT_EQ(chosen(2, &fast), "other");
  // Known by then: one plan, or none, and nothing is measured.
  EXPECT_EQ(chosen(1, &slow), "eng0.0");
  EXPECT_EQ(fake_cudnn().plans, 1);
  EXPECT_EQ(fake_cudnn().executions, 0);
  EXPECT_EQ(chosen(2, &slow), "other");
  EXPECT_EQ(fake_cudnn().plans, 0);
  // Without another step there are only the plans.
  EXPECT_EQ(chosen(2, nullptr), "eng0.0");
  EXPECT_GT(fake_cudnn().executions, 3 * 4);
}

}  // namespace
}  // namespace kiln::cuda_test
