// Whole programs whose products are by warpgroups, on the emulator: launches with tensor maps, as
// they are and in replays of a graph whose inputs have moved.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "base/options.h"
#include "emulated_samples.h"
#include "ops/sample_types.h"

namespace kiln::emulator {
namespace {

class WarpgroupProgram : public testing::Test {
 protected:
  void SetUp() override {
    use_emulated_cuda();
    DebugOptions options;
    options.gemm_tilings = "w128x64";
    set_debug_options(options);
    Emulator::instance().execution().set_observer(
        [this](const kiln_emulated::Kernel& kernel, const Shape&) { ran_.insert(kernel.name); });
  }
  void TearDown() override {
    set_debug_options({});
    Emulator::instance().execution().set_observer({});
  }

  // Runs the sample four times and compares with the reference.
  void run(const OpSample& sample) {
    const OpDef& op = OpRegistry::global().get("linear");
    auto data = make_sample_data(sample, kSeed);
    ASSERT_TRUE(data.ok()) << data.status().to_string();
    auto program = SampleProgram::make(op, sample, InputForm::kContiguous, 1,
                                       std::make_unique<OwnCudaKernels>(), &*data);
    ASSERT_TRUE(program.ok()) << program.status().to_string();
    auto graph = make_sample_graph(op, sample);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(difference_from(*graph->node, **program, *data, sample.tolerance), "")
          << sample.why << ", run " << i;
    }
  }

  std::set<std::string> ran_;
};

TEST_F(WarpgroupProgram, LinearLayers) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const auto tensor = [&](kiln::Shape shape) { return tensor_of(dtype, std::move(shape)); };
    run(make_sample("with bias", {tensor({300, 136}), tensor({72, 136}), tensor({72})}));
    run(make_sample("of three dims", {tensor({3, 50, 200}), tensor({136, 200})}));
  }
  EXPECT_TRUE(ran_.contains("warpgroup_gemm_f16"));
  EXPECT_TRUE(ran_.contains("warpgroup_gemm_bf16"));
}

TEST_F(WarpgroupProgram, OthersTakeWhatItCannot) {
  const auto f16 = [](kiln::Shape shape) { return tensor_of(DType::kF16, std::move(shape)); };
  run(make_sample("depth that is no eights", {f16({300, 68}), f16({72, 68})}));
  run(make_sample("columns that are no eights", {f16({300, 136}), f16({75, 136})}));
  EXPECT_FALSE(ran_.contains("warpgroup_gemm_f16"));
}

}  // namespace
}  // namespace kiln::emulator
