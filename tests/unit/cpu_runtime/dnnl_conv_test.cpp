#include "backends/cpu/runtime/dnnl_conv.h"

#include <thread>
#include <tuple>

#include "backends/cpu/runtime/dnnl_packed_weights.h"
#include "base/parallel_for.h"
#include "dnnl_test_support.h"

namespace kiln {
namespace {

using namespace dnnl_test;
using Kind = DnnlPostOp::Kind;
using DnnlConvTest = DnnlTest;

int64_t out_size(const DnnlConvParams& p, size_t i) {
  const int64_t in = p.src.dims[i + 2], k = p.weights.dims[i + 2];
  const int64_t reach = p.dilation[i] * (k - 1) + 1, pad = p.padding_begin[i] + p.padding_end[i];
  return p.transposed ? (in - 1) * p.stride[i] + reach - pad
                      : (in + pad - reach) / p.stride[i] + 1;
}

DnnlConvParams make(std::vector<int64_t> src, std::vector<int64_t> weights, int64_t stride = 1,
                    int64_t padding = 0, int64_t dilation = 1, int64_t groups = 1,
                    bool transposed = false, int64_t output_padding = 0) {
  DnnlConvParams p;
  const size_t spatial = src.size() - 2;
  p.src = DnnlTensor::channels_last(src);
  p.weights = DnnlTensor::dense(weights);
  p.groups = groups;
  p.transposed = transposed;
  p.stride.assign(spatial, stride);
  p.dilation.assign(spatial, dilation);
  p.padding_begin.assign(spatial, padding);
  p.padding_end.assign(spatial, padding - output_padding);
  std::vector<int64_t> dst{src[0], transposed ? weights[1] * groups : weights[0]};
  for (size_t i = 0; i < spatial; ++i) dst.push_back(out_size(p, i));
  p.dst = DnnlTensor::channels_last(dst);
  return p;
}

// Convolution by its definition, in double; the epilogue is added by the caller.
double oracle_at(const DnnlConvParams& p, const Tensor& x, const Tensor& w, const Index& out) {
  const int64_t in_per_group = p.src.dims[1] / p.groups, out_per_group = p.dst.dims[1] / p.groups;
  const int64_t group = out[1] / out_per_group;
  const std::vector<int64_t> kernel(p.weights.dims.begin() + 2, p.weights.dims.end());
  double sum = 0;
  for_each_index(kernel, [&](const Index& k) {
    Index xi(p.src.dims.size()), wi(p.weights.dims.size());
    xi[0] = out[0];
    for (size_t i = 0; i < k.size(); ++i) {
      int64_t at = 0;
      if (p.transposed) {
        at = out[i + 2] + p.padding_begin[i] - k[i] * p.dilation[i];
        if (at % p.stride[i] != 0) return;
        at /= p.stride[i];
      } else {
        at = out[i + 2] * p.stride[i] - p.padding_begin[i] + k[i] * p.dilation[i];
      }
      if (at < 0 || at >= p.src.dims[i + 2]) return;
      xi[i + 2] = at;
      wi[i + 2] = k[i];
    }
    for (int64_t c = 0; c < in_per_group; ++c) {
      xi[1] = group * in_per_group + c;
      wi[0] = p.transposed ? xi[1] : out[1];
      wi[1] = p.transposed ? out[1] - group * out_per_group : c;
      sum += static_cast<double>(x[xi]) * w[wi];
    }
  });
  return sum;
}

// Packs for `reference`, runs at `p` (repacked if p's kernel wants another layout) and compares
// every element; relative tolerance 0 is bitwise.
void expect_right(const DnnlConvParams& p, const DnnlConvParams& reference, double tolerance = 0,
                  std::string* implementation = nullptr) {
  const auto layout = DnnlConv::choose_weights_layout(reference);
  ASSERT_TRUE(layout.ok()) << layout.status().to_string();
  Tensor w(p.weights);
  w.fill_integers(2, -2, 2);
  Scratch packed(layout->bytes());
  const auto packer = DnnlConv::packer(p, *layout);
  ASSERT_TRUE(packer.ok()) << packer.status().to_string();
  ASSERT_TRUE(packer->run(w.data(), packed.data()).ok());
  packed.expect_guard_intact();

  const auto conv = DnnlConv::create_preferring(p, *layout);
  ASSERT_TRUE(conv.ok()) << conv.status().to_string();
  DnnlPackedWeights weights(*layout, packed.data());
  const auto in_layout = weights.in_layout((*conv)->weights_layout());
  ASSERT_TRUE(in_layout.ok()) << in_layout.status().to_string();
  EXPECT_EQ(DnnlConv::create(p, *layout).ok(), *in_layout == packed.data());
  if (implementation != nullptr) *implementation = (*conv)->implementation();
  SCOPED_TRACE((*conv)->implementation() + " " + layout->to_string());

  Tensor x(p.src), y(p.dst), bias(DnnlTensor::dense({p.dst.dims[1]}));
  x.fill_integers(1);
  y.fill_integers(3);
  bias.fill_integers(4);
  std::vector<Tensor> operands;
  for (const DnnlPostOp& op : p.post_ops) {
    if (op.has_tensor()) operands.emplace_back(op.tensor).fill_integers(5 + operands.size());
  }
  std::vector<const Tensor*> operand_views;
  std::vector<const void*> operand_data;
  for (const Tensor& t : operands) {
    operand_views.push_back(&t);
    operand_data.push_back(t.data());
  }
  const Tensor before = y;
  Scratch scratch((*conv)->scratchpad_bytes());
  const Status ran = (*conv)->run({x.data(), *in_layout, p.bias ? bias.data() : nullptr,
                                   y.data(), operand_data, scratch.data()});
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  scratch.expect_guard_intact();
  y.expect_guards_intact();
  for_each_index(p.dst.dims, [&](const Index& i) {
    const double plain = oracle_at(p, x, w, i) + (p.bias ? bias[{i[1]}] : 0.0f);
    const double expected = apply_post_ops(plain, p.post_ops, before[i], operand_views, i);
    ASSERT_NEAR(y[i], expected, tolerance * std::max(1.0, std::abs(expected)))
        << "at " << ::testing::PrintToString(i);
  });
}

void expect_right(const DnnlConvParams& p) { expect_right(p, p); }

TEST_F(DnnlConvTest, OddSizesStridesPaddingDilation) {
  expect_right(make({2, 3, 13, 11}, {7, 3, 3, 3}, 2, 1));
  expect_right(make({1, 17, 9, 10}, {33, 17, 1, 1}));
  expect_right(make({1, 17, 9, 10}, {33, 17, 1, 1}, 2));
  expect_right(make({1, 5, 12, 12}, {6, 5, 3, 3}, 1, 2, 2));
  expect_right(make({3, 64, 7, 7}, {48, 64, 3, 3}, 1, 1));
  expect_right(make({1, 3, 31, 29}, {16, 3, 7, 7}, 2, 3));
  DnnlConvParams uneven = make({1, 8, 10, 9}, {4, 8, 3, 2}, 2, 1);
  uneven.padding_end = {0, 2};
  for (size_t i = 0; i < 2; ++i) uneven.dst.dims[i + 2] = out_size(uneven, i);
  uneven.dst = DnnlTensor::channels_last(uneven.dst.dims);
  expect_right(uneven);
}

TEST_F(DnnlConvTest, OneAndThreeSpatialDims) {
  expect_right(make({2, 5, 19}, {9, 5, 3}, 2, 1));
  expect_right(make({1, 4, 5, 6, 7}, {6, 4, 3, 3, 3}, 1, 1));
}

TEST_F(DnnlConvTest, GroupsAndDepthwise) {
  expect_right(make({1, 12, 8, 8}, {18, 4, 3, 3}, 1, 1, 1, 3));
  std::string implementation;
  const DnnlConvParams depthwise = make({2, 19, 11, 9}, {19, 1, 3, 3}, 2, 1, 1, 19);
  expect_right(depthwise, depthwise, 0, &implementation);
  expect_right(make({1, 72, 14, 14}, {72, 1, 5, 5}, 1, 2, 1, 72));
}

TEST_F(DnnlConvTest, Transposed) {
  expect_right(make({1, 8, 7, 6}, {8, 5, 3, 3}, 2, 1, 1, 1, true, 1));
  expect_right(make({2, 16, 5, 5}, {16, 16, 2, 2}, 2, 0, 1, 1, true));
  expect_right(make({1, 12, 5, 4}, {12, 2, 3, 3}, 2, 1, 1, 3, true));
  DnnlConvParams with_bias = make({1, 8, 6}, {8, 4, 4}, 2, 1, 1, 1, true);
  with_bias.bias = true;
  with_bias.post_ops = {{Kind::kRelu}};
  expect_right(with_bias);
}

TEST_F(DnnlConvTest, EveryEltwisePostOp) {
  const std::pair<DnnlPostOp, double> ops[] = {
      {{Kind::kRelu}, 0},
      {{Kind::kLeakyRelu, 0.5f}, 0},
      {{Kind::kElu, 1.5f}, 1e-5},
      {{Kind::kGeluErf}, 1e-5},
      {{Kind::kGeluTanh}, 1e-5},
      {{Kind::kSilu}, 1e-5},
      {{Kind::kHardswish}, 1e-6},
      {{Kind::kHardsigmoid}, 1e-6},
      {{Kind::kSigmoid}, 1e-5},
      {{Kind::kTanh}, 1e-5},
      {{Kind::kClip, -2.0f, 6.0f}, 0},
      {{Kind::kLinear, 2.0f, -3.0f}, 0},
  };
  for (const auto& [op, tolerance] : ops) {
    SCOPED_TRACE(static_cast<int>(op.kind));
    for (const bool depthwise : {false, true}) {
      DnnlConvParams p = depthwise ? make({1, 20, 9, 7}, {20, 1, 3, 3}, 1, 1, 1, 20)
                                   : make({1, 6, 9, 7}, {20, 6, 3, 3}, 1, 1);
      p.bias = true;
      p.post_ops = {op};
      expect_right(p, p, tolerance);
    }
  }
}

TEST_F(DnnlConvTest, EveryTensorPostOpAndBroadcast) {
  for (const Kind kind : {Kind::kAdd, Kind::kSub, Kind::kMul, Kind::kMax, Kind::kMin}) {
    for (const std::vector<int64_t>& dims :
         {std::vector<int64_t>{2, 24, 6, 5}, {1, 24, 1, 1}, {1, 1, 1, 1}}) {
      SCOPED_TRACE(static_cast<int>(kind));
      DnnlConvParams p = make({2, 8, 6, 5}, {24, 8, 1, 1});
      p.post_ops = {{kind, 0, 0, DnnlTensor::channels_last(dims)}, {Kind::kRelu}};
      expect_right(p);
    }
  }
}

TEST_F(DnnlConvTest, Chains) {
  DnnlConvParams residual = make({2, 16, 9, 9}, {40, 16, 1, 1});
  residual.bias = true;
  residual.post_ops = {{Kind::kSum, 1.0f}, {Kind::kRelu}};
  expect_right(residual);
  DnnlConvParams scaled = make({1, 16, 9, 9}, {16, 16, 3, 3}, 1, 1);
  scaled.bias = true;
  scaled.post_ops = {{Kind::kMul, 0, 0, DnnlTensor::channels_last({1, 16, 1, 1})},
                     {Kind::kAdd, 0, 0, DnnlTensor::channels_last({1, 16, 1, 1})},
                     {Kind::kClip, -8.0f, 8.0f},
                     {Kind::kAdd, 0, 0, DnnlTensor::channels_last({1, 16, 9, 9})}};
  expect_right(scaled);
}

// Right, or refused as "only the reference": what oneDNN has kernels for differs by version.
void expect_right_or_reference(const DnnlConvParams& p) {
  const auto conv = DnnlConv::create(p);
  if (conv.ok()) return expect_right(p);
  EXPECT_EQ(conv.status().code(), "K4602") << conv.status().to_string();
}

TEST_F(DnnlConvTest, SlicesOfChannels) {
  for (const int64_t kernel : {1, 3}) {
    for (const int which : {1, 2, 3}) {
      SCOPED_TRACE(::testing::PrintToString(std::make_pair(kernel, which)));
      DnnlConvParams p = make({2, 16, 6, 7}, {32, 16, kernel, kernel}, 1, kernel / 2);
      if (which & 1) p.src.strides = {6 * 7 * 40, 1, 7 * 40, 40};
      if (which & 2) p.dst.strides = {6 * 7 * 50, 1, 7 * 50, 50};
      expect_right_or_reference(p);
    }
  }
}

TEST_F(DnnlConvTest, NchwInput) {
  DnnlConvParams p = make({1, 3, 33, 35}, {64, 3, 7, 7}, 2, 3);
  p.src = DnnlTensor::dense(p.src.dims);
  expect_right_or_reference(p);
}

TEST_F(DnnlConvTest, StridesOfDimsOfSizeOneMeanNothing) {
  // They must not cost the fast kernel.
  DnnlConvParams plain = make({1, 16, 1, 9}, {32, 16, 1, 1}), odd = plain;
  odd.src.strides[0] = 3;
  odd.src.strides[2] = 77;
  odd.dst.strides[0] = 1;
  std::string expected, implementation;
  expect_right(plain, plain, 0, &expected);
  expect_right(odd, odd, 0, &implementation);
  EXPECT_EQ(implementation, expected);
}

TEST_F(DnnlConvTest, WeightsMayBeAView) {
  DnnlConvParams view = make({1, 8, 5, 5}, {6, 8, 3, 3}, 1, 1);
  view.weights = with_strides({6, 8, 3, 3}, {1, 6, 48, 144});
  expect_right(view);
}

TEST_F(DnnlConvTest, WeightsPackedForOneShapeServeOthers) {
  const DnnlConvParams reference = make({1, 64, 28, 28}, {128, 64, 3, 3}, 1, 1);
  for (const int64_t batch : {1, 3}) {
    for (const int64_t size : {1, 5, 17, 28}) {
      SCOPED_TRACE(size);
      expect_right(make({batch, 64, size, size + 1}, {128, 64, 3, 3}, 1, 1), reference);
    }
  }
}

TEST_F(DnnlConvTest, WeightsPackedForOneBatchServeEveryBatch) {
  for (const auto& [in, out, kernel, size] :
       {std::tuple{64, 64, 3, 14}, {64, 200, 1, 14}, {24, 72, 1, 9}}) {
    const DnnlConvParams one = make({1, in, size, size}, {out, in, kernel, kernel}, 1, kernel / 2);
    for (const int64_t batch : {2, 3, 8}) {
      SCOPED_TRACE(batch);
      expect_right(make({batch, in, size, size}, {out, in, kernel, kernel}, 1, kernel / 2), one);
    }
  }
}

TEST_F(DnnlConvTest, RepackedWeightsAreMadeOnceAndKeepTheirValues) {
  const DnnlConvParams p = make({1, 40, 8, 8}, {56, 40, 3, 3}, 1, 1);
  const auto layout = DnnlConv::choose_weights_layout(p);
  const auto plain = DnnlLayout::strided(p.weights);
  ASSERT_TRUE(layout.ok() && plain.ok());
  Tensor w(p.weights);
  w.fill_integers(1, -1000, 1000);
  Scratch packed(layout->bytes());
  ASSERT_TRUE(DnnlConv::packer(p, *layout)->run(w.data(), packed.data()).ok());
  DnnlPackedWeights weights(*layout, packed.data());
  EXPECT_EQ(*weights.in_layout(*layout), packed.data());
  EXPECT_EQ(weights.extra_bytes(), 0u);
  const auto back = weights.in_layout(*plain);
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_TRUE(std::equal(w.data(), w.data() + 56 * 40 * 9, static_cast<const float*>(*back)));
  EXPECT_EQ(*weights.in_layout(*plain), *back);
  EXPECT_EQ(weights.extra_bytes(), plain->bytes());
}

TEST_F(DnnlConvTest, RefusalsAreTyped) {
  DnnlConvParams rank = make({1, 3, 8, 8}, {4, 3, 3, 3});
  rank.post_ops = {{Kind::kAdd, 0, 0, DnnlTensor::dense({4})}};
  EXPECT_EQ(DnnlConv::create(rank).status().code(), "K4601");
  rank.post_ops = {{Kind::kAdd, 0, 0, DnnlTensor::dense({1, 3, 1, 1})}};
  EXPECT_EQ(DnnlConv::create(rank).status().code(), "K4601");
  DnnlConvParams channels = make({1, 3, 8, 8}, {4, 3, 3, 3});
  channels.groups = 2;
  EXPECT_EQ(DnnlConv::create(channels).status().code(), "K4601");
  DnnlConvParams dtype = make({1, 3, 8, 8}, {4, 3, 3, 3});
  dtype.src.dtype = DType::kI64;
  EXPECT_EQ(DnnlConv::create(dtype).status().code(), "K4601");
  DnnlConvParams broadcast = make({1, 3, 8, 8}, {4, 3, 3, 3});
  broadcast.src.strides[1] = 0;
  EXPECT_EQ(DnnlConv::create(broadcast).status().code(), "K4601");
  DnnlConvParams sizes = make({1, 3, 8, 8}, {4, 3, 3, 3});
  sizes.dst = DnnlTensor::channels_last({1, 4, 7, 6});
  EXPECT_EQ(DnnlConv::create(sizes).status().code(), "K4601");
}

TEST_F(DnnlConvTest, ReferenceImplementationIsARefusal) {
  // Activations in an order that no fast kernel knows.
  DnnlConvParams p = make({2, 16, 8, 8}, {16, 16, 3, 3}, 1, 1);
  p.src.strides = {1, 2 * 8 * 8, 2 * 8, 2};
  p.dst.strides = {1, 2 * 8 * 8, 2 * 8, 2};
  const auto conv = DnnlConv::create(p);
  ASSERT_FALSE(conv.ok()) << (*conv)->implementation();
  EXPECT_EQ(conv.status().code(), "K4602") << conv.status().to_string();
  // Weights as PyTorch stores them are a layout too, but not one of a fast kernel.
  const DnnlConvParams good = make({2, 16, 8, 8}, {16, 16, 3, 3}, 1, 1);
  const auto plain = DnnlLayout::strided(good.weights);
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(DnnlConv::create(good, *plain).status().code(), "K4603");
}

TEST_F(DnnlConvTest, ManyThreadsRunOnePrimitive) {
  DnnlConvParams p = make({1, 16, 12, 12}, {32, 16, 3, 3}, 1, 1);
  p.post_ops = {{Kind::kRelu}};
  const auto conv = DnnlConv::create(p);
  ASSERT_TRUE(conv.ok()) << conv.status().to_string();
  Tensor w(p.weights);
  w.fill_integers(2);
  Scratch packed((*conv)->weights_layout().bytes());
  const auto packer = DnnlConv::packer(p, (*conv)->weights_layout());
  ASSERT_TRUE(packer.ok() && packer->run(w.data(), packed.data()).ok());
  auto work = [&](unsigned seed) {
    Tensor x(p.src), y(p.dst), again(p.dst);
    x.fill_integers(seed);
    Scratch scratch((*conv)->scratchpad_bytes());
    bool ok = true;
    for (int round = 0; round < 50; ++round) {
      Tensor& out = round == 0 ? y : again;
      ok = ok &&
           (*conv)->run({x.data(), packed.data(), nullptr, out.data(), {}, scratch.data()}).ok();
      if (round > 0) ok = ok && std::equal(y.data(), y.data() + 32 * 144, again.data());
    }
    for_each_index(p.dst.dims, [&](const Index& i) {
      ok = ok && y[i] == std::max(0.0, oracle_at(p, x, w, i));
    });
    return ok;
  };
  std::vector<std::thread> threads;
  std::vector<int> right(20, 0);  // more than the primitive keeps call objects for
  for (unsigned t = 0; t < right.size(); ++t) {
    threads.emplace_back([&, t] { right[t] = work(t); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(20, 1));
}

TEST_F(DnnlConvTest, RunsInsideParallelRegionsAndUnderThreadLimits) {
  const DnnlConvParams p = make({1, 16, 12, 12}, {32, 16, 3, 3}, 1, 1);
  expect_right(p);
  {
    ScopedNumThreads one(1);
    expect_right(p);
  }
  {
    ScopedNumThreads three(3);
    expect_right(p);
  }
  parallel_for(2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) expect_right(p);
  });
}

}  // namespace
}  // namespace kiln
