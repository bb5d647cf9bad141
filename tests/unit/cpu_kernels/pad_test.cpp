#include "backends/cpu/kernels/pad.h"

#include <gtest/gtest.h>

#include "base/parallel_for.h"
#include "unit/cpu_kernels/buffers.h"

namespace kiln::cpu {
namespace {

template <class T>
std::vector<T> pad_1d(const std::vector<T>& x, PadMode mode, int64_t before, int64_t after,
                      T value) {
  PadParams p;
  p.mode = mode;
  p.element_bytes = sizeof(T);
  p.rank = 1;
  p.sizes[0] = static_cast<int64_t>(x.size()), p.before[0] = before, p.after[0] = after;
  p.src_strides[0] = p.dst_strides[0] = 1;
  EXPECT_TRUE(p.validate().ok());
  std::vector<T> out(x.size() + static_cast<size_t>(before + after), T(99));
  Scratch scratch(pad_scratch_bytes(p));
  pad(p, x.data(), &value, out.data(), scratch.data());
  return out;
}

// Expected values are torch.nn.functional.pad's.
TEST(Pad, OneDim) {
  const std::vector<int32_t> x{1, 2, 3, 4};
  using V = std::vector<int32_t>;
  EXPECT_EQ(pad_1d(x, PadMode::kConstant, 2, 1, 7), (V{7, 7, 1, 2, 3, 4, 7}));
  EXPECT_EQ(pad_1d(x, PadMode::kConstant, -1, 2, 7), (V{2, 3, 4, 7, 7}));
  EXPECT_EQ(pad_1d(x, PadMode::kConstant, -2, -2, 7), V{});
  EXPECT_EQ(pad_1d(x, PadMode::kConstant, -5, 2, 7), V{7});
  EXPECT_EQ(pad_1d(x, PadMode::kConstant, 3, -5, 7), (V{7, 7}));
  EXPECT_EQ(pad_1d(x, PadMode::kReflect, 3, 2, 0), (V{4, 3, 2, 1, 2, 3, 4, 3, 2}));
  EXPECT_EQ(pad_1d(x, PadMode::kReplicate, 2, 3, 0), (V{1, 1, 1, 2, 3, 4, 4, 4, 4}));
  EXPECT_EQ(pad_1d(x, PadMode::kReplicate, -1, 3, 0), (V{2, 3, 4, 4, 4, 4}));
  EXPECT_EQ(pad_1d(x, PadMode::kCircular, 2, 3, 0), (V{3, 4, 1, 2, 3, 4, 1, 2, 3}));
  EXPECT_EQ(pad_1d(x, PadMode::kCircular, 1, -1, 0), (V{4, 1, 2, 3}));  // roll by 1
  EXPECT_EQ(pad_1d(x, PadMode::kCircular, -1, 1, 0), (V{2, 3, 4, 1}));  // roll by -1
  EXPECT_EQ(pad_1d(x, PadMode::kCircular, 9, -9, 0), (V{4, 1, 2, 3}));  // roll by 9
  EXPECT_EQ(pad_1d<int32_t>({}, PadMode::kConstant, 1, 1, 7), (V{7, 7}));
}

int64_t oracle_index(PadMode mode, int64_t at, int64_t n) {
  if (mode == PadMode::kReflect) return at < 0 ? -at : at >= n ? 2 * n - 2 - at : at;
  if (mode == PadMode::kReplicate) return at < 0 ? 0 : at >= n ? n - 1 : at;
  if (mode == PadMode::kCircular) return ((at % n) + n) % n;
  return at >= 0 && at < n ? at : -1;
}

TEST(Pad, FourDimsEveryLayoutAndSize) {
  const int64_t sizes[] = {2, 5, 17, 19}, before[] = {0, 0, 3, 2}, after[] = {0, 1, 4, -3};
  for (int threads : {1, 3}) {
    ScopedNumThreads limit(threads);
    for (PadMode mode :
         {PadMode::kConstant, PadMode::kReflect, PadMode::kReplicate, PadMode::kCircular}) {
      for (int bytes : {1, 2, 4, 8, 16}) {
        for (bool nhwc : {false, true}) {
          PadParams p;
          p.mode = mode, p.element_bytes = bytes, p.rank = 4;
          int64_t out[4], count = 1;
          for (int d = 0; d < 4; ++d) {
            p.sizes[d] = sizes[d], p.before[d] = before[d];
            p.after[d] = nhwc && d == 1 ? 0 : after[d];  // channels whole: rows are copied
            out[d] = p.before[d] + p.sizes[d] + p.after[d];
            count *= out[d];
          }
          auto strides = [nhwc](const int64_t* s) {
            return nhwc ? Dims{s[1] * s[2] * s[3], 1, s[1] * s[3], s[1]}
                        : Dims{s[1] * s[2] * s[3], s[2] * s[3], s[3], 1};
          };
          p.src_strides = strides(sizes);
          p.dst_strides = strides(out);
          ASSERT_TRUE(p.validate().ok());
          const auto src = random_integers<uint8_t>(2 * 5 * 17 * 19 * bytes, 0, 255, 3);
          const auto value = random_integers<uint8_t>(bytes, 0, 255, 4);
          std::vector<uint8_t> dst(static_cast<size_t>(count * bytes), 0xab);
          std::vector<uint8_t> expected = dst;
          for (int64_t i = 0; i < count; ++i) {
            int64_t rest = i, from = 0, to = 0;
            bool outside = false;
            for (int d = 3; d >= 0; --d) {
              const int64_t at = oracle_index(mode, rest % out[d] - p.before[d], sizes[d]);
              outside |= at < 0;
              from += at * p.src_strides[d];
              to += rest % out[d] * p.dst_strides[d];
              rest /= out[d];
            }
            std::copy_n(outside ? value.begin() : src.begin() + from * bytes, bytes,
                        expected.begin() + to * bytes);
          }
          Scratch scratch(pad_scratch_bytes(p));
          pad(p, src.data(), value.data(), dst.data(), scratch.data());
          EXPECT_EQ(dst, expected)
              << static_cast<int>(mode) << " bytes " << bytes << " nhwc " << nhwc;
        }
      }
    }
  }
}

TEST(Pad, ScalarAndErrors) {
  PadParams p;
  const float x = 3;
  float y = 0;
  pad(p, &x, &x, &y, nullptr);
  EXPECT_EQ(y, 3.0f);
  p.rank = 1, p.sizes[0] = 3, p.before[0] = -2, p.after[0] = -2;
  EXPECT_EQ(p.validate().code(), "K4313");
  p.mode = PadMode::kReflect, p.before[0] = 3, p.after[0] = 0;
  EXPECT_EQ(p.validate().message(),
            "pad: reflected pads must be smaller than the size, got 3 and 0 for size 3 in dim 0");
  p.mode = PadMode::kCircular, p.sizes[0] = 0, p.before[0] = 1;
  EXPECT_EQ(p.validate().code(), "K4313");
  p.element_bytes = 5;
  EXPECT_EQ(p.validate().code(), "K4311");
}

}  // namespace
}  // namespace kiln::cpu
