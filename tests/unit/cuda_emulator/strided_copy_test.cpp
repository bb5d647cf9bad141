// The runtime's own copies between strided tensors, by the kernels that libkiln prints for them.
#include <gtest/gtest.h>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/cuda_device.h"
#include "emulator/kernel_run.h"
#include "runtime/strided_copy.h"

namespace kiln::emulator {
namespace {

struct Case {
  std::vector<int64_t> dims, from, to;
  size_t element = 4;
  size_t offset = 0;  // of both addresses, in bytes
};

// Elements that the strides reach.
size_t reach(const std::vector<int64_t>& dims, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  for (size_t i = 0; i < dims.size(); ++i) last += (dims[i] - 1) * strides[i];
  return static_cast<size_t>(last) + 1;
}

void check(const Case& c) {
  use_device();
  const size_t from_bytes = reach(c.dims, c.from) * c.element + c.offset;
  const size_t to_bytes = reach(c.dims, c.to) * c.element + c.offset;
  std::vector<uint8_t> source(from_bytes), expected(to_bytes, 0x5a);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<uint8_t>(i * 37 + i / 251);
  const auto rank = static_cast<int>(c.dims.size());
  strided_copy(source.data() + c.offset, c.from.data(), expected.data() + c.offset, c.to.data(),
               c.dims.data(), rank, c.element);
  const Buffer from(source), to(std::vector<uint8_t>(to_bytes, 0x5a));
  const auto* from_address = static_cast<const uint8_t*>(from.data()) + c.offset;
  const auto* to_address = static_cast<const uint8_t*>(to.data()) + c.offset;
  const auto shape = cuda::CopyShape::make(from_address, c.from.data(), to_address, c.to.data(),
                                           c.dims.data(), rank, c.element);
  auto source_text = cuda::print_kernel(shape.kernel());
  ASSERT_TRUE(source_text.ok()) << source_text.status().to_string();
  auto kernel = LoadedKernel::load(*source_text);
  ASSERT_TRUE(kernel.ok()) << kernel.status().to_string() << "\n" << source_text->text;
  cuda::CopyShape::Arguments arguments;
  shape.fill(from_address, to_address, arguments);
  Shape launch;
  launch.grid[0] = shape.blocks();
  launch.block[0] = cuda::CopyShape::kThreads;
  const size_t count = 3 + 3 * static_cast<size_t>(shape.kernel_rank());
  EXPECT_EQ((*kernel)->launch(launch, {arguments.values, arguments.values + count}), "");
  EXPECT_EQ(to.values<uint8_t>(), expected) << source_text->text;
}

TEST(StridedCopy, Transposes) {
  for (size_t element : {1, 2, 4, 8, 16}) check({{7, 5}, {5, 1}, {1, 7}, element});
}

TEST(StridedCopy, MovesWhatLiesTogetherInWidePieces) {
  check({{3, 8}, {12, 1}, {8, 1}, 2});     // pieces of 8 bytes
  check({{3, 8}, {16, 1}, {8, 1}, 2});     // of 16
  check({{3, 8}, {16, 1}, {8, 1}, 2, 2});  // addresses of 2 bytes
}

TEST(StridedCopy, GoesThroughManyDimsAndRepeatsElements) {
  check({{2, 3, 4, 5}, {1, 2, 6, 24}, {60, 20, 5, 1}});
  check({{300, 3}, {0, 1}, {3, 1}});  // more than one block
}

TEST(StridedCopy, WideNumbersGiveTheSame) {
  // As for tensors of more than 2^31 elements.
  Json params = Json::object();
  params.set("element_bytes", int64_t{4});
  params.set("rank", int64_t{2});
  params.set("wide", true);
  auto source = cuda::print_kernel({"strided_copy", params});
  ASSERT_TRUE(source.ok());
  use_device();
  auto kernel = LoadedKernel::load(*source);
  ASSERT_TRUE(kernel.ok()) << kernel.status().to_string();
  const Buffer from(std::vector<int32_t>{1, 2, 3, 4, 5, 6}), to(6 * sizeof(int32_t));
  Shape launch;
  launch.grid[0] = 1;
  launch.block[0] = 256;
  EXPECT_EQ((*kernel)->launch(launch, {from.address(), to.address(), 6, 3, 1, 2, 2, 3, 1}), "");
  EXPECT_EQ(to.values<int32_t>(), (std::vector<int32_t>{1, 4, 2, 5, 3, 6}));
}

TEST(StridedCopy, RefusesWhatItDoesNotHave) {
  for (const auto& [bytes, rank] : {std::pair<int64_t, int64_t>{3, 1}, {32, 1}, {4, 17}, {4, -1}}) {
    Json params = Json::object();
    params.set("element_bytes", bytes);
    params.set("rank", rank);
    params.set("wide", false);
    EXPECT_FALSE(cuda::print_kernel({"strided_copy", params}).ok());
  }
}

}  // namespace
}  // namespace kiln::emulator
