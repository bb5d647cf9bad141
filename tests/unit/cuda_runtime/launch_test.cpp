#include "backends/cuda/runtime/launch.h"

#include <gtest/gtest.h>

#include "backends/cuda/runtime/cuda_device.h"
#include "cuda/null_driver.h"

namespace kiln::cuda {
namespace {

using test::NullCompiler;
using test::NullDriver;
using test::NullLaunch;

class LaunchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NullDriver::get().reset();
    set_kernel_compiler(&compiler_);
    compiler_.parameters["pair"] = {8, 8, 4, 8};
    NullDriver::get().max_threads = 512;
    auto device = cuda_device(0);
    ASSERT_TRUE(device.ok()) << device.status().to_string();
    device_ = *device;
    auto code = device_->load_code({{"pair", Json::object()}}, nullptr);
    ASSERT_TRUE(code.ok()) << code.status().to_string();
    code_ = std::dynamic_pointer_cast<KernelCode>(*code);
    context_.inputs.resize(2);
    context_.outputs.resize(1);
  }
  void TearDown() override { set_kernel_compiler(nullptr); }

  Launch pair() {
    Launch launch;
    launch.grid = {7, 2, 1};
    launch.block = {128, 1, 1};
    launch.shared_bytes = 1024;
    launch.arguments = {Argument::input(1, 16), Argument::output(0), Argument::i32(-5),
                        Argument::scratch(64)};
    return launch;
  }
  Result<std::unique_ptr<BoundStep>> make(Launch launch) {
    return BoundLaunches::make(code_, {std::move(launch)}, context_, "cuda:pair", 128);
  }
  std::string code_of(Launch launch) { return make(std::move(launch)).status().code(); }

  NullCompiler compiler_;
  DeviceRuntime* device_ = nullptr;
  std::shared_ptr<KernelCode> code_;
  BindContext context_;
};

TEST_F(LaunchTest, PutsAddressesAndValuesIntoTheParameters) {
  auto step = make(pair());
  ASSERT_TRUE(step.ok()) << step.status().to_string();
  EXPECT_EQ((*step)->scratch_bytes(), 128u);
  char a[64] = {}, b[64] = {}, c[64] = {}, scratch[128] = {}, stream[1] = {};
  void* inputs[] = {a, b};
  void* outputs[] = {c};
  RunArgs args;
  args.inputs = inputs;
  args.outputs = outputs;
  args.scratch = scratch;
  args.stream = stream;
  ScopedDevice scope(*device_);
  ASSERT_TRUE((*step)->run(args).ok());
  const std::vector<NullLaunch> launches = NullDriver::get().launches();
  ASSERT_EQ(launches.size(), 1u);
  const NullLaunch& launch = launches[0];
  EXPECT_EQ(launch.kernel, "pair");
  EXPECT_EQ(launch.grid[0], 7u);
  EXPECT_EQ(launch.grid[1], 2u);
  EXPECT_EQ(launch.block[0], 128u);
  EXPECT_EQ(launch.shared_bytes, 1024u);
  EXPECT_EQ(launch.stream, stream);
  EXPECT_TRUE(launch.overlaps);  // the device is a sm_90
  EXPECT_EQ(launch.pointer<char>(0), b + 16);
  EXPECT_EQ(launch.pointer<char>(1), c);
  EXPECT_EQ(static_cast<int32_t>(launch.params[2]), -5);
  EXPECT_EQ(launch.pointer<char>(3), scratch + 64);
}

TEST_F(LaunchTest, OverlapsWhereKernelsCanWait) {
  code_->overlap = false;  // as on an sm_80
  auto step = make(pair());
  ASSERT_TRUE(step.ok());
  void* addresses[] = {nullptr, nullptr};
  RunArgs args;
  args.inputs = args.outputs = addresses;
  ScopedDevice scope(*device_);
  ASSERT_TRUE((*step)->run(args).ok());
  ASSERT_EQ(NullDriver::get().launches().size(), 1u);
  EXPECT_FALSE(NullDriver::get().launches()[0].overlaps);
}

TEST_F(LaunchTest, LeavesOutEmptyGrids) {
  Launch launch = pair();
  launch.grid[1] = 0;
  auto step = make(launch);
  ASSERT_TRUE(step.ok());
  EXPECT_TRUE((*step)->run({}).ok());
  EXPECT_TRUE(NullDriver::get().launches().empty());
}

TEST_F(LaunchTest, RefusesWhatTheDeviceCannotDo) {
  EXPECT_EQ(code_of(pair()), "");
  Launch launch = pair();
  launch.grid[1] = 65536;
  EXPECT_EQ(code_of(launch), "K5310");
  launch = pair();
  launch.grid[0] = -1;
  EXPECT_EQ(code_of(launch), "K5310");
  launch = pair();
  launch.block = {256, 2, 1};
  EXPECT_EQ(code_of(launch), "");
  launch.block = {256, 3, 1};  // the kernel has registers for 512 threads
  EXPECT_EQ(code_of(launch), "K5310");
  launch.block = {0, 1, 1};
  EXPECT_EQ(code_of(launch), "K5310");
  launch = pair();
  launch.shared_bytes = 227 << 10;
  EXPECT_EQ(code_of(launch), "");
  launch.shared_bytes += 1;
  EXPECT_EQ(code_of(launch), "K5310");
  launch = pair();
  launch.arguments.resize(BoundLaunches::kMaxArguments + 1, Argument::i32(0));
  EXPECT_EQ(code_of(launch), "K5310");
}

TEST_F(LaunchTest, RefusesViewsAndKernelsThatDoNotExist) {
  Launch launch = pair();
  launch.kernel = 1;
  EXPECT_EQ(code_of(launch), "K3212");
  launch = pair();
  launch.arguments[0] = Argument::input(2);
  EXPECT_EQ(code_of(launch), "K3212");
  launch.arguments[0] = Argument::output(-1);
  EXPECT_EQ(code_of(launch), "K3212");
  launch.arguments[0] = Argument::scratch(129);
  EXPECT_EQ(code_of(launch), "K3212");
}

TEST_F(LaunchTest, SaysWhichKernelFailed) {
  auto step = make(pair());
  ASSERT_TRUE(step.ok());
  void* address = nullptr;
  void* addresses[] = {&address, &address};
  RunArgs args;
  args.inputs = args.outputs = addresses;
  ScopedDevice scope(*device_);
  NullDriver::get().fail_next("cuLaunchKernelEx", 1);
  const Status status = (*step)->run(args);
  EXPECT_EQ(status.code(), "K5304");
  ASSERT_EQ(status.origin().size(), 1u);
  EXPECT_EQ(status.origin()[0], "pair");
}

TEST_F(LaunchTest, FindsCodeAndParamsOfAPlan) {
  std::vector<KernelDesc> kernels = {{"pair", Json::object()}};
  StepEnvironment environment;
  EXPECT_EQ(kernel_code(environment).status().code(), "K5311");
  environment.code = std::make_shared<DeviceCode>();
  EXPECT_EQ(kernel_code(environment).status().code(), "K5311");
  environment.code = code_;
  ASSERT_TRUE(kernel_code(environment).ok());
  EXPECT_EQ(kernel_params(environment, 0, "pair").status().code(), "K3212");
  environment.kernels = &kernels;
  ASSERT_TRUE(kernel_params(environment, 0, "pair").ok());
  EXPECT_EQ(*kernel_params(environment, 0, "pair"), &kernels[0].params);
  EXPECT_EQ(kernel_params(environment, 0, "tile").status().code(), "K3212");
  EXPECT_EQ(kernel_params(environment, 1, "pair").status().code(), "K3212");
  EXPECT_EQ(kernel_params(environment, -1, "pair").status().code(), "K3212");
}

}  // namespace
}  // namespace kiln::cuda
