// Products by device/warpgroup_product.h against sums in double: tilings, edges, everything that
// may come behind the sums.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "product_case.h"

namespace kiln::emulator {
namespace {

using cuda::KernelActivation;
using cuda::WarpgroupGemm;
using cuda::WarpgroupTiling;

WarpgroupGemm tiled(const WarpgroupTiling& tiling) {
  WarpgroupGemm kernel;
  kernel.tiling = tiling;
  return kernel;
}

constexpr WarpgroupTiling kOverlap{1, 64, 2, true, 2}, kOneByOne{1, 64, 2, false, 3};

TEST(WarpgroupGemm, EveryTilingAtItsEdges) {
  for (const bool behind : {false, true}) {
    for (const WarpgroupTiling& tiling : cuda::warpgroup_tilings(behind)) {
      // Two tiles and a bit, for one block; a depth that ends inside of a stage.
      const ProductProblem problem{tiling.rows() + 5, tiling.columns + 8, 328};
      WarpgroupGemm kernel = tiled(tiling);
      kernel.bias = kernel.add = behind;
      ASSERT_TRUE(WarpgroupGemm::from_json(kernel.to_json()).ok()) << tiling.to_string();
      EXPECT_EQ(check_product(problem, kernel), "") << tiling.to_string();
    }
  }
}

TEST(WarpgroupGemm, DepthsOfAnyLengthInAnyNumberOfStages) {
  for (WarpgroupTiling tiling : {kOverlap, kOneByOne}) {
    for (const int64_t stages : {2, 3, 5}) {
      tiling.stages = stages;
      for (const int64_t k : {8, 64, 136, 200, 448}) {
        EXPECT_EQ(check_product({200, 72, k}, tiled(tiling)), "") << tiling.to_string() << " " << k;
      }
    }
  }
}

TEST(WarpgroupGemm, BlocksDivideTheTiles) {
  for (const WarpgroupTiling& tiling : {kOverlap, kOneByOne}) {
    for (const int64_t blocks : {2, 3, 7, 40}) {
      EXPECT_EQ(check_product({700, 200, 200, true, 0, blocks}, tiled(tiling)), "")
          << tiling.to_string() << " " << blocks;
    }
  }
}

TEST(WarpgroupGemm, WhatComesBehindTheSums) {
  WarpgroupGemm kernel = tiled(kOverlap);
  kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation.kind = KernelActivation::Kind::kGelu;
  EXPECT_EQ(check_product({100, 72, 136}, kernel), "");
  kernel.dtype = DType::kBF16;
  EXPECT_EQ(check_product({100, 72, 136, false, 8}, kernel), "");
  kernel.wide = false;
  kernel.activation.kind = KernelActivation::Kind::kRelu;
  kernel.tiling = kOneByOne;
  EXPECT_EQ(check_product({140, 72, 136, false, 8}, kernel), "");
  kernel.bias = false;
  EXPECT_EQ(check_product({140, 72, 136, true, 8, 2}, kernel), "");
  kernel.add = false;
  kernel.alpha = 1;
  EXPECT_EQ(check_product({1, 8, 64}, kernel), "");
}

TEST(WarpgroupGemm, ParametersThatDoNotFitAreRefused) {
  const WarpgroupGemm good = tiled({1, 192, 2, true, 5});
  EXPECT_TRUE(WarpgroupGemm::from_json(good.to_json()).ok());
  const auto refused = [&](auto&& change) {
    WarpgroupGemm kernel = good;
    change(kernel);
    return WarpgroupGemm::from_json(kernel.to_json()).status().code() == "K3212";
  };
  EXPECT_TRUE(refused([](auto& k) { k.dtype = DType::kF32; }));
  EXPECT_TRUE(refused([](auto& k) { k.alpha = INFINITY; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.columns = 200; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.columns = 256; }));  // registers
  EXPECT_TRUE(refused([](auto& k) { k.tiling.stages = 6; }));     // shared memory
  EXPECT_TRUE(refused([](auto& k) { k.tiling.consumers = 3; }));  // registers
}

TEST(WarpgroupGemm, ShortGeluIsGoodFor16Bits) {
  use_device();
  auto kernel = LoadedKernel::load(cuda::KernelSource{R"(#include "device/math.h"
KILN_KERNEL(32) void gelu(Out<float> y) {
  for (int32 i = thread_x(); i < 65536; i += 32) {
    y[i] = fn::gelu_erf_of_16_bits(to_float(f16{static_cast<uint16>(i)}));
  }
}
)", "gelu"});
  ASSERT_TRUE(kernel.ok()) << kernel.status().to_string();
  const Buffer y(65536 * sizeof(float));
  ASSERT_EQ((*kernel)->launch({{1, 1, 1}, {32, 1, 1}, 0}, {y.address()}), "");
  const std::vector<float> values = y.values<float>();
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float x = f16_to_f32(static_cast<uint16_t>(bits)), value = values[bits];
    if (std::isnan(x) || (std::isinf(x) && x < 0)) {  // as x * Phi(x) has it
      EXPECT_TRUE(std::isnan(value)) << x;
      continue;
    }
    if (std::isinf(x)) {
      EXPECT_EQ(value, x);
      continue;
    }
    const double exact = 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    EXPECT_NEAR(value, exact, 8e-5 * std::fabs(exact) + 2e-8) << x;
    // Units of f16 in the last place: 2^-10 of the power of two below, or of 2^-14.
    const int exponent = std::ilogb(std::max(std::fabs(exact), 1e-9));
    const double unit = std::ldexp(1.0, std::max(exponent, -14) - 10);
    EXPECT_LE(std::fabs(value - exact), 0.16 * unit) << x;
  }
}

}  // namespace
}  // namespace kiln::emulator
