// device/warpgroup_product.h and what it is made of: asynchronous barriers, bulk copies of boxes,
// products by a warpgroup.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "backends/cuda/compile/kernel_family.h"
#include "core/dtype.h"
#include "emulator/kernel_run.h"

namespace kiln::emulator {
namespace {

using cuda::KernelSource;

struct alignas(64) TensorMap {
  uint64_t words[16];
};

std::unique_ptr<LoadedKernel> load(const std::string& entry, const std::string& text) {
  auto kernel = LoadedKernel::load(KernelSource{text, entry});
  EXPECT_TRUE(kernel.ok()) << kernel.status().to_string();
  return kernel.ok() ? std::move(*kernel) : nullptr;
}

TensorMap map_of(const Buffer& matrix, int rows, int columns, int box_rows) {
  TensorMap map;
  const uint64_t dims[] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  const uint64_t strides[] = {static_cast<uint64_t>(columns) * 2};
  const unsigned box[] = {64, static_cast<unsigned>(box_rows)}, steps[] = {1, 1};
  EXPECT_EQ(Emulator::instance().driver().TensorMapEncodeTiled(
                &map, 6, 2, matrix.data(), dims, strides, box, steps, 0, 3, 2, 0),
            0);
  return map;
}

// Small whole numbers, so that sums are exact.
std::vector<uint16_t> whole_numbers(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    value = f32_to_f16(static_cast<float>(static_cast<int>(random() % 5) - 2));
  }
  return values;
}

std::string product_text(const std::string& tile) {
  return R"(#include "device/warpgroup_product.h"
struct Plain {
  Out<f16> c;
  int32 m, n;
  KILN_DEVICE void start(const Shared<f16>&, int32, int32) const {}
  KILN_DEVICE void bring(const Shared<f16>&, int32, int32) const {}
  KILN_DEVICE void before_store() const {}
  KILN_DEVICE uint32 pair(float x, float y, const Shared<f16>&, const Shared<f16>&, int32, int32,
                          int32) const {
    return pack_pair(f16{}, x, y);
  }
  KILN_DEVICE void put(int32 row, int32 column, const Pack<f16, 8>& eight) const {
    if (row < m && column < n) store<8>(c + (row * n + column), eight);
  }
};
using Tile = )" + tile + R"(;
KILN_KERNEL(Tile::kThreads) void product(KILN_TENSOR_MAP(a), KILN_TENSOR_MAP(b), Out<f16> c,
                                         int32 m, int32 n, int32 k) {
  const Plain epilogue{c, m, n};
  WarpgroupProduct<f16, Tile, int32, Plain> work{a, b, epilogue, m, n, k, 0, 0, 0, 0, 0, 0, 0};
  work.run();
}
)";
}

struct TileShape {
  const char* text;
  int rows, columns, consumers, shared_bytes, row_step;
};

TEST(WarpgroupProduct, TilesOfSeveralForms) {
  const TileShape tiles[] = {
      {"WarpgroupTile<1, 64, 2, true, 2, 1>", 64, 64, 2, 100 << 10, 64},
      {"WarpgroupTile<2, 64, 2, false, 3, 1>", 256, 64, 2, 200 << 10, 256},
      {"WarpgroupTile<1, 192, 2, true, 3, 1>", 64, 192, 2, 200 << 10, 64},
  };
  const int shapes[][4] = {{1, 8, 8, 1}, {70, 72, 136, 1}, {200, 200, 72, 2}, {130, 136, 264, 3}};
  for (const TileShape& tile : tiles) {
    SCOPED_TRACE(tile.text);
    auto kernel = load("product", product_text(tile.text));
    ASSERT_NE(kernel, nullptr);
    for (const auto& [m, n, k, blocks] : shapes) {
      SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
      const auto a = whole_numbers(static_cast<size_t>(m * k), 1);
      const auto b = whole_numbers(static_cast<size_t>(n * k), 2);
      Buffer left(a), right(b), c(static_cast<size_t>(m * n) * 2);
      TensorMap a_map = map_of(left, m, k, tile.rows), b_map = map_of(right, n, k, tile.columns);
      uint64_t to = c.address();
      int sizes[] = {m, n, k};
      ASSERT_EQ(kernel->launch_with({{blocks, 1, 1}, {(tile.consumers + 1) * 128, 1, 1},
                                     tile.shared_bytes},
                                    {&a_map, &b_map, &to, &sizes[0], &sizes[1], &sizes[2]}),
                "");
      const auto result = c.values<uint16_t>();
      for (int row = 0; row < m; ++row) {
        for (int column = 0; column < n; ++column) {
          float sum = 0;
          for (int d = 0; d < k; ++d) {
            sum += f16_to_f32(a[static_cast<size_t>(row * k + d)]) *
                   f16_to_f32(b[static_cast<size_t>(column * k + d)]);
          }
          ASSERT_EQ(f16_to_f32(result[static_cast<size_t>(row * n + column)]), sum)
              << row << ", " << column;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kiln::emulator
