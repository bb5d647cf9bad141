// Kernels that a GPU has too little shared memory for.
#include "backends/cuda/runtime/fitted_kernel.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/runtime/cuda_device.h"
#include "backends/cuda/runtime/multistage_gemm.h"
#include "cuda/null_driver.h"
#include "runtime/step.h"

namespace kiln::cuda {
namespace {

using test::NullCompiler;
using test::NullDriver;

constexpr unsigned kSmall = 99 << 10, kLarge = 227 << 10;

// Remembers what it was asked for.
class Compiler : public NullCompiler {
 public:
  Result<std::vector<CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                              int sm) override {
    last = kernels;
    return NullCompiler::compile(kernels, sm);
  }
  std::vector<KernelDesc> last;
};

MultistageGemm deep(int64_t m, int64_t n, int64_t k) {
  MultistageGemm kernel;
  kernel.tiling = {128, 128, 64, 32, 64, 6, 1};  // 192 KiB
  NamedSizes<DimExpr> sizes;
  for (const auto& [name, size] : {std::pair{"m", m}, {"n", n}, {"k", k}, {"am", k}, {"bn", k},
                                   {"cm", n}, {"cn", int64_t{1}}}) {
    sizes.add(name, DimExpr(size));
  }
  kernel.sizes = KernelSizes(sizes);
  return kernel;
}

class FittedKernel : public testing::Test {
 protected:
  void SetUp() override {
    NullDriver::get().reset();
    set_kernel_compiler(&compiler_);
    compiler_.parameters[MultistageGemm::kFamily] = {8, 8, 8};
    ASSERT_TRUE(cuda_device(0).ok());
  }
  void TearDown() override { set_kernel_compiler(nullptr); }

  // A product of 256 x 256 x 512, bound where blocks have this much shared memory.
  Result<std::unique_ptr<BoundStep>> bind(int sm, unsigned shared_bytes) {
    CodeStore store(NullDriver::table(), sm, shared_bytes);
    StepEnvironment environment;
    kernels_ = {{MultistageGemm::kFamily, deep(256, 256, 512).to_json()}};
    environment.kernels = &kernels_;
    KILN_ASSIGN_OR_RETURN(environment.device, cuda_device(0));
    const ScopedDevice scope(*environment.device);
    KILN_ASSIGN_OR_RETURN(environment.code, store.load(kernels_, nullptr));
    StepDesc desc;
    desc.kind = "cuda.multistage_gemm";
    desc.inputs.resize(2);
    desc.outputs.resize(1);
    desc.params = Json::object();
    MultistageGemmStepParams().add_to(desc.params);
    desc.params.set(MultistageGemmStepParams::kernel_key(0), 0);
    KILN_ASSIGN_OR_RETURN(step_, StepRegistry::global().create(desc, environment));
    BindContext context;
    context.inputs.resize(2);
    context.outputs.resize(1);
    const auto view = [](std::vector<int64_t> dims, std::vector<int64_t> strides) {
      ConcreteView result;
      result.dtype = DType::kF16;
      result.dims = std::move(dims);
      result.strides = std::move(strides);
      return result;
    };
    context.inputs[0] = view({256, 512}, {512, 1});
    context.inputs[1] = view({512, 256}, {1, 512});
    context.outputs[0] = view({256, 256}, {256, 1});
    return step_->bind(context);
  }
  static int64_t shared_bytes(const BoundStep& step) {
    return dynamic_cast<const BoundLaunches&>(step).launches()[0].shared_bytes;
  }

  Compiler compiler_;
  std::vector<KernelDesc> kernels_;
  std::unique_ptr<Step> step_;
};

TEST_F(FittedKernel, IsTheSameWhereThereIsRoom) {
  const auto bound = bind(90, kLarge);
  ASSERT_TRUE(bound.ok()) << bound.status().to_string();
  EXPECT_EQ(shared_bytes(**bound), 192 << 10);
  EXPECT_EQ((*bound)->implementation(), "kiln:multistage_gemm 128x128x64 stages 6 split 1");
}

TEST_F(FittedKernel, HasFewerStagesWhereThereIsLess) {
  const auto bound = bind(89, kSmall);
  ASSERT_TRUE(bound.ok()) << bound.status().to_string();
  EXPECT_EQ(shared_bytes(**bound), 96 << 10);
  EXPECT_EQ((*bound)->implementation(), "kiln:multistage_gemm 128x128x64 stages 3 split 1");
  // That is also what was compiled.
  ASSERT_EQ(compiler_.last.size(), 1u);
  const auto compiled = MultistageGemm::from_json(compiler_.last[0].params);
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(compiled->tiling.stages, 3);
}

TEST_F(FittedKernel, EveryTileFitsEveryGpu) {
  for (GemmTiling tiling : gemm_tiles()) {
    for (const int64_t depth : {32, 64}) {
      tiling.depth = depth;
      for (tiling.stages = 2; tiling.stages <= 16; ++tiling.stages) {
        if (!is_valid(tiling)) continue;
        const GemmTiling fitting = with_fitting_stages(tiling, kSmall);
        EXPECT_TRUE(is_valid(fitting)) << fitting.to_string();
        EXPECT_LE(fitting.shared_bytes(), kSmall) << fitting.to_string();
        EXPECT_EQ(with_fitting_stages(tiling, kLarge), tiling);
      }
    }
  }
}

TEST_F(FittedKernel, CodeOfAFileIsFoundForIt) {
  const KernelDesc kernel{MultistageGemm::kFamily, deep(64, 64, 64).to_json()};
  const auto fitted = fitted_kernel(kernel, kSmall);
  ASSERT_TRUE(fitted.has_value());
  NativeCode native;
  native.isa = "sm_80";
  native.convention = kernel_convention();
  const std::string image = "stand_in 0";
  native.kernels = {{hash_of(*fitted), kernel.family, "stand_in", hash128(image), image, nullptr}};
  CodeStore store(NullDriver::table(), 86, kSmall);
  const ScopedDevice scope(**cuda_device(0));
  const auto code = store.load({kernel}, &native);
  ASSERT_TRUE(code.ok()) << code.status().to_string();
  EXPECT_EQ((*code)->kernels[0].name, "stand_in");
  EXPECT_TRUE(compiler_.last.empty());
}

TEST_F(FittedKernel, WhatIsNoDescriptionStaysAsItIs) {
  EXPECT_FALSE(fitted_kernel({"tile", Json::object()}, 1).has_value());
  EXPECT_FALSE(fitted_kernel({MultistageGemm::kFamily, Json::object()}, 1).has_value());
}

}  // namespace
}  // namespace kiln::cuda
