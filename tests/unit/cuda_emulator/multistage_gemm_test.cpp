// Products by device/multistage_gemm.h against sums in double: every tile, split depths, edges,
// everything that may come behind the sums.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/options.h"
#include "emulator/emulated_cuda.h"
#include "interp/interpreter.h"
#include "ops/sample_types.h"
#include "product_case.h"
#include "samples/own_cuda_kernels.h"
#include "samples/sample_check.h"
#include "samples/sample_program.h"

namespace kiln::emulator {
namespace {

using cuda::GemmTiling;
using cuda::KernelActivation;
using cuda::MultistageGemm;

MultistageGemm tiled(GemmTiling tiling, int64_t depth, int64_t stages, int64_t split) {
  MultistageGemm kernel;
  tiling.depth = depth;
  tiling.stages = stages;
  tiling.split = split;
  kernel.tiling = tiling;
  kernel.four = true;
  return kernel;
}

TEST(MultistageGemm, EveryTileAtItsEdges) {
  for (const GemmTiling& tile : cuda::gemm_tiles()) {
    // A tile and a bit; a depth that ends inside of a stage.
    const ProductProblem problem{tile.rows + 5, tile.columns + 8, 136};
    const MultistageGemm kernel = tiled(tile, 64, 3, 1);
    ASSERT_TRUE(cuda::is_valid(kernel.tiling)) << kernel.tiling.to_string();
    EXPECT_EQ(check_product(problem, kernel), "") << kernel.tiling.to_string();
  }
}

TEST(MultistageGemm, DepthsOfAnyLengthInAnyNumberOfStages) {
  const GemmTiling tile{64, 64, 32, 32};
  for (const int64_t stages : {2, 3, 5}) {
    for (const int64_t k : {8, 64, 192, 200, 448}) {
      EXPECT_EQ(check_product({70, 24, k}, tiled(tile, 64, stages, 1)), "") << stages << " " << k;
      EXPECT_EQ(check_product({10, 72, k}, tiled(tile, 32, stages, 1)), "") << stages << " " << k;
    }
  }
}

TEST(MultistageGemm, DepthsAreSplitOverClusters) {
  for (const int64_t split : {2, 3, 4, 8}) {
    // Some have nothing of the depth.
    for (const int64_t k : {64, 328, 512}) {
      EXPECT_EQ(check_product({50, 136, k}, tiled({32, 64, 16, 32}, 64, 2, split)), "")
          << split << " " << k;
      EXPECT_EQ(check_product({33, 40, k}, tiled({16, 128, 16, 32}, 64, 3, split)), "")
          << split << " " << k;
    }
  }
}

TEST(MultistageGemm, WhatComesBehindTheSums) {
  MultistageGemm kernel = tiled({32, 64, 16, 32}, 64, 3, 2);
  kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation.kind = KernelActivation::Kind::kGelu;
  EXPECT_EQ(check_product({40, 72, 136}, kernel), "");
  kernel.dtype = DType::kBF16;
  kernel.activation = {KernelActivation::Kind::kClip, -0.25, 1.5};
  EXPECT_EQ(check_product({40, 72, 136, false, 8}, kernel), "");
  kernel.wide = false;
  kernel.activation.kind = KernelActivation::Kind::kRelu;
  kernel.tiling.split = 1;
  EXPECT_EQ(check_product({40, 72, 136, false, 8}, kernel), "");
  // Columns that are no fours.
  kernel.four = false;
  EXPECT_EQ(check_product({40, 75, 136, true, 8}, kernel), "");
  kernel.bias = false;
  kernel.tiling.split = 4;
  EXPECT_EQ(check_product({40, 75, 136, false, 8}, kernel), "");
  kernel.add = false;
  kernel.alpha = 1;
  EXPECT_EQ(check_product({7, 3, 64, true}, kernel), "");
}

// One step, of a program without libraries, that computes what the reference does.
void check_program(const std::string& main, const std::vector<std::vector<int64_t>>& shapes,
                   const std::string& steps) {
  use_emulated_cuda();
  DebugOptions options;
  options.gemm_tilings = "32x64x64/2/2";  // where a library is found, too
  set_debug_options(options);
  auto parsed = parse_module(main);
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  const std::unique_ptr<Module> module = std::move(*parsed);
  std::vector<HostTensor> tensors;
  SampleData data;
  for (const std::vector<int64_t>& shape : shapes) {
    tensors.push_back(random_data(DType::kF16, shape, DataKind::kUnit, 1 + tensors.size()));
    data.operands.push_back(tensors.back());
  }
  const auto expected = interpret(*module, tensors, {});
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  auto program = SampleProgram::lower(module->clone(), {}, std::make_unique<OwnCudaKernels>());
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  set_debug_options({});
  EXPECT_EQ((*program)->steps(), steps);
  ASSERT_TRUE((*program)->load(1).ok());
  const auto actual = (*program)->run(data);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  // The reference rounds between the nodes.
  EXPECT_EQ(difference((*actual)[0], (*expected)[0], 4 * default_tolerance(DType::kF16)), "");
}

TEST(MultistageGemm, LinearLayersWithWhatFollowsAreOneStep) {
  check_program(R"(main(%x: f16[2,20,64], %w: f16[72,64], %b: f16[72], %z: f16[2,20,72]) {
  %0 = linear(%x, %w, %b) : f16[2,20,72]
  %1 = add(%0, %z) : f16[2,20,72]
  %2 = gelu(%1) {approximate="none"} : f16[2,20,72]
  return %2 {name="y"}
})",
                {{2, 20, 64}, {72, 64}, {72}, {2, 20, 72}}, "cuda.multistage_gemm");
  // Rows of x that no stride can walk, and columns that are no fours.
  check_program(R"(main(%x: f16[4,5,64], %w: f16[19,64]) {
  %0 = permute(%x) {order=[1, 0, 2]} : f16[5,4,64]
  %1 = linear(%0, %w) : f16[5,4,19]
  %2 = relu(%1) : f16[5,4,19]
  return %2 {name="y"}
})",
                {{4, 5, 64}, {19, 64}}, "cuda.copy cuda.multistage_gemm");
}

TEST(MultistageGemm, ParametersThatDoNotFitAreRefused) {
  const MultistageGemm good = tiled({64, 64, 32, 32}, 64, 4, 2);
  EXPECT_TRUE(MultistageGemm::from_json(good.to_json()).ok());
  const auto refused = [&](auto&& change) {
    MultistageGemm kernel = good;
    change(kernel);
    return MultistageGemm::from_json(kernel.to_json()).status().code() == "K3212";
  };
  EXPECT_TRUE(refused([](auto& k) { k.dtype = DType::kF32; }));
  EXPECT_TRUE(refused([](auto& k) { k.alpha = INFINITY; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.rows = 48; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.warp_rows = 16; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.depth = 48; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.stages = 16; }));  // shared memory
  // Fewer rows than threads copy at once.
  EXPECT_TRUE(refused([](auto& k) { k.tiling = {16, 64, 16, 16, 32, 3, 1}; }));
}

}  // namespace
}  // namespace kiln::emulator
