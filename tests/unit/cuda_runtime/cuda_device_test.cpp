#include "backends/cuda/runtime/cuda_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

#include "cuda/null_driver.h"
#include "runtime/strided_copy.h"

namespace kiln::cuda {
namespace {

using test::NullCompiler;
using test::NullDriver;
using ::testing::ElementsAre;

class CudaDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NullDriver::get().reset();
    set_kernel_compiler(&compiler_);
    compiler_.parameters["one"] = {8};
    compiler_.parameters["two"] = {8, 8};
  }
  void TearDown() override { set_kernel_compiler(nullptr); }
  DeviceRuntime& device(int index = 0) {
    auto result = device_runtime_for("cuda:sm_90", index);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return **result;
  }
  NullDriver& driver() { return NullDriver::get(); }
  static StreamHandle stream(uintptr_t number) { return reinterpret_cast<StreamHandle>(number); }

  NullCompiler compiler_;
};

CUcontext current_context() {
  CUcontext context = nullptr;
  NullDriver::table().CtxGetCurrent(&context);
  return context;
}

TEST_F(CudaDeviceTest, IsOneObjectForEachIndex) {
  EXPECT_EQ(&device(0), &device(0));
  EXPECT_NE(&device(0), &device(1));
  EXPECT_EQ(device(1).device().to_string(), "cuda:1");
  EXPECT_EQ(cuda_device(2).status().code(), "K5302");
  EXPECT_EQ(cuda_device(-1).status().code(), "K5302");
}

TEST_F(CudaDeviceTest, LeavesTheThreadsContextAsItWas) {
  ASSERT_EQ(current_context(), nullptr);
  {
    ScopedDevice second(device(1));
    const CUcontext context = current_context();
    EXPECT_NE(context, nullptr);
    auto memory = device(0).allocate(100, nullptr);
    EXPECT_EQ(current_context(), context);
    ScopedDevice first(device(0));
    EXPECT_NE(current_context(), context);
  }
  EXPECT_EQ(current_context(), nullptr);
}

TEST_F(CudaDeviceTest, MemoryGoesBackToTheDriver) {
  for (bool pools : {true, false}) {
    driver().memory_pools = pools;
    const size_t before = driver().live_blocks();
    auto arena = device().allocate(1000, stream(1));
    auto lasting = device().allocate_lasting(0);
    ASSERT_NE(arena, nullptr);
    EXPECT_TRUE(driver().is_device(arena.get()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.get()) % 64, 0u);
    EXPECT_EQ(driver().live_blocks(), before + 2);
    arena.reset();
    lasting.reset();
    EXPECT_EQ(driver().live_blocks(), before);
  }
}

TEST_F(CudaDeviceTest, OutOfMemoryIsNull) {
  driver().fail_next("cuMemAllocAsync", kCudaOutOfMemory);
  EXPECT_EQ(device().allocate(1 << 20, nullptr), nullptr);
  driver().fail_next("cuMemAlloc", kCudaOutOfMemory);
  EXPECT_EQ(device().allocate_lasting(1 << 20), nullptr);
}

// A host with one stream, whose memory comes from here.
size_t host_blocks = 0;

std::shared_ptr<void> allocate_of_host(int index, size_t bytes, StreamHandle stream) {
  if (index != 0 || stream != reinterpret_cast<StreamHandle>(uintptr_t{7})) return nullptr;
  ++host_blocks;
  return {std::malloc(bytes), [](void* p) {
            --host_blocks;
            std::free(p);
          }};
}

TEST_F(CudaDeviceTest, AHostGivesMemoryForItsStreamAndSaysWhichOneThatIs) {
  set_device_host({allocate_of_host, [](int) { return stream(7); }});
  EXPECT_EQ(device().current_stream(), stream(7));
  auto mine = device().allocate(100, stream(7));
  EXPECT_EQ(host_blocks, 1u);
  EXPECT_FALSE(driver().is_device(mine.get()));
  auto other = device().allocate(100, stream(8));
  EXPECT_EQ(host_blocks, 1u);
  EXPECT_TRUE(driver().is_device(other.get()));
  driver().clear_log();
  auto lasting = device().allocate_lasting(100);
  EXPECT_EQ(host_blocks, 2u);
  EXPECT_THAT(driver().log(), ElementsAre("synchronize"));  // other streams may use it at once
  lasting.reset();
  EXPECT_EQ(host_blocks, 1u);
  EXPECT_EQ(driver().count("synchronize"), 2u);
  driver().foreign_capture = true;  // what is given then is the recording's
  lasting = device().allocate_lasting(100);
  EXPECT_EQ(host_blocks, 1u);
  set_device_host({});
  EXPECT_EQ(device().current_stream(), nullptr);
}

TEST_F(CudaDeviceTest, CopiesWithAHostEndWait) {
  auto memory = device().allocate(64, nullptr);
  std::vector<char> data(64, 'x'), back(64);
  driver().clear_log();
  ASSERT_TRUE(device().copy(memory.get(), data.data(), 64, nullptr).ok());
  EXPECT_THAT(driver().log(), ElementsAre("memcpy", "synchronize"));
  auto other = device().allocate(64, nullptr);
  driver().clear_log();
  ASSERT_TRUE(device().copy(other.get(), memory.get(), 64, nullptr).ok());
  EXPECT_THAT(driver().log(), ElementsAre("memcpy"));
  ASSERT_TRUE(device().copy(back.data(), other.get(), 64, nullptr).ok());
  EXPECT_EQ(data, back);
  ASSERT_TRUE(device().fill(memory.get(), 7, 64, nullptr).ok());
  EXPECT_EQ(static_cast<char*>(memory.get())[63], 7);
}

TEST_F(CudaDeviceTest, StreamsAreOrderedByEvents) {
  driver().clear_log();
  ASSERT_TRUE(device().order(stream(1), stream(1)).ok());
  EXPECT_TRUE(driver().log().empty());
  ASSERT_TRUE(device().order(stream(1), stream(2)).ok());
  EXPECT_THAT(driver().log(), ElementsAre("event", "wait"));
}

TEST_F(CudaDeviceTest, LoadsEqualKernelsOnce) {
  Json other = Json::object();
  other.set("n", int64_t{2});
  auto first = device().load_code({{"one", Json::object()}, {"two", Json::object()}}, nullptr);
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  EXPECT_EQ(compiler_.compiled, 2);
  EXPECT_EQ(compiler_.last_sm, 90);
  auto second = device().load_code({{"two", Json::object()}, {"two", other}}, nullptr);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(compiler_.compiled, 3);
  const auto& a = static_cast<KernelCode&>(**first);
  const auto& b = static_cast<KernelCode&>(**second);
  EXPECT_EQ(a.kernels[1].function, b.kernels[0].function);
  EXPECT_NE(a.kernels[1].function, b.kernels[1].function);
  EXPECT_NE(a.fault, b.fault);
  driver().clear_log();
  first->reset();
  EXPECT_THAT(driver().log(), ElementsAre("unload one"));
}

TensorSignature signature(const std::string& name, DType dtype, Shape dims) {
  TensorSignature made;
  made.name = name;
  made.dtype = dtype;
  made.dims = std::move(dims);
  return made;
}

// Code of a file, as the null driver loads it.
NativeCode code_of_file(const std::vector<KernelDesc>& kernels, const std::string& entry,
                        const std::string& text) {
  NativeCode code{"sm_90", std::string(kernel_convention()), "a test", {}};
  for (const KernelDesc& kernel : kernels) {
    const auto image = std::make_shared<const std::string>(text);
    code.kernels.push_back({hash_of(kernel), kernel.family, entry, hash128(*image), *image, image});
  }
  return code;
}

TEST_F(CudaDeviceTest, LoadsCodeOfFilesWithoutACompiler) {
  set_kernel_compiler(nullptr);
  const std::vector<KernelDesc> kernels = {{"one", Json::object()}};
  EXPECT_EQ(device().load_code(kernels, nullptr).status().code(), "K5309");
  NativeCode native = code_of_file(kernels, "entry_of_it", "entry_of_it 1 8");
  auto code = device().load_code(kernels, &native);
  ASSERT_TRUE(code.ok()) << code.status().to_string();
  EXPECT_EQ(static_cast<KernelCode&>(**code).kernels[0].name, "entry_of_it");
  native.kernels[0].entry = "another_entry";
  EXPECT_EQ(device().load_code(kernels, &native).status().code(), "K5304");
  // Code of another description is none.
  native = code_of_file({{"two", Json::object()}}, "two", "two 2 8 8");
  EXPECT_EQ(device().load_code(kernels, &native).status().code(), "K5309");
}

TEST_F(CudaDeviceTest, CodeOfAFileIsUsedWhereItFits) {
  const std::vector<KernelDesc> kernels = {{"one", Json::object()}};
  const NativeCode fitting = code_of_file(kernels, "of_the_file", "of_the_file 1 8");
  const auto taken = [&](const NativeCode& native) {
    auto code = device().load_code(kernels, &native);
    EXPECT_TRUE(code.ok()) << code.status().to_string();
    return code.ok() ? static_cast<KernelCode&>(**code).kernels[0].name : "";
  };
  EXPECT_EQ(taken(fitting), "of_the_file");
  EXPECT_EQ(compiler_.compiled, 0);
  for (const char* isa : {"sm_80", "sm_91", "sm_100", "sm_", "cpu"}) {
    NativeCode other = fitting;
    other.isa = isa;
    EXPECT_EQ(taken(other), "one") << isa;
  }
  NativeCode old = fitting;
  old.convention = "another";
  EXPECT_EQ(taken(old), "one");
  EXPECT_EQ(compiler_.compiled, 6);
  set_kernel_compiler(nullptr);
  const Status refused = device().load_code(kernels, &old).status();
  EXPECT_EQ(refused.code(), "K5309");
  EXPECT_NE(refused.message().find("another version of Kiln"), std::string::npos);
}

TEST_F(CudaDeviceTest, ProgramsWithAndWithoutTrustShareNoCode) {
  const std::vector<KernelDesc> kernels = {{"one", Json::object()}};
  const NativeCode native = code_of_file(kernels, "of_the_file", "of_the_file 1 8");
  auto trusted = device().load_code(kernels, &native);
  auto other = device().load_code(kernels, nullptr);
  ASSERT_TRUE(trusted.ok() && other.ok());
  EXPECT_EQ(static_cast<KernelCode&>(**other).kernels[0].name, "one");
}

TEST_F(CudaDeviceTest, FilesBringTheKernelsOfCopies) {
  set_kernel_compiler(nullptr);
  auto from = device(1).allocate(4 * 12, nullptr);
  auto to = device(1).allocate(4 * 12, nullptr);
  const int64_t dims[] = {3, 4}, rows[] = {4, 1}, columns[] = {1, 3};
  const auto copy = [&] {
    return device(1).strided_copy(from.get(), rows, to.get(), columns, dims, 2, 4, nullptr);
  };
  EXPECT_EQ(copy().code(), "K5309");
  EnginePlan plan;
  plan.inputs.push_back(signature("x", DType::kF32, {DimExpr(3), DimExpr(4)}));
  const std::vector<KernelDesc> kernels = copy_kernels(plan);
  const NativeCode native = code_of_file(kernels, "copy", "copy 9 8 8 4 4 4 4 4 4 4");
  auto code = device(1).load_code({}, &native);
  ASSERT_TRUE(code.ok()) << code.status().to_string();
  driver().clear_log();
  const Status copied = copy();
  EXPECT_TRUE(copied.ok()) << copied.to_string();
  EXPECT_EQ(driver().count("launch copy"), 1u);
}

TEST(CopyKernels, AreAllThatCopiesOfTheSignatureMayNeed) {
  EnginePlan plan;
  plan.inputs.push_back(signature("x", DType::kF16, {DimExpr(3), DimExpr(4), DimExpr(5)}));
  plan.outputs.emplace_back().signature = signature("y", DType::kI64, {DimExpr(7)});
  const std::vector<KernelDesc> kernels = copy_kernels(plan);
  std::mt19937 random(3);
  alignas(16) static char memory[16];
  for (int round = 0; round < 500; ++round) {
    const bool input = random() % 2 == 0;
    const int rank = input ? 3 : 1;
    int64_t dims[3], from[3], to[3];
    for (int d = 0; d < rank; ++d) {
      dims[d] = 1 + static_cast<int64_t>(random() % 4);
      from[d] = static_cast<int64_t>(random() % 5);
      to[d] = 1 + static_cast<int64_t>(random() % 20);
      if (random() % 8 == 0) from[d] = int64_t{1} << 40;
    }
    const size_t shift = input ? random() % 8 * 2 : random() % 2 * 8;
    const CopyShape shape =
        CopyShape::make(memory + shift, from, memory, to, dims, rank, input ? 2 : 8);
    const Hash128 hash = hash_of(shape.kernel());
    EXPECT_TRUE(std::any_of(kernels.begin(), kernels.end(), [&](const KernelDesc& kernel) {
      return hash_of(kernel) == hash;
    })) << shape.kernel().params.dump();
  }
}

TEST_F(CudaDeviceTest, FaultsBelongToTheCodeThatFoundThem) {
  auto first = device().load_code({{"one", Json::object()}}, nullptr);
  auto second = device().load_code({{"one", Json::object()}}, nullptr);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(device().take_fault(**first).ok());
  *static_cast<KernelCode&>(**first).fault = 1;
  EXPECT_TRUE(device().take_fault(**second).ok());
  EXPECT_EQ(device().take_fault(**first).code(), "K4410");
  EXPECT_TRUE(device().take_fault(**first).ok());
  *static_cast<KernelCode&>(**first).fault = 2;
  EXPECT_EQ(device().take_fault(**first).code(), "K4411");
}

TEST_F(CudaDeviceTest, ContiguousCopiesAreTheDrivers) {
  auto from = device().allocate(4 * 24, nullptr);
  auto to = device().allocate(4 * 24, nullptr);
  const int64_t dims[] = {2, 3, 4}, strides[] = {12, 4, 1};
  driver().clear_log();
  ASSERT_TRUE(
      device().strided_copy(from.get(), strides, to.get(), strides, dims, 3, 4, nullptr).ok());
  EXPECT_THAT(driver().log(), ElementsAre("memcpy"));
}

TEST_F(CudaDeviceTest, CompilesAStridedCopyOnce) {
  auto from = device().allocate(4 * 12, nullptr);
  auto to = device().allocate(4 * 12, nullptr);
  const int64_t dims[] = {3, 4}, rows[] = {4, 1}, columns[] = {1, 3};
  ASSERT_TRUE(device().strided_copy(from.get(), rows, to.get(), columns, dims, 2, 4, nullptr).ok());
  const int compiled = compiler_.compiled;
  driver().clear_log();
  ASSERT_TRUE(device().strided_copy(from.get(), columns, to.get(), rows, dims, 2, 4, nullptr).ok());
  EXPECT_EQ(compiler_.compiled, compiled);
  EXPECT_EQ(driver().log().size(), 1u);
}

// Random shapes against the host's copy, with guards around the target.
TEST_F(CudaDeviceTest, StridedCopiesMoveTheRightElements) {
  std::mt19937 random(7);
  auto number = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 300; ++round) {
    const size_t element = size_t{1} << number(0, 4);
    const int rank = number(0, 5);
    std::vector<int64_t> dims, from_strides(static_cast<size_t>(rank)),
        to_strides(static_cast<size_t>(rank));
    for (int d = 0; d < rank; ++d) dims.push_back(number(number(0, 9) == 0 ? 0 : 1, 5));
    auto place = [&](std::vector<int64_t>& strides) {
      std::vector<size_t> order(dims.size());
      std::iota(order.begin(), order.end(), size_t{0});
      if (number(0, 2) != 0) std::shuffle(order.begin(), order.end(), random);
      int64_t stride = number(0, 3) == 0 ? 2 : 1;
      for (size_t i = order.size(); i-- > 0;) {
        strides[order[i]] = stride;
        stride *= dims[order[i]] + (number(0, 3) == 0 ? 1 : 0);
        stride = std::max<int64_t>(stride, 1);
      }
      return static_cast<size_t>(stride) * 2 + 2;
    };
    const size_t from_size = place(from_strides) * element;
    const size_t to_size = place(to_strides) * element;
    if (rank > 0 && number(0, 4) == 0) from_strides[0] = 0;  // broadcast
    const size_t shift = element * static_cast<size_t>(number(0, 1));
    auto from = device().allocate(from_size + shift, nullptr);
    auto to = device().allocate(to_size + shift, nullptr);
    auto* source = static_cast<char*>(from.get());
    for (size_t i = 0; i < from_size + shift; ++i) source[i] = static_cast<char>(random());
    std::memset(to.get(), 0x5a, to_size + shift);
    std::vector<char> expected(to_size + shift, 0x5a);
    strided_copy(source + shift, from_strides.data(), expected.data() + shift, to_strides.data(),
                 dims.data(), rank, element);
    const Status status = device().strided_copy(
        source + shift, from_strides.data(), static_cast<char*>(to.get()) + shift,
        to_strides.data(), dims.data(), rank, element, nullptr);
    ASSERT_TRUE(status.ok()) << status.to_string();
    ASSERT_EQ(std::memcmp(expected.data(), to.get(), expected.size()), 0) << "round " << round;
  }
}

TEST(CopyShape, MergesWidensAndChoosesTheWidthOfIndices) {
  alignas(16) char from[16] = {}, to[16] = {};
  {
    const int64_t dims[] = {8, 6, 32}, strides[] = {400, 32, 1}, dense[] = {192, 32, 1};
    const CopyShape shape = CopyShape::make(from, strides, to, dense, dims, 3, 2);
    EXPECT_EQ(shape.rank, 2);
    EXPECT_EQ(shape.element_bytes, 16);
    EXPECT_EQ(shape.dims[1], 24);
    EXPECT_EQ(shape.from[0], 50);
    EXPECT_EQ(shape.elements, 8 * 24);
    EXPECT_TRUE(shape.fits_32_bits());
    // Not aligned to more than 4 bytes.
    EXPECT_EQ(CopyShape::make(from + 4, strides, to, dense, dims, 3, 2).element_bytes, 4);
    EXPECT_EQ(CopyShape::make(from, strides, to + 2, dense, dims, 3, 2).element_bytes, 2);
  }
  {
    const int64_t dims[] = {3, 2}, strides[] = {int64_t{1} << 31, 1}, dense[] = {2, 1};
    EXPECT_FALSE(CopyShape::make(from, strides, to, dense, dims, 2, 1).fits_32_bits());
  }
  {
    // Pieces of 16 bytes are counted in words.
    const int64_t dims[] = {3, 2}, strides[] = {int64_t{1} << 28, 1}, dense[] = {2, 1};
    EXPECT_FALSE(CopyShape::make(from, strides, to, dense, dims, 2, 16).fits_32_bits());
    EXPECT_TRUE(CopyShape::make(from, strides, to, dense, dims, 2, 8).fits_32_bits());
  }
}

TEST(Driver, SaysWhatIsMissing) {
  set_driver_for_test(nullptr);
  const auto result = driver();
  if (result.ok()) GTEST_SKIP() << "there is a driver here";
  EXPECT_TRUE(result.status().code() == "K5301" || result.status().code() == "K5302")
      << result.status().to_string();
  EXPECT_FALSE(result.status().hint().empty());
}

}  // namespace
}  // namespace kiln::cuda
