#include "backends/cpu/runtime/dnnl_matmul.h"

#include "dnnl_test_support.h"

namespace kiln {
namespace {

using namespace dnnl_test;
using Kind = DnnlPostOp::Kind;
using DnnlMatmulTest = DnnlTest;

DnnlMatmulParams make(std::vector<int64_t> src, std::vector<int64_t> weights) {
  std::vector<int64_t> dst = src;
  for (size_t i = 0; i + 2 < dst.size(); ++i) dst[i] = std::max(src[i], weights[i]);
  dst.back() = weights.back();
  DnnlMatmulParams p;
  p.src = DnnlTensor::dense(src);
  p.weights = DnnlTensor::dense(weights);
  p.dst = DnnlTensor::dense(dst);
  return p;
}

// PyTorch's linear: weight [n, k].
DnnlMatmulParams linear(std::vector<int64_t> src, int64_t n) {
  const int64_t k = src.back();
  std::vector<int64_t> weights(src.size(), 1);
  weights[src.size() - 2] = k;
  weights.back() = n;
  DnnlMatmulParams p = make(src, weights);
  p.weights.strides.assign(src.size(), n * k);
  p.weights.strides[src.size() - 2] = 1;
  p.weights.strides.back() = k;
  return p;
}

// Runs at `p` and compares every element; with `packed_at`, on weights packed for those shapes.
void expect_right(const DnnlMatmulParams& p, const DnnlMatmulParams* packed_at = nullptr,
                  double tolerance = 0) {
  Tensor w(p.weights);
  w.fill_integers(2, -2, 2);
  DnnlLayout layout;
  Scratch packed(static_cast<size_t>(1) << 20);
  if (packed_at != nullptr) {
    auto chosen = DnnlMatmul::choose_weights_layout(*packed_at);
    ASSERT_TRUE(chosen.ok()) << chosen.status().to_string();
    layout = *chosen;
    ASSERT_LE(layout.bytes(), static_cast<size_t>(1) << 20);
    const auto packer = DnnlMatmul::packer(p, layout);
    ASSERT_TRUE(packer.ok()) << packer.status().to_string();
    ASSERT_TRUE(packer->run(w.data(), packed.data()).ok());
  }
  const auto matmul = DnnlMatmul::create(p, layout);
  ASSERT_TRUE(matmul.ok()) << matmul.status().to_string();
  SCOPED_TRACE((*matmul)->implementation() + " " + layout.to_string());

  const size_t rank = p.dst.dims.size();
  Tensor x(p.src), y(p.dst), bias(DnnlTensor::dense({p.dst.dims.back()}));
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
  Scratch scratch((*matmul)->scratchpad_bytes());
  const Status ran = (*matmul)->run({x.data(), packed_at ? packed.data() : w.data(),
                                     p.bias ? bias.data() : nullptr, y.data(), operand_data,
                                     scratch.data()});
  ASSERT_TRUE(ran.ok()) << ran.to_string();
  scratch.expect_guard_intact();
  y.expect_guards_intact();
  for_each_index(p.dst.dims, [&](const Index& i) {
    double sum = p.bias ? bias[{i.back()}] : 0.0;
    Index xi = i, wi = i;
    for (int64_t k = 0; k < p.src.dims.back(); ++k) {
      xi[rank - 1] = k;
      wi[rank - 2] = k;
      for (size_t d = 0; d + 2 < rank; ++d) {
        if (p.src.dims[d] == 1) xi[d] = 0;
        if (p.weights.dims[d] == 1) wi[d] = 0;
      }
      sum += static_cast<double>(x[xi]) * w[wi];
    }
    const double expected = apply_post_ops(sum, p.post_ops, before[i], operand_views, i);
    ASSERT_NEAR(y[i], expected, tolerance * std::max(1.0, std::abs(expected)))
        << "at " << ::testing::PrintToString(i);
  });
}

TEST_F(DnnlMatmulTest, OddSizes) {
  for (const int64_t m : {1, 2, 7, 33}) {
    for (const int64_t k : {1, 3, 17, 64}) {
      for (const int64_t n : {1, 5, 16, 37}) {
        SCOPED_TRACE(::testing::PrintToString(std::vector<int64_t>{m, k, n}));
        expect_right(make({m, k}, {k, n}));
        expect_right(linear({m, k}, n));
      }
    }
  }
}

TEST_F(DnnlMatmulTest, WeightsPackedFor128RowsServeOthers) {
  for (const int64_t n : {40, 96, 257}) {
    const DnnlMatmulParams reference = linear({128, 80}, n);
    for (const int64_t m : {1, 3, 16, 65, 197}) {
      SCOPED_TRACE(m);
      DnnlMatmulParams p = linear({m, 80}, n);
      p.bias = true;
      p.post_ops = {{Kind::kRelu}};
      expect_right(p, &reference);
    }
  }
}

TEST_F(DnnlMatmulTest, LeadingDimsMergeIntoRows) {
  const DnnlMatmulParams reference = linear({128, 48}, 72);
  DnnlMatmulParams p = linear({2, 3, 5, 48}, 72);
  p.bias = true;
  p.post_ops = {{Kind::kAdd, 0, 0, DnnlTensor::dense({2, 3, 5, 72})},
                {Kind::kMul, 0, 0, DnnlTensor::dense({1, 1, 1, 72})}};
  expect_right(p, &reference);
  expect_right(linear({1, 7, 48}, 72), &reference);
  expect_right(linear({7, 1, 48}, 72), &reference);
  // Rows with gaps between the batches cannot merge: packed weights serve or are refused by name.
  DnnlMatmulParams gaps = linear({2, 9, 48}, 72);
  gaps.src.strides = {20 * 48, 48, 1};
  expect_right(gaps);
  const auto layout = DnnlMatmul::choose_weights_layout(reference);
  ASSERT_TRUE(layout.ok());
  const auto packed = DnnlMatmul::create(gaps, *layout);
  if (packed.ok()) {
    expect_right(gaps, &reference);
  } else {
    EXPECT_EQ(packed.status().code(), "K4603") << packed.status().to_string();
  }
}

TEST_F(DnnlMatmulTest, BatchesBroadcastTransposeAndStrides) {
  expect_right(make({3, 5, 8}, {3, 8, 7}));
  expect_right(make({1, 5, 8}, {3, 8, 7}));
  expect_right(make({3, 5, 8}, {1, 8, 7}));
  expect_right(make({2, 1, 5, 8}, {2, 4, 8, 7}));
  expect_right(make({2, 3, 4, 6}, {2, 3, 6, 5}));
  // Rows of a wider matrix on both sides, and a transposed left operand.
  DnnlMatmulParams wide = make({9, 12}, {12, 10});
  wide.src.strides = {30, 1};
  wide.dst.strides = {17, 1};
  expect_right(wide);
  DnnlMatmulParams transposed = make({9, 12}, {12, 10});
  transposed.src.strides = {1, 9};
  expect_right(transposed);
  DnnlMatmulParams keys = make({4, 6, 16}, {4, 16, 6});  // q times k transposed
  keys.weights.strides = {96, 1, 16};
  expect_right(keys);
}

TEST_F(DnnlMatmulTest, StridesOfDimsOfSizeOneMeanNothing) {
  DnnlMatmulParams p = linear({1, 64}, 32);
  p.src.strides[0] = 5;
  p.dst.strides[0] = 1;
  const auto odd = DnnlMatmul::create(p), plain = DnnlMatmul::create(linear({1, 64}, 32));
  ASSERT_TRUE(odd.ok() && plain.ok());
  EXPECT_EQ((*odd)->implementation(), (*plain)->implementation());
  expect_right(p);
}

TEST_F(DnnlMatmulTest, PostOps) {
  const std::pair<std::vector<DnnlPostOp>, double> chains[] = {
      {{{Kind::kGeluErf}}, 1e-5},
      {{{Kind::kGeluTanh}}, 1e-5},
      {{{Kind::kTanh}}, 1e-5},
      {{{Kind::kSilu}}, 1e-5},
      {{{Kind::kSigmoid}, {Kind::kLinear, 2, 1}}, 1e-5},
      {{{Kind::kHardswish}}, 1e-6},
      {{{Kind::kSum, 1}, {Kind::kRelu}}, 0},
      {{{Kind::kSum, 0.5f}}, 0},
      {{{Kind::kAdd, 0, 0, DnnlTensor::dense({19, 40})}, {Kind::kClip, -4, 4}}, 0},
      {{{Kind::kMax, 0, 0, DnnlTensor::dense({1, 40})},
        {Kind::kMin, 0, 0, DnnlTensor::dense({1, 1})}},
       0},
      {{{Kind::kMul, 0, 0, DnnlTensor::dense({19, 40})}, {Kind::kLeakyRelu, 0.25f}}, 0},
  };
  for (const auto& [ops, tolerance] : chains) {
    SCOPED_TRACE(static_cast<int>(ops[0].kind));
    DnnlMatmulParams p = linear({19, 24}, 40);
    p.bias = true;
    p.post_ops = ops;
    const DnnlMatmulParams reference = linear({128, 24}, 40);
    expect_right(p, nullptr, tolerance);
    expect_right(p, &reference, tolerance);
  }
}

TEST_F(DnnlMatmulTest, RefusalsAreTyped) {
  EXPECT_EQ(DnnlMatmul::create(make({2, 3}, {4, 5})).status().code(), "K4601");
  DnnlMatmulParams batch = make({3, 5, 8}, {3, 8, 7});
  EXPECT_EQ(DnnlMatmul::choose_weights_layout(batch).status().code(), "K4601");
  const auto layout = DnnlLayout::strided(DnnlTensor::dense({8, 7}));
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(DnnlMatmul::packer(batch, *layout).status().code(), "K4601");
  DnnlMatmulParams dtype = make({2, 3}, {3, 5});
  dtype.src.dtype = DType::kBool;
  EXPECT_EQ(DnnlMatmul::create(dtype).status().code(), "K4601");
}

}  // namespace
}  // namespace kiln
