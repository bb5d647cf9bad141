// The emulated driver where it must be as strict as a real one, and its graphs.
#include <gtest/gtest.h>

#include <thread>

#include "emulator/kernel_run.h"

namespace kiln::emulator {
namespace {

using namespace cuda;  // NOLINT: the driver's own names

constexpr CUresult kInvalidValue = 1, kInvalidImage = 200, kInvalidContext = 201,
                   kInvalidHandle = 400, kNotFound = 500, kLaunchFailed = 719,
                   kCaptureUnsupported = 900;

const Driver& driver() { return Emulator::instance().driver(); }

CompiledKernel compile(const std::string& entry, const std::string& text) {
  HostCompiler compiler;
  auto compiled = compiler.compile({{"#include \"device/platform.h\"\n" + text, entry}});
  EXPECT_TRUE(compiled.ok()) << compiled.status().to_string();
  return (*compiled)[0];
}

CompiledKernel scale() {
  return compile("scale", R"(
KILN_KERNEL(64) void scale(In<float> x, Out<float> y, float by) {
  y[thread_x()] = x[thread_x()] * by;
}
)");
}

class EmulatedDriver : public testing::Test {
 protected:
  void SetUp() override { use_device(); }

  CUfunction load(const CompiledKernel& kernel) {
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    EXPECT_EQ(driver().ModuleLoadData(&module, kernel.image.data()), 0);
    EXPECT_EQ(driver().ModuleGetFunction(&function, module, kernel.entry.c_str()), 0);
    return function;
  }
  CUresult launch(CUfunction function, CUstream stream, uint64_t x, uint64_t y, float by) {
    void* params[] = {&x, &y, &by};
    const cuda::LaunchConfig config{{1, 1, 1}, {64, 1, 1}, 0, stream};
    return driver().LaunchKernelEx(&config, function, params, nullptr);
  }
};

TEST_F(EmulatedDriver, HasEveryFunction) {
#define KILN_EXPECT_FUNCTION(name, symbol, params) EXPECT_NE(driver().name, nullptr) << symbol;
  KILN_CUDA_DRIVER_FUNCTIONS(KILN_EXPECT_FUNCTION)
#undef KILN_EXPECT_FUNCTION
}

TEST_F(EmulatedDriver, NeedsAContext) {
  std::thread([] {
    CUdeviceptr pointer = 0;
    EXPECT_EQ(driver().MemAlloc(&pointer, 16), kInvalidContext);
    use_device();
    EXPECT_EQ(driver().MemAlloc(&pointer, 16), 0);
    EXPECT_EQ(driver().MemFree(pointer), 0);
  }).join();
}

TEST_F(EmulatedDriver, MemoryIsCheckedAndNoMoreAlignedThanPromised) {
  CUdeviceptr pointer = 0;
  ASSERT_EQ(driver().MemAlloc(&pointer, 100), 0);
  EXPECT_EQ(pointer % 128, 64u);
  std::vector<char> host(200);
  const auto host_address = reinterpret_cast<CUdeviceptr>(host.data());
  EXPECT_EQ(driver().MemcpyAsync(pointer, host_address, 100, nullptr), 0);
  EXPECT_EQ(driver().MemcpyAsync(pointer, host_address, 101, nullptr), kInvalidValue);
  EXPECT_EQ(driver().MemcpyAsync(host_address, pointer + 50, 51, nullptr), kInvalidValue);
  EXPECT_EQ(driver().MemsetD8Async(pointer + 1, 0, 100, nullptr), kInvalidValue);
  const char* text = nullptr;
  EXPECT_EQ(driver().GetErrorString(kInvalidValue, &text), 0);
  EXPECT_STREQ(text, "invalid argument: a fill goes beyond the allocation that it writes");
  EXPECT_EQ(driver().MemFree(pointer + 4), kInvalidValue);
  // A stray write of the host beside it is found when it goes.
  reinterpret_cast<char*>(pointer)[100] = 1;
  EXPECT_EQ(driver().MemFree(pointer), kInvalidValue);
  EXPECT_EQ(driver().MemFree(pointer), kInvalidValue);
}

TEST_F(EmulatedDriver, ModulesAndHandles) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  EXPECT_EQ(driver().ModuleLoadData(&module, "\177ELF"), kInvalidImage);
  const CompiledKernel kernel = scale();
  ASSERT_EQ(driver().ModuleLoadData(&module, kernel.image.data()), 0);
  EXPECT_EQ(driver().ModuleGetFunction(&function, module, "other"), kNotFound);
  ASSERT_EQ(driver().ModuleGetFunction(&function, module, "scale"), 0);
  Buffer x(std::vector<float>(64, 3.0f)), y(64 * 4);
  EXPECT_EQ(launch(function, nullptr, x.address(), y.address(), 2.0f), 0);
  EXPECT_EQ(y.values<float>(), std::vector<float>(64, 6.0f));
  EXPECT_EQ(launch(function, nullptr, x.address(), y.address() + 4, 2.0f), kLaunchFailed);
  // An address that is none of the device's.
  std::vector<float> host(64);
  EXPECT_EQ(launch(function, nullptr, x.address(), reinterpret_cast<uint64_t>(host.data()), 2.0f),
            kLaunchFailed);
  EXPECT_EQ(driver().ModuleUnload(module), 0);
  EXPECT_EQ(launch(function, nullptr, x.address(), y.address(), 2.0f), kInvalidHandle);
  EXPECT_EQ(driver().ModuleUnload(module), kInvalidHandle);
}

TEST_F(EmulatedDriver, GraphsAreCapturedPatchedAndReplayed) {
  CUfunction function = load(scale());
  CUstream stream = nullptr;
  ASSERT_EQ(driver().StreamCreate(&stream, 1), 0);
  Buffer x(std::vector<float>(64, 3.0f)), y(64 * 4), z(64 * 4);
  ASSERT_EQ(driver().StreamBeginCapture(stream, 1), 0);
  ASSERT_EQ(launch(function, stream, x.address(), y.address(), 2.0f), 0);
  ASSERT_EQ(driver().MemcpyAsync(z.address(), y.address(), 64 * 4, stream), 0);
  CUdeviceptr pointer = 0;
  EXPECT_EQ(driver().MemAlloc(&pointer, 16), kCaptureUnsupported);
  EXPECT_EQ(driver().MemAllocAsync(&pointer, 16, stream), kCaptureUnsupported);
  EXPECT_EQ(driver().StreamSynchronize(stream), kCaptureUnsupported);
  CUgraph graph = nullptr;
  ASSERT_EQ(driver().StreamEndCapture(stream, &graph), 0);
  // Nothing has run yet.
  EXPECT_NE(z.values<float>(), std::vector<float>(64, 6.0f));

  CUgraphExec exec = nullptr;
  ASSERT_EQ(driver().GraphInstantiate(&exec, graph, 0), 0);
  ASSERT_EQ(driver().GraphLaunch(exec, stream), 0);
  EXPECT_EQ(z.values<float>(), std::vector<float>(64, 6.0f));

  size_t count = 0;
  ASSERT_EQ(driver().GraphGetNodes(graph, nullptr, &count), 0);
  ASSERT_EQ(count, 2u);
  CUgraphNode nodes[2];
  ASSERT_EQ(driver().GraphGetNodes(graph, nodes, &count), 0);
  int type = -1;
  EXPECT_EQ(driver().GraphNodeGetType(nodes[0], &type), 0);
  EXPECT_EQ(type, 0);
  EXPECT_EQ(driver().GraphNodeGetType(nodes[1], &type), 0);
  EXPECT_EQ(type, 1);
  // Other input, other factor; as CUDA_KERNEL_NODE_PARAMS_v2 lies in memory.
  struct {
    CUfunction function;
    unsigned sizes[7];
    void** params;
    void** extra;
    void* kernel;
    CUcontext context;
  } params;
  ASSERT_EQ(driver().GraphKernelNodeGetParams(nodes[0], &params), 0);
  EXPECT_EQ(params.function, function);
  EXPECT_EQ(params.sizes[3], 64u);
  Buffer other(std::vector<float>(64, 10.0f));
  uint64_t address = other.address();
  void* changed[] = {&address, params.params[1], params.params[2]};
  params.params = changed;
  ASSERT_EQ(driver().GraphExecKernelNodeSetParams(exec, nodes[0], &params), 0);
  ASSERT_EQ(driver().GraphLaunch(exec, stream), 0);
  EXPECT_EQ(z.values<float>(), std::vector<float>(64, 20.0f));
  EXPECT_EQ(driver().GraphExecDestroy(exec), 0);
  EXPECT_EQ(driver().GraphDestroy(graph), 0);
  EXPECT_EQ(driver().StreamDestroy(stream), 0);
  EXPECT_EQ(driver().StreamDestroy(stream), kInvalidHandle);
}

}  // namespace
}  // namespace kiln::emulator
