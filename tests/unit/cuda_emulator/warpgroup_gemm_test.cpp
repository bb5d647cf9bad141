// Products by device/warpgroup_product.h against sums in double: tilings, edges, everything that
// may come behind the sums.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/warpgroup_gemm.h"
#include "emulator/kernel_run.h"
#include "emulator/matrix_map.h"
#include "interp/random_data.h"

namespace kiln::emulator {
namespace {

using cuda::KernelActivation;
using cuda::WarpgroupGemm;
using cuda::WarpgroupTiling;

struct Problem {
  int64_t m = 64, n = 64, k = 64;
  int64_t blocks = 1;
  bool baked = true;  // sizes in the source, or arguments of the kernel
  int64_t gap = 0;    // between rows of all matrices
};

std::vector<uint8_t> bytes_of(const HostTensor& tensor) {
  std::vector<uint8_t> bytes(tensor.num_bytes());
  std::memcpy(bytes.data(), tensor.bytes(), bytes.size());
  return bytes;
}

double activated(const KernelActivation& activation, double x) {
  switch (activation.kind) {
    case KernelActivation::Kind::kRelu: return std::max(x, 0.0);
    case KernelActivation::Kind::kGelu: return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    default: return x;
  }
}

// "" or what is wrong.
std::string check(const Problem& p, WarpgroupGemm kernel) {
  const int64_t by_k = p.k + p.gap, by_n = p.n + p.gap;
  const DType dtype = kernel.dtype;
  const auto rows_of = [&](int64_t rows, int64_t by_row, uint64_t seed) {
    return random_data(dtype, {rows, by_row}, DataKind::kUnit, seed);
  };
  const HostTensor a = rows_of(p.m, by_k, 1), b = rows_of(p.n, by_k, 2);
  const HostTensor bias = rows_of(1, p.n, 3), d = rows_of(p.m, by_n, 4);
  HostTensor c(dtype, {p.m, by_n});

  cuda::NamedSizes<DimExpr> sizes;
  std::vector<uint64_t> values;
  const auto size = [&](const char* name, int64_t value) {
    sizes.add(name, p.baked ? DimExpr(value) : DimExpr::symbol(std::string("s") + name));
    if (!p.baked) values.push_back(static_cast<uint64_t>(value));
  };
  size("m", p.m);
  size("n", p.n);
  size("k", p.k);
  size("am", by_k);
  size("bn", by_k);
  size("cm", by_n);
  size("cn", 1);
  if (kernel.bias) size("h", 1);
  if (kernel.add) {
    size("dm", by_n);
    size("dn", 1);
  }
  kernel.sizes = cuda::KernelSizes(sizes);
  auto source = cuda::print_kernel({WarpgroupGemm::kFamily, kernel.to_json()});
  if (!source.ok()) return source.status().to_string();
  use_device();
  auto loaded = LoadedKernel::load(*source);
  if (!loaded.ok()) return loaded.status().to_string() + "\n" + source->text;
  const Buffer at_a(bytes_of(a)), at_b(bytes_of(b)), at_bias(bytes_of(bias)), at_d(bytes_of(d));
  const Buffer at_c(std::vector<uint8_t>(c.num_bytes(), 0));
  const WarpgroupTiling& t = kernel.tiling;
  MatrixMapBytes a_map = map_of(at_a.address(), p.m, p.k, by_k, t.rows());
  MatrixMapBytes b_map = map_of(at_b.address(), p.n, p.k, by_k, t.columns);
  std::vector<uint64_t> addresses;
  if (kernel.bias) addresses.push_back(at_bias.address());
  if (kernel.add) addresses.push_back(at_d.address());
  addresses.push_back(at_c.address());
  addresses.insert(addresses.end(), values.begin(), values.end());
  std::vector<void*> arguments{&a_map, &b_map};
  for (uint64_t& address : addresses) arguments.push_back(&address);
  Shape shape;
  shape.grid[0] = p.blocks;
  shape.block[0] = static_cast<int>(t.threads());
  shape.shared_bytes = t.shared_bytes(kernel.add);
  const std::string report = (*loaded)->launch_with(shape, arguments);
  if (!report.empty()) return report;
  std::memcpy(c.bytes(), at_c.data(), c.num_bytes());

  const double tolerance = dtype == DType::kF16 ? 1e-3 : 8e-3;
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < p.k; ++l) {
        sum += a.get_double(i * by_k + l) * b.get_double(j * by_k + l);
      }
      sum *= kernel.alpha;
      if (kernel.bias) sum += bias.get_double(j);
      if (kernel.add) sum += d.get_double(i * by_n + j);
      const double expected = activated(kernel.activation, sum);
      const double actual = c.get_double(i * by_n + j);
      if (!(std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected)))) {
        return "row " + std::to_string(i) + ", column " + std::to_string(j) + ": " +
               std::to_string(actual) + ", expected " + std::to_string(expected);
      }
    }
    for (int64_t j = p.n; j < by_n; ++j) {
      if (c.get_double(i * by_n + j) != 0) return "wrote between rows";
    }
  }
  return {};
}

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
      const Problem problem{tiling.rows() + 5, tiling.columns + 8, 328};
      WarpgroupGemm kernel = tiled(tiling);
      kernel.bias = kernel.add = behind;
      ASSERT_TRUE(WarpgroupGemm::from_json(kernel.to_json()).ok()) << tiling.to_string();
      EXPECT_EQ(check(problem, kernel), "") << tiling.to_string();
    }
  }
}

TEST(WarpgroupGemm, DepthsOfAnyLengthInAnyNumberOfStages) {
  for (WarpgroupTiling tiling : {kOverlap, kOneByOne}) {
    for (const int64_t stages : {2, 3, 5}) {
      tiling.stages = stages;
      for (const int64_t k : {8, 64, 136, 200, 448}) {
        EXPECT_EQ(check({200, 72, k, 1}, tiled(tiling)), "") << tiling.to_string() << " " << k;
      }
    }
  }
}

TEST(WarpgroupGemm, BlocksDivideTheTiles) {
  for (const WarpgroupTiling& tiling : {kOverlap, kOneByOne}) {
    for (const int64_t blocks : {2, 3, 7, 40}) {
      EXPECT_EQ(check({700, 200, 200, blocks}, tiled(tiling)), "") << tiling.to_string() << blocks;
    }
  }
}

TEST(WarpgroupGemm, WhatComesBehindTheSums) {
  WarpgroupGemm kernel = tiled(kOverlap);
  kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation.kind = KernelActivation::Kind::kGelu;
  EXPECT_EQ(check({100, 72, 136}, kernel), "");
  kernel.dtype = DType::kBF16;
  EXPECT_EQ(check({100, 72, 136, 1, false, 8}, kernel), "");
  kernel.wide = false;
  kernel.activation.kind = KernelActivation::Kind::kRelu;
  kernel.tiling = kOneByOne;
  EXPECT_EQ(check({140, 72, 136, 1, false, 8}, kernel), "");
  kernel.bias = false;
  EXPECT_EQ(check({140, 72, 136, 2, true, 8}, kernel), "");
  kernel.add = false;
  kernel.alpha = 1;
  EXPECT_EQ(check({1, 8, 64, 1}, kernel), "");
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
