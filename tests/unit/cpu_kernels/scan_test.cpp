#include "backends/cpu/kernels/scan.h"

#include <gtest/gtest.h>

#include "base/parallel_for.h"
#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

template <class T>
void check(DType dtype, ScanOp op, int dim) {
  const int64_t sizes[] = {7, 50, 33};
  ScanParams p;
  p.op = op, p.dtype = dtype, p.rank = 3, p.dim = dim;
  p.sizes = {7, 50, 33};
  p.src_strides = {50 * 33, 33, 1};
  p.dst_strides = {1, 7, 350};  // written transposed
  ASSERT_TRUE(p.validate().ok());
  const auto src =
      random_integers<T>(7 * 50 * 33, op == ScanOp::kSum ? -3 : -1, op == ScanOp::kSum ? 3 : 2, 1);
  std::vector<T> dst(src.size());
  scan(p, src.data(), dst.data());
  for (int64_t i = 0; i < 7; ++i)
    for (int64_t j = 0; j < 50; ++j)
      for (int64_t k = 0; k < 33; ++k) {
        const int64_t at[] = {i, j, k};
        T expected = op == ScanOp::kSum ? T(0) : T(1);
        for (int64_t t = 0; t <= at[dim]; ++t) {
          int64_t offset = 0;
          for (int d = 0; d < 3; ++d) offset += (d == dim ? t : at[d]) * p.src_strides[d];
          expected =
              static_cast<T>(op == ScanOp::kSum ? expected + src[offset] : expected * src[offset]);
        }
        ASSERT_EQ(dst[i + 7 * j + 350 * k], expected) << sizes[dim];
      }
}

TEST(Scan, MatchesTheDefinition) {
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    for (int dim : {0, 1, 2}) {
      check<float>(DType::kF32, ScanOp::kSum, dim);
      check<double>(DType::kF64, ScanOp::kProd, dim);
      check<int64_t>(DType::kI64, ScanOp::kSum, dim);
      check<int32_t>(DType::kI32, ScanOp::kProd, dim);
      check<int8_t>(DType::kI8, ScanOp::kSum, dim);
    }
  }
}

TEST(Scan, SmallTermsAreNotLost) {
  // In float, 2^24 + 1 + 1 stays 2^24; the sum is kept in double.
  const std::vector<float> src{16777216.0f, 1.0f, 1.0f};
  std::vector<float> dst(3);
  ScanParams p;
  p.sizes[0] = 3, p.src_strides[0] = p.dst_strides[0] = 1;
  scan(p, src.data(), dst.data());
  EXPECT_EQ(dst[2], 16777218.0f);
}

TEST(Scan, SixteenBitFloats) {
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    auto encode = [&](float x) { return dtype == DType::kF16 ? f32_to_f16(x) : f32_to_bf16(x); };
    const std::vector<uint16_t> src{encode(1), encode(0.5f), encode(2)};
    std::vector<uint16_t> dst(3);
    ScanParams p;
    p.dtype = dtype;
    p.sizes[0] = 3, p.src_strides[0] = p.dst_strides[0] = 1;
    scan(p, src.data(), dst.data());
    EXPECT_EQ(dst, (std::vector<uint16_t>{encode(1), encode(1.5f), encode(3.5f)}));
  }
}

TEST(Scan, InPlaceZeroSizesAndErrors) {
  std::vector<int64_t> x{1, 2, 3};
  ScanParams p;
  p.dtype = DType::kI64;
  p.sizes[0] = 3, p.src_strides[0] = p.dst_strides[0] = 1;
  scan(p, x.data(), x.data());
  EXPECT_EQ(x, (std::vector<int64_t>{1, 3, 6}));
  p.sizes[0] = 0;
  scan(p, nullptr, nullptr);
  p.dim = 1;
  EXPECT_EQ(p.validate().code(), "K4311");
}

}  // namespace
}  // namespace kiln::cpu
