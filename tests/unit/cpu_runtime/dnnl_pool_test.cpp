#include "backends/cpu/runtime/dnnl_pool.h"

#include "dnnl_test_support.h"

namespace kiln {
namespace {

using namespace dnnl_test;
using DnnlPoolTest = DnnlTest;
using Kind = DnnlPoolParams::Kind;

DnnlPoolParams make(Kind kind, std::vector<int64_t> src, int64_t kernel, int64_t stride,
                    int64_t padding, int64_t dilation = 1) {
  const size_t spatial = src.size() - 2;
  DnnlPoolParams p;
  p.kind = kind;
  p.src = DnnlTensor::channels_last(src);
  std::vector<int64_t> dst{src[0], src[1]};
  for (size_t i = 0; i < spatial; ++i) {
    dst.push_back((src[i + 2] + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1);
  }
  p.dst = DnnlTensor::channels_last(dst);
  p.kernel.assign(spatial, kernel);
  p.stride.assign(spatial, stride);
  p.dilation.assign(spatial, dilation);
  p.padding_begin.assign(spatial, padding);
  p.padding_end.assign(spatial, padding);
  return p;
}

void expect_right(const DnnlPoolParams& p) {
  const auto pool = DnnlPool::create(p);
  ASSERT_TRUE(pool.ok()) << pool.status().to_string();
  SCOPED_TRACE((*pool)->implementation());
  Tensor x(p.src), y(p.dst);
  x.fill_integers(1, -50, 50);
  Scratch scratch((*pool)->scratchpad_bytes());
  const Status ran = (*pool)->run({x.data(), y.data(), {}, scratch.data()});
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  scratch.expect_guard_intact();
  y.expect_guards_intact();
  for_each_index(p.dst.dims, [&](const Index& out) {
    double best = -1e30, sum = 0;
    int64_t inside = 0, window = 1;
    for (int64_t k : p.kernel) window *= k;
    for_each_index(p.kernel, [&](const Index& k) {
      Index xi = out;
      for (size_t i = 0; i < k.size(); ++i) {
        xi[i + 2] = out[i + 2] * p.stride[i] - p.padding_begin[i] + k[i] * p.dilation[i];
        if (xi[i + 2] < 0 || xi[i + 2] >= p.src.dims[i + 2]) return;
      }
      ++inside;
      best = std::max<double>(best, x[xi]);
      sum += x[xi];
    });
    const double expected = p.kind == Kind::kMax       ? best
                            : p.kind == Kind::kAverage ? sum / static_cast<double>(inside)
                                                       : sum / static_cast<double>(window);
    ASSERT_FLOAT_EQ(y[out], static_cast<float>(expected)) << ::testing::PrintToString(out);
  });
}

TEST_F(DnnlPoolTest, EveryKindOddSizes) {
  for (const Kind kind : {Kind::kMax, Kind::kAverage, Kind::kAverageWithPadding}) {
    SCOPED_TRACE(static_cast<int>(kind));
    expect_right(make(kind, {2, 19, 13, 11}, 3, 2, 1));
    expect_right(make(kind, {1, 3, 8, 9}, 2, 2, 0));
    expect_right(make(kind, {1, 64, 7, 7}, 7, 1, 0));
    expect_right(make(kind, {2, 5, 17}, 3, 2, 1));
    expect_right(make(kind, {1, 6, 5, 6, 7}, 3, 2, 1));
    expect_right(make(kind, {1, 1, 6, 6}, 3, 1, 1));
  }
}

TEST_F(DnnlPoolTest, CeilModeWindowHangsOver) {
  DnnlPoolParams p = make(Kind::kMax, {1, 16, 8, 8}, 3, 2, 0);
  p.padding_end = {1, 1};
  p.dst = DnnlTensor::channels_last({1, 16, 4, 4});
  expect_right(p);
}

TEST_F(DnnlPoolTest, SliceOfChannels) {
  DnnlPoolParams p = make(Kind::kMax, {2, 16, 9, 9}, 3, 2, 1);
  p.src.strides = {9 * 9 * 48, 1, 9 * 48, 48};
  const auto pool = DnnlPool::create(p);
  // Either it is right, or it is refused with the reason: never the slow reference.
  if (pool.ok()) {
    expect_right(p);
  } else {
    EXPECT_EQ(pool.status().code(), "K4602") << pool.status().to_string();
  }
}

TEST_F(DnnlPoolTest, RefusalsAreTyped) {
  DnnlPoolParams p = make(Kind::kMax, {1, 4, 8, 8}, 2, 2, 0);
  p.src.dtype = p.dst.dtype = DType::kI64;
  EXPECT_EQ(DnnlPool::create(p).status().code(), "K4601");
  DnnlPoolParams sizes = make(Kind::kMax, {1, 4, 8, 8}, 2, 2, 0);
  sizes.dst = DnnlTensor::channels_last({1, 4, 5, 4});
  EXPECT_EQ(DnnlPool::create(sizes).status().code(), "K4601");
  DnnlPoolParams rank = make(Kind::kMax, {1, 4, 8, 8}, 2, 2, 0);
  rank.src = DnnlTensor::dense({4, 8});
  EXPECT_EQ(DnnlPool::create(rank).status().code(), "K4601");
}

}  // namespace
}  // namespace kiln
