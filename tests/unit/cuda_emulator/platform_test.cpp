// The vocabulary of device/platform.h on the host: threads, warps, shared memory, numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>

#include "backends/cuda/compile/kernel_family.h"
#include "core/dtype.h"
#include "emulator/kernel_run.h"

namespace kiln::emulator {
namespace {

using cuda::KernelSource;

std::unique_ptr<LoadedKernel> load(const std::string& entry, const std::string& text) {
  auto kernel = LoadedKernel::load(KernelSource{"#include \"device/platform.h\"\n" + text, entry});
  EXPECT_TRUE(kernel.ok()) << kernel.status().to_string();
  return kernel.ok() ? std::move(*kernel) : nullptr;
}

// Kernels are compiled many at a time, in one unit with the headers of all of them.
TEST(EmulatedPlatform, AllDeviceHeadersFitInOneUnit) {
  std::string text;
  for (const cuda::DeviceHeader& header : cuda::device_headers()) {
    text += "#include \"" + std::string(header.name) + "\"\n";
  }
  EXPECT_NE(load("nothing", text + "KILN_KERNEL(32) void nothing(Out<float>) {}\n"), nullptr);
}

TEST(EmulatedPlatform, RowSumsByWarpAndBlock) {
  auto kernel = load("row_sum", R"(
KILN_DEVICE float block_sum(float value) {
  KILN_SHARED(float, partial, 32);
  for (int32 mask = 16; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
  if (lane() == 0) partial[warp()] = value;
  barrier();
  const int32 warps = threads_x() / 32;
  value = lane() < warps ? static_cast<float>(partial[lane()]) : 0.0f;
  for (int32 mask = 16; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
  return value;
}
KILN_KERNEL(256) void row_sum(In<float> x, Out<float> y, int64 columns) {
  In<float> row = x + block_x() * columns;
  float sum = 0.0f;
  for (int64 i = thread_x(); i < columns; i += threads_x()) sum += row[i];
  sum = block_sum(sum);
  if (thread_x() == 0) y[block_x()] = sum;
}
)");
  ASSERT_NE(kernel, nullptr);
  for (const int columns : {1, 31, 257, 1000}) {
    std::vector<float> values(static_cast<size_t>(3 * columns));
    std::iota(values.begin(), values.end(), 0.0f);
    Buffer x(values), y(3 * sizeof(float));
    ASSERT_EQ(kernel->launch({{3, 1, 1}, {128, 1, 1}, 0},
                             {x.address(), y.address(), static_cast<uint64_t>(columns)}),
              "");
    for (size_t row = 0; row < 3; ++row) {
      const auto begin = values.begin() + static_cast<int64_t>(row) * columns;
      EXPECT_EQ(y.values<float>()[row], std::accumulate(begin, begin + columns, 0.0f)) << columns;
    }
  }
}

TEST(EmulatedPlatform, TransposeThroughSharedMemory) {
  auto kernel = load("transpose", R"(
KILN_KERNEL(256) void transpose(In<uint16> x, Out<uint16> y, int32 rows, int32 columns) {
  Shared<uint16> tile = dynamic_shared<uint16>();
  const int64 row0 = block_y() * 32, column0 = block_x() * 32;
  for (int32 i = thread_y(); i < 32; i += threads_y()) {
    if (row0 + i < rows && column0 + thread_x() < columns) {
      tile[i * 33 + thread_x()] = x[(row0 + i) * columns + column0 + thread_x()];
    }
  }
  barrier();
  for (int32 i = thread_y(); i < 32; i += threads_y()) {
    if (column0 + i < columns && row0 + thread_x() < rows) {
      y[(column0 + i) * rows + row0 + thread_x()] = tile[thread_x() * 33 + i];
    }
  }
}
)");
  ASSERT_NE(kernel, nullptr);
  constexpr uint64_t kRows = 45, kColumns = 70;
  std::vector<uint16_t> values(kRows * kColumns);
  std::iota(values.begin(), values.end(), uint16_t{0});
  Buffer x(values), y(values.size() * 2);
  ASSERT_EQ(kernel->launch({{3, 2, 1}, {32, 8, 1}, 32 * 33 * 2},
                           {x.address(), y.address(), kRows, kColumns}),
            "");
  const std::vector<uint16_t> result = y.values<uint16_t>();
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kColumns; ++j) {
      ASSERT_EQ(result[j * kRows + i], values[i * kColumns + j]);
    }
  }
}

TEST(EmulatedPlatform, WarpOperations) {
  auto kernel = load("warps", R"(
KILN_KERNEL(64) void warps(Out<int32> y) {
  const int32 i = thread_x();
  Out<int32> own = y + i * 8;
  own[0] = shuffle(i, 5);
  own[1] = shuffle_xor(i, 3);
  own[2] = shuffle_up(i, 2);
  own[3] = shuffle_down(i, 4);
  own[4] = static_cast<int32>(vote_ballot(i % 3 == 0));
  own[5] = vote_any(i == 40);
  own[6] = static_cast<int32>(shuffle(int64(i) << 33, i + 1) >> 33);
  own[7] = lane() * 100 + warp();
}
)");
  ASSERT_NE(kernel, nullptr);
  Buffer y(64 * 8 * 4);
  ASSERT_EQ(kernel->launch({{1, 1, 1}, {64, 1, 1}, 0}, {y.address()}), "");
  const std::vector<int32_t> result = y.values<int32_t>();
  for (int i = 0; i < 64; ++i) {
    const int first = i / 32 * 32, lane = i % 32;
    uint32_t ballot = 0;
    for (int j = 0; j < 32; ++j) ballot |= uint32_t{(first + j) % 3 == 0} << j;
    const std::vector<int32_t> expected = {
        first + 5,
        i ^ 3,
        lane < 2 ? i : i - 2,
        lane > 27 ? i : i + 4,
        static_cast<int32_t>(ballot),
        i >= 32,
        first + (lane + 1) % 32,
        lane * 100 + i / 32};
    const auto begin = result.begin() + i * 8;
    EXPECT_EQ(std::vector<int32_t>(begin, begin + 8), expected) << i;
  }
}

// All 16-bit patterns one way, and the neighbourhood of every 16-bit number the other way.
TEST(EmulatedPlatform, HalfPrecisionIsExact) {
  auto kernel = load("halves", R"(
KILN_KERNEL(256) void halves(In<float> x, Out<f16> h, Out<bf16> b, Out<float> of_h, Out<float> of_b,
                             int32 n) {
  const int32 i = static_cast<int32>(block_x()) * 256 + thread_x();
  if (i >= n) return;
  const float value = x[i];
  h[i] = to_f16(value);
  b[i] = to_bf16(value);
  const uint16 bits = static_cast<uint16>(i);
  of_h[i] = to_float(f16{bits});
  of_b[i] = to_float(bf16{bits});
}
)");
  ASSERT_NE(kernel, nullptr);
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    // Each number, what lies just above and below, and the middle to its neighbour with both sides.
    for (const float center : {f16_to_f32(static_cast<uint16_t>(bits)),
                               bf16_to_f32(static_cast<uint16_t>(bits))}) {
      uint32_t at;
      std::memcpy(&at, &center, 4);
      for (const uint32_t step : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u}) {
        const uint32_t moved = at + step;
        float value;
        std::memcpy(&value, &moved, 4);
        values.push_back(value);
      }
    }
  }
  const size_t n = values.size();
  Buffer x(values), h(n * 2), b(n * 2), of_h(n * 4), of_b(n * 4);
  ASSERT_EQ(kernel->launch({{static_cast<int64_t>((n + 255) / 256), 1, 1}, {256, 1, 1}, 0},
                           {x.address(), h.address(), b.address(), of_h.address(), of_b.address(),
                            n}),
            "");
  const std::vector<uint16_t> halves = h.values<uint16_t>(), brains = b.values<uint16_t>();
  int wrong = 0;
  for (size_t i = 0; i < n && wrong < 5; ++i) {
    const bool nan = std::isnan(values[i]);
    const uint16_t half = nan ? 0x7fff : f32_to_f16(values[i]);
    const uint16_t brain = nan ? 0x7fff : f32_to_bf16(values[i]);
    if (halves[i] == half && brains[i] == brain) continue;
    ++wrong;
    ADD_FAILURE() << values[i] << ": f16 " << halves[i] << ", expected " << half << "; bf16 "
                  << brains[i] << ", expected " << brain;
  }
  const std::vector<float> from_half = of_h.values<float>(), from_brain = of_b.values<float>();
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float half = f16_to_f32(static_cast<uint16_t>(bits));
    const float brain = bf16_to_f32(static_cast<uint16_t>(bits));
    ASSERT_TRUE(from_half[bits] == half || (std::isnan(half) && std::isnan(from_half[bits])));
    ASSERT_TRUE(from_brain[bits] == brain || (std::isnan(brain) && std::isnan(from_brain[bits])));
  }
}

TEST(EmulatedPlatform, FaultsAndNullPointers) {
  auto kernel = load("faults", R"(
KILN_KERNEL(64) void faults(In<int64> index, In<float> bias, Out<float> y, InOut<uint32> fault) {
  const int64 at = index[thread_x()];
  if (at < 0 || at >= 4) report_fault(fault, 1);
  y[thread_x()] = bias ? bias[0] : 7.0f;
}
)");
  ASSERT_NE(kernel, nullptr);
  Buffer fault(std::vector<uint32_t>{0}), y(64 * 4);
  Buffer index(std::vector<int64_t>(64, 3)), bad(std::vector<int64_t>(64, -1));
  const Shape shape{{1, 1, 1}, {64, 1, 1}, 0};
  ASSERT_EQ(kernel->launch(shape, {index.address(), 0, y.address(), fault.address()}), "");
  EXPECT_EQ(fault.values<uint32_t>()[0], 0u);
  EXPECT_EQ(y.values<float>()[63], 7.0f);
  ASSERT_EQ(kernel->launch(shape, {bad.address(), 0, y.address(), fault.address()}), "");
  EXPECT_EQ(fault.values<uint32_t>()[0], 1u);
}

}  // namespace
}  // namespace kiln::emulator
