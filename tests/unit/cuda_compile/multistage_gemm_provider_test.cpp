// Which products Kiln's own kernels for few tiles get beside cuBLASLt, and with what behind them.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/compile/cuda_backend.h"
#include "backends/cuda/compile/gemm_choice.h"
#include "backends/cuda/compile/kernel_cache.h"
#include "backends/cuda/compile/warpgroup_choice.h"
#include "backends/cuda/runtime/multistage_gemm.h"
#include "base/check.h"
#include "base/options.h"
#include "samples/sample_program.h"
#include "unit/cuda_runtime/fake_cublaslt.h"

namespace kiln::cuda_test {
namespace {

class MultistageGemmProvider : public testing::Test {
 protected:
  void SetUp() override {
    fake_cublaslt() = {};
    cuda::set_cublaslt_for_test(&fake_cublaslt_table());
  }
  void TearDown() override {
    cuda::set_cublaslt_for_test(nullptr);
    set_debug_options({});
  }

  // A linear layer with bias and the exact gelu.
  static std::string layer(const std::string& dtype, const std::string& rows, int64_t n,
                           int64_t k) {
    const std::string columns = std::to_string(n), depth = std::to_string(k);
    const std::string y = dtype + "[" + rows + "," + columns + "]";
    return "main(%x: " + dtype + "[" + rows + "," + depth + "], %w: " + dtype + "[" + columns +
           "," + depth + "], %b: " + dtype + "[" + columns +
           "]) {\n  %0 = linear(%x, %w, %b) : " + y +
           "\n  %1 = gelu(%0) {approximate=\"none\"} : " + y + "\n  return %1 {name=\"y\"}\n}";
  }
  static std::unique_ptr<SampleProgram> lowered(const std::string& text,
                                                const cuda::LibraryWishes& wishes = {}) {
    auto module = parse_module(text);
    KILN_CHECK_MSG(module.ok(), module.status().to_string());
    auto program = SampleProgram::lower(
        std::move(*module), {}, cuda::make_cuda_backend(DeviceSpec::gpu(90).value(), wishes));
    KILN_CHECK_MSG(program.ok(), program.status().to_string());
    return std::move(*program);
  }
  static std::string steps_of(const std::string& text) { return lowered(text)->steps(); }
};

TEST_F(MultistageGemmProvider, FewTilesAreItsOwnWithTheExactGelu) {
  EXPECT_EQ(steps_of(layer("f16", "128", 3072, 768)), "cuda.multistage_gemm");
  EXPECT_EQ(steps_of(layer("bf16", "197", 3072, 768)), "cuda.multistage_gemm");
}

TEST_F(MultistageGemmProvider, TheLibraryKeepsWhatIsLargeOrHasNoNumbersForSizes) {
  EXPECT_EQ(steps_of(R"(main(%x: f16[8192,3072], %w: f16[3072,3072]) {
  %0 = linear(%x, %w) : f16[8192,3072]
  return %0 {name="y"}
})"),
            "cuda.cublaslt");
  EXPECT_EQ(steps_of("symbols {\n  n in [1, 512]\n}\n" + layer("f16", "?n", 3072, 768)),
            "cuda.cublaslt cuda.tile");
  EXPECT_EQ(steps_of(layer("f32", "128", 3072, 768)), "cuda.cublaslt cuda.tile");
  // Rows that begin at multiples of 8 bytes.
  EXPECT_EQ(steps_of(layer("f16", "128", 3072, 772)), "cuda.cublaslt cuda.tile");
}

TEST_F(MultistageGemmProvider, TuningTimesSeveralAndTheLibraryWhereItComputesTheSame) {
  cuda::LibraryWishes wishes;
  wishes.tune = true;
  const auto fused = lowered(layer("f16", "128", 3072, 768), wishes);
  const auto params =
      cuda::MultistageGemmStepParams::from_json(fused->plan().main.steps[0].params);
  ASSERT_TRUE(params.ok()) << params.status().to_string();
  EXPECT_TRUE(params->tune);
  EXPECT_GT(params->kernels, 4);
  EXPECT_EQ(params->otherwise_kind, "");
  const auto plain = lowered(R"(main(%x: f16[128,768], %w: f16[768,768], %z: f16[128,768]) {
  %0 = linear(%x, %w) : f16[128,768]
  %1 = add(%0, %z) : f16[128,768]
  return %1 {name="y"}
})",
                             wishes);
  EXPECT_EQ(plain->steps(), "cuda.multistage_gemm");
  const auto beside = cuda::MultistageGemmStepParams::from_json(plain->plan().main.steps[0].params);
  ASSERT_TRUE(beside.ok());
  EXPECT_EQ(beside->otherwise_kind, "cuda.cublaslt");
}

TEST_F(MultistageGemmProvider, ManyTilesWithTheExactGeluGoToWarpgroups) {
  const auto program = lowered(layer("f16", "4096", 3072, 768));
  EXPECT_EQ(program->steps(), "cuda.multistage_gemm");
  const auto params =
      cuda::MultistageGemmStepParams::from_json(program->plan().main.steps[0].params);
  ASSERT_TRUE(params.ok()) << params.status().to_string();
  EXPECT_EQ(params->warpgroup_kernels, 1);
  EXPECT_EQ(params->kernels, 1);  // for other GPUs
  // Sizes are arguments, so that layers of other sizes share the kernel.
  for (const KernelDesc& kernel : program->plan().kernels) {
    if (kernel.family != cuda::WarpgroupGemm::kFamily) continue;
    const auto described = cuda::WarpgroupGemm::from_json(kernel.params);
    ASSERT_TRUE(described.ok());
    for (const auto& size : described->sizes.entries()) EXPECT_FALSE(size.baked) << size.name;
  }
}

// Without an activation that the library lacks: where the model is sure.
TEST_F(MultistageGemmProvider, ManyTilesWithoutAnAddendGoToWarpgroupsWithTheLibraryInReserve) {
  const std::string product = R"(main(%x: f16[4096,768], %w: f16[2304,768], %b: f16[2304]) {
  %0 = linear(%x, %w, %b) : f16[4096,2304]
  return %0 {name="y"}
})";
  const auto program = lowered(product);
  EXPECT_EQ(program->steps(), "cuda.multistage_gemm");
  const auto params =
      cuda::MultistageGemmStepParams::from_json(program->plan().main.steps[0].params);
  ASSERT_TRUE(params.ok()) << params.status().to_string();
  EXPECT_EQ(params->warpgroup_kernels, 1);
  EXPECT_FALSE(params->tune);
  EXPECT_EQ(params->otherwise_kind, "cuda.cublaslt");
  EXPECT_EQ(steps_of(R"(main(%x: f16[4096,768], %w: f16[768,768], %z: f16[4096,768]) {
  %0 = linear(%x, %w) : f16[4096,768]
  %1 = add(%0, %z) : f16[4096,768]
  return %1 {name="y"}
})"),
            "cuda.cublaslt");
}

TEST_F(MultistageGemmProvider, TilesOverlapWhereThereAreSeveralForAMultiprocessor) {
  const DeviceSpec device = DeviceSpec::gpu(90).value();
  const auto overlaps = [&](int64_t n) {
    for (const auto& tiling : cuda::warpgroup_gemm_tilings({4096, n, 768, true}, device)) {
      if (tiling.overlap && tiling.columns == 192) return true;
    }
    return false;
  };
  EXPECT_FALSE(overlaps(768));
  EXPECT_TRUE(overlaps(2304));
}

TEST_F(MultistageGemmProvider, OtherGpusHaveNoWarpgroups) {
  const cuda::GemmProblem problem{4096, 3072, 768, false};
  EXPECT_FALSE(cuda::warpgroup_gemm_tilings(problem, DeviceSpec::gpu(90).value()).empty());
  for (const int sm : {80, 89, 100, 120}) {
    EXPECT_TRUE(cuda::warpgroup_gemm_tilings(problem, DeviceSpec::gpu(sm).value()).empty()) << sm;
  }
}

TEST_F(MultistageGemmProvider, TheSwitchNamesTilings) {
  DebugOptions options;
  options.gemm_tilings = "none";
  set_debug_options(options);
  EXPECT_EQ(steps_of(layer("f16", "128", 3072, 768)), "cuda.cublaslt cuda.tile");
  options.gemm_tilings = "64x64x64/4/2+128x64x64/3/1";
  set_debug_options(options);
  const auto program = lowered(layer("f16", "8192", 3072, 3072));
  EXPECT_EQ(program->steps(), "cuda.multistage_gemm");
  EXPECT_EQ(program->plan().kernels.size(), 2u);
  options.gemm_tilings = "w128x192";
  set_debug_options(options);
  EXPECT_EQ(lowered(layer("f16", "128", 3072, 768))->plan().kernels.size(), 2u);
  EXPECT_EQ(cuda::parse_warpgroup_tiling("w128x200", false).status().code(), "K1002");
}

TEST_F(MultistageGemmProvider, TilingsAreReadAndChecked) {
  const auto tiling = cuda::parse_gemm_tiling("128x64x64/3/4");
  ASSERT_TRUE(tiling.ok());
  EXPECT_EQ(tiling->to_string(), "128x64x64 stages 3 split 4");
  for (const char* text : {"", "64x64", "64x64x64/4", "64x64x64/4/2x", "63x64x64/4/2",
                           "64x64x64/4/9", "64x64x64/16/1"}) {
    EXPECT_EQ(cuda::parse_gemm_tiling(text).status().code(), "K1002") << text;
  }
}

TEST_F(MultistageGemmProvider, MachineCodeIsAlsoForGpusWithLessSharedMemory) {
  DebugOptions options;
  options.gemm_tilings = "128x128x64/4/1";  // 128 KiB
  set_debug_options(options);
  const auto program = lowered(layer("f16", "128", 3072, 768));
  const auto stages_of = [&](int sm) {
    std::vector<int64_t> stages;
    for (const KernelDesc& kernel : cuda::native_kernels(program->plan(), sm)) {
      if (kernel.family != cuda::MultistageGemm::kFamily) continue;
      stages.push_back(cuda::MultistageGemm::from_json(kernel.params).value().tiling.stages);
    }
    return stages;
  };
  EXPECT_EQ(stages_of(80), (std::vector<int64_t>{4, 3}));  // sm_86 takes three
  EXPECT_EQ(stages_of(90), std::vector<int64_t>{4});
}

TEST_F(MultistageGemmProvider, TheModelListsValidTilingsBestFirst) {
  const DeviceSpec device = DeviceSpec::gpu(90).value();
  const cuda::GemmProblem problem{128, 768, 3072, true};
  const auto tilings = cuda::gemm_tilings(problem, device);
  ASSERT_GT(tilings.size(), 20u);
  double last = 0;
  for (const cuda::GemmTiling& tiling : tilings) {
    EXPECT_TRUE(cuda::is_valid(tiling)) << tiling.to_string();
    const double time = cuda::own_gemm_time(problem, tiling, device);
    EXPECT_GE(time, last);
    last = time;
  }
  // 24 tiles of 64 x 64 on 132 multiprocessors.
  EXPECT_GT(tilings[0].split, 1);
  for (const cuda::GemmTiling& tiling : cuda::gemm_tilings(problem, DeviceSpec::gpu(80).value())) {
    EXPECT_EQ(tiling.split, 1);
  }
}

}  // namespace
}  // namespace kiln::cuda_test
