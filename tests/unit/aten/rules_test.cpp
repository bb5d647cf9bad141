// Rules whose form matters to later stages, symbolic shapes, and numbers for those that compose
// several ops. The sweep over PyTorch's own samples is tests/python.
#include <cmath>
#include <limits>

#include "unit/aten/capture_harness.h"

namespace kiln::test {
namespace {

// Text of the shape of the only output.
std::string shape_of(Program& p) { return p.finish().main.outputs()[0]->type.to_string(); }

// ---- products

TEST(Rules, AddmmWithAWeightIsALinear) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle w = p.weight("w", counting({3, 4}));
  Handle b = p.weight("b", f32({4}, {100, 200, 300, 400}));
  p.output(p.call("aten::addmm", {v(b), v(x), v(w)}, meta({"2", "4"})));
  EXPECT_EQ(p.count("linear"), 1);
  EXPECT_EQ(p.count("permute"), 1);
  EXPECT_EQ(p.count("add"), 0);
  EXPECT_EQ(values(p.run({f32({2, 3}, {1, 0, 0, 0, 1, 1})})[0]),
            (std::vector<double>{100, 201, 302, 403, 112, 214, 316, 418}));
}

TEST(Rules, TransposedWeightLeavesNoTranspose) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle w = p.weight("w", counting({4, 3}));
  Handle t = p.call("aten::t", {v(w)}, meta({"3", "4"}, DType::kF32, {"1", "3"}));
  Handle y = p.call("aten::mm", {v(x), v(t)}, meta({"2", "4"}));
  p.output(y);
  EXPECT_EQ(p.count("linear"), 1);
  EXPECT_EQ(p.finish().main.outputs()[0]->producer()->operand(1)->producer(), nullptr);
  EXPECT_EQ(values(p.run({f32({2, 3}, {1, 0, 0, 0, 1, 1})})[0]),
            (std::vector<double>{0, 3, 6, 9, 3, 9, 15, 21}));
}

TEST(Rules, ProductOfActivationsIsAMatmul) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle y = p.input("y", meta({"3", "2"}));
  p.output(p.call("aten::mm", {v(x), v(y)}, meta({"2", "2"})));
  EXPECT_EQ(p.count("matmul"), 1);
  EXPECT_EQ(p.count("permute"), 0);
}

TEST(Rules, AddmmWithFactors) {
  Program p;
  Handle c = p.input("c", meta({"2", "2"}));
  Handle x = p.input("x", meta({"2", "2"}));
  Handle y = p.input("y", meta({"2", "2"}));
  p.output(p.call("aten::addmm", {v(c), v(x), v(y), num(2), real(0.5)}, meta({"2", "2"})));
  EXPECT_EQ(values(p.run({f32({2, 2}, {1, 2, 3, 4}), f32({2, 2}, {1, 2, 3, 4}),
                          f32({2, 2}, {2, 0, 0, 2})})[0]),
            (std::vector<double>{3, 6, 9, 12}));
}

TEST(Rules, MatmulOfVectorsAndBatches) {
  Program p;
  Handle x = p.input("x", meta({"3"}));
  Handle y = p.input("y", meta({"2", "3", "4"}));
  p.output(p.call("aten::matmul", {v(x), v(y)}, meta({"2", "4"})));
  p.output(p.call("aten::matmul", {v(x), v(x)}, meta({})));
  const auto out = p.run({f32({3}, {1, 2, 3}), counting({2, 3, 4})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{32, 38, 44, 50, 104, 110, 116, 122}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{14}));
}

TEST(Rules, Einsum) {
  Program p;
  Handle q = p.input("q", meta({"1", "2", "2", "2"}));  // b i h d
  Handle k = p.input("k", meta({"1", "3", "2", "2"}));  // b j h d
  p.output(p.call("aten::einsum", {str("bihd, bjhd -> bhij"), list({v(q), v(k)})},
                  meta({"1", "2", "2", "3"})));
  p.output(p.call("aten::einsum", {str("...ij->...ji"), list({v(q)})}, meta({"1", "2", "2", "2"})));
  const auto out = p.run({counting({1, 2, 2, 2}), counting({1, 3, 2, 2})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{1, 5, 9, 5, 41, 77, 13, 33, 53, 33, 85, 137}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{0, 2, 1, 3, 4, 6, 5, 7}));
}

// ---- composites stay whole in both dialects

TEST(Rules, AttentionIsOneNodeInBothDialects) {
  Program p;
  const CaptureMeta qkv = meta({"1", "2", "3", "4"});
  Handle q = p.input("q", qkv), k = p.input("k", qkv), val = p.input("v", qkv);
  Handle mask = p.input("mask", meta({"1", "1", "3", "3"}));
  Handle a = p.call("aten::scaled_dot_product_attention", {v(q), v(k), v(val), v(mask)}, qkv);
  const auto b =
      p.calls("aten::_scaled_dot_product_flash_attention_for_cpu",
              {v(q), v(k), v(val), real(0), flag(false), v(mask)}, {qkv, meta({"1", "2", "3"})});
  p.output(a);
  p.output(b[0]);
  p.output(b[1]);
  EXPECT_EQ(p.count("attention"), 2);
  const auto out = p.run({counting({1, 2, 3, 4}), counting({1, 2, 3, 4}), counting({1, 2, 3, 4}),
                          f32({1, 1, 3, 3}, {0, -1e9, -1e9, 0, 0, -1e9, 0, 0, 0})});
  EXPECT_EQ(out[0], out[1]);
  // Row 0 sees key 0 alone: its logsumexp is the score.
  EXPECT_FLOAT_EQ(static_cast<float>(out[2].get_double(0)), (0 + 1 + 4 + 9) / 2.0f);
}

TEST(Rules, DropoutInAttentionIsRefused) {
  Program p;
  const CaptureMeta qkv = meta({"1", "2", "3", "4"});
  Handle q = p.input("q", qkv);
  p.call("aten::scaled_dot_product_attention", {v(q), v(q), v(q), none(), real(0.1)}, qkv);
  EXPECT_EQ(p.last_record().code, "K1301");
}

// The packed attention operator on x [1, 2, 4] with two heads; results as the captures say.
struct PackedAttention {
  Program p;
  Handle x = p.input("x", meta({"1", "2", "4"}));
  Handle key = x;

  std::vector<Handle> call(const CaptureArg& mask, const CaptureArg& kind, bool weights = false) {
    const Handle w = p.weight("w", counting({12, 4})), b = p.weight("b", counting({12}));
    const Handle out = p.weight("out", counting({4, 4})), out_b = p.weight("out_b", counting({4}));
    return p.calls(
        "aten::_native_multi_head_attention",
        {v(x), v(key), v(key), num(4), num(2), v(w), v(b), v(out), v(out_b), mask, flag(weights),
         flag(true), kind},
        {meta({"1", "2", "4"}), weights ? meta({"1", "2", "2"}) : opaque(CaptureMeta::kNoTensor)});
  }
};

TEST(Rules, PackedAttentionOfOneTensorIsOneProjection) {
  PackedAttention t;
  t.p.output(t.call(none(), none())[0]);
  EXPECT_TRUE(t.p.all_native());
  EXPECT_EQ(t.p.count("linear"), 2);
  EXPECT_EQ(t.p.count("attention"), 1);
  EXPECT_EQ(t.p.count("softmax"), 0);
  EXPECT_EQ(t.p.count("where"), 0);
}

TEST(Rules, PackedAttentionOfSeveralTensorsIsAProjectionEach) {
  PackedAttention t;
  t.key = t.p.input("key", meta({"1", "2", "4"}));
  for (Handle handle : t.call(none(), none(), true)) t.p.output(handle);
  EXPECT_TRUE(t.p.all_native());
  EXPECT_EQ(t.p.count("linear"), 4);
  EXPECT_EQ(t.p.count("softmax"), 1);
}

TEST(Rules, MasksOfPackedAttentionAreRefusedWhereTheyDoNotFit) {
  struct Case {
    std::vector<CaptureDim> dims;
    CaptureArg kind;
    const char* reason;
  };
  for (const Case& c :
       {Case{{"2", "2"}, none(), "mask without a mask_type"},
        Case{{"3", "2"}, num(0), "mask is not [length, length]"},
        Case{{"2", "2"}, num(1), "mask is not [batch, length]"},
        Case{{"2", "2"}, num(2), "mask_type does not fit a mask of rank 2"},
        Case{{"1", "1", "2", "2"}, num(2), "mask is not of the shape of the scores"}}) {
    PackedAttention t;
    t.call(v(t.p.input("mask", meta(c.dims, DType::kBool))), c.kind);
    EXPECT_EQ(t.p.last_record().code, "K1301");
    EXPECT_EQ(t.p.last_record().reason, c.reason);
  }
}

// What CUDA's libraries fuse with the product is the approximation; PyTorch defines it so.
TEST(Rules, GeluOfAnEncoderLayerGoesByTheDevice) {
  for (DeviceKind device : {DeviceKind::kCpu, DeviceKind::kCuda}) {
    Program p;
    p.builder.device(device);
    const Handle x = p.input("x", meta({"1", "2", "4"}));
    std::vector<CaptureArg> args{v(x), num(4), num(2)};
    int next = 0;
    auto add = [&](std::initializer_list<std::vector<int64_t>> shapes) {
      for (const auto& shape : shapes) {
        args.push_back(v(p.weight("w" + std::to_string(next++), counting(shape))));
      }
    };
    add({{12, 4}, {12}, {4, 4}, {4}});
    args.insert(args.end(), {flag(true), flag(false), real(1e-5)});
    add({{4}, {4}, {4}, {4}, {8, 4}, {8}, {4, 8}, {4}});
    p.output(p.call("aten::_transformer_encoder_layer_fwd", args, meta({"1", "2", "4"})));
    EXPECT_TRUE(p.all_native());
    std::vector<std::string> forms;
    for (const auto& node : p.finish().main.nodes()) {
      if (node->is("gelu")) forms.push_back(node->get_string("approximate"));
    }
    EXPECT_EQ(forms, (std::vector<std::string>{device == DeviceKind::kCpu ? "none" : "tanh"}));
  }
}

TEST(Rules, NormsAreOneNodeWithTheirStatisticsApart) {
  Program p;
  Handle x = p.input("x", meta({"2", "4"}));
  Handle w = p.weight("w", f32({4}, {1, 1, 2, 2}));
  Handle b = p.weight("b", f32({4}, {0, 0, 0, 10}));
  Handle whole =
      p.call("aten::layer_norm", {v(x), nums({4}), v(w), v(b), real(1e-5)}, meta({"2", "4"}));
  const auto parts = p.calls("aten::native_layer_norm", {v(x), nums({4}), v(w), v(b), real(1e-5)},
                             {meta({"2", "4"}), meta({"2", "1"}), meta({"2", "1"})});
  for (Handle handle : {whole, parts[0], parts[1], parts[2]}) p.output(handle);
  EXPECT_EQ(p.count("layer_norm"), 2);
  const auto out = p.run({f32({2, 4}, {1, 3, 5, 7, 0, 0, 0, 0})});
  EXPECT_EQ(out[0], out[1]);
  EXPECT_EQ(values(out[2]), (std::vector<double>{4, 0}));
  EXPECT_NEAR(out[3].get_double(0), 1 / std::sqrt(5.0), 1e-5);
}

TEST(Rules, BatchNormInTrainingIsRefused) {
  Program p;
  Handle x = p.input("x", meta({"2", "3", "1", "1"}));
  Handle m = p.weight("mean", counting({3}), "buffer");
  Handle s = p.weight("variance", counting({3}), "buffer");
  auto args = [&](bool training) {
    return std::vector<CaptureArg>{v(x),           none(),    none(),     v(m),      v(s),
                                   flag(training), real(0.1), real(1e-5), flag(true)};
  };
  p.call("aten::batch_norm", args(true), meta({"2", "3", "1", "1"}));
  EXPECT_EQ(p.last_record().code, "K1301");
  p.call("aten::batch_norm", args(false), meta({"2", "3", "1", "1"}));
  EXPECT_TRUE(p.last_record().native);
}

TEST(Rules, AdaptivePoolToOneIsAMean) {
  Program p;
  Handle x = p.input("x", meta({"1", "2", "2", "3"}));
  p.output(p.call("aten::adaptive_avg_pool2d", {v(x), nums({1, 1})}, meta({"1", "2", "1", "1"})));
  EXPECT_EQ(p.count("reduce_mean"), 1);
  EXPECT_EQ(values(p.run({counting({1, 2, 2, 3})})[0]), (std::vector<double>{2.5, 8.5}));
}

TEST(Rules, UnreadIndicesOfAPoolCostNothing) {
  Program p;
  Handle x = p.input("x", meta({"1", "1", "4", "4"}));
  const auto out = p.calls("aten::max_pool2d_with_indices", {v(x), nums({2, 2}), nums({2, 2})},
                           {meta({"1", "1", "2", "2"}), meta({"1", "1", "2", "2"}, DType::kI64)});
  p.output(out[0]);
  Node* pool = p.finish().main.outputs()[0]->producer();
  EXPECT_FALSE(pool->get_bool("with_indices"));
}

// ---- shapes

TEST(Rules, ViewFillsInTheMissingSize) {
  Program p;
  p.symbol("b", 1, 8);
  p.symbol("s", 16, 256);
  Handle x = p.input("x", meta({"b", "s", "12", "64"}));
  p.output(
      p.call("aten::view", {v(x), list({expr("b"), expr("s"), num(-1)})}, meta({"b", "s", "768"})));
  EXPECT_EQ(shape_of(p), "f32[?b,?s,768]");
}

TEST(Rules, ViewMergesSymbolicSizes) {
  Program p;
  p.symbol("b", 1, 8);
  p.symbol("s", 16, 256);
  Handle x = p.input("x", meta({"b", "s", "768"}));
  p.output(p.call("aten::view", {v(x), nums({-1, 768})}, meta({"b*s", "768"})));
  EXPECT_EQ(shape_of(p), "f32[?(b*s),768]");
}

TEST(Rules, SliceBoundsFollowTheRangesOfSymbols) {
  struct Case {
    CaptureArg start, end;
    std::string captured, expected;
  };
  const int64_t end_of_axis = std::numeric_limits<int64_t>::max();
  const std::vector<Case> cases{
      {num(0), num(end_of_axis), "s", "f32[?s]"},
      {none(), none(), "s", "f32[?s]"},
      {num(1), num(end_of_axis), "s - 1", "f32[?(s - 1)]"},
      {num(-1), num(end_of_axis), "1", "f32[1]"},
      {num(0), num(-1), "s - 1", "f32[?(s - 1)]"},
      {num(0), num(16), "16", "f32[16]"},  // s is at least 16
      {num(0), num(300), "s", "f32[?s]"},  // and at most 256
      {num(0), num(100), "min(s, 100)", "f32[?(min(100, s))]"},
      {num(0), expr("s"), "s", "f32[?s]"},
      {num(5), num(2), "0", "f32[0]"},
  };
  for (const Case& c : cases) {
    Program p;
    p.symbol("s", 16, 256);
    Handle x = p.input("x", meta({"s"}));
    p.output(p.call("aten::slice.Tensor", {v(x), num(0), c.start, c.end}, meta({c.captured})));
    EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
    EXPECT_EQ(shape_of(p), c.expected);
  }
}

TEST(Rules, ExpandKeepsAndAddsAxes) {
  Program p;
  p.symbol("b", 1, 8);
  Handle x = p.input("x", meta({"1", "b", "1"}));
  p.output(p.call("aten::expand", {v(x), list({num(2), num(4), num(-1), num(3)})},
                  meta({"2", "4", "b", "3"})));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  EXPECT_EQ(shape_of(p), "f32[2,4,?b,3]");
}

TEST(Rules, SplitOfASymbolicAxis) {
  Program p;
  p.symbol("s", 4, 8);
  Handle x = p.input("x", meta({"s"}));
  const auto parts = p.calls("aten::split_with_sizes", {v(x), list({num(3), expr("s - 3")})},
                             {meta({"3"}), meta({"s - 3"})});
  p.output(parts[1]);
  EXPECT_EQ(values(p.run({counting({5})})[0]), (std::vector<double>{3, 4}));
}

TEST(Rules, ArangeOfASymbol) {
  Program p;
  p.symbol("s", 1, 8);
  Handle x = p.input("x", meta({"s"}));
  Handle r =
      p.call("aten::arange.start_step", {expr("s"), expr("2*s"), num(1)}, meta({"s"}, DType::kI64));
  Handle f = p.call("aten::arange.start_step", {real(0.5), real(2.5), real(0.5)}, meta({"4"}));
  p.output(p.call("aten::add.Tensor", {v(x), v(r)}, meta({"s"})));
  p.output(f);
  const auto out = p.run({f32({3}, {0, 0, 0})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{3, 4, 5}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{0.5, 1, 1.5, 2}));
}

TEST(Rules, SymbolicScalarsAreOperands) {
  Program p;
  p.symbol("s", 1, 8);
  Handle x = p.input("x", meta({"s"}));
  Handle y = p.call("aten::mul.Tensor", {v(x), expr("s + 1")}, meta({"s"}));
  p.output(p.call(
      "aten::add.Tensor",
      {v(y), v(p.call("aten::full", {nums({1}), expr("s"), dtype(DType::kF32)}, meta({"1"})))},
      meta({"s"})));
  EXPECT_EQ(values(p.run({f32({2}, {1, 2})})[0]), (std::vector<double>{5, 8}));
}

// ---- numbers

TEST(Rules, PromotionFollowsTorch) {
  Program p;
  Handle x = p.input("x", meta({"2"}, DType::kI64));
  Handle scalar = p.input("scalar", meta({}, DType::kF64));
  Handle half = p.input("half", meta({"2"}, DType::kF16));
  p.call("aten::add.Tensor", {v(x), real(0.5)}, meta({"2"}));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  p.call("aten::add.Tensor", {v(x), num(1)}, meta({"2"}, DType::kI64));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  p.call("aten::mul.Tensor", {v(half), v(scalar)}, meta({"2"}, DType::kF16));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  p.call("aten::mul.Tensor", {v(x), v(scalar)}, meta({"2"}, DType::kF64));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  p.call("aten::div.Tensor", {v(x), v(x)}, meta({"2"}));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  p.call("aten::sum", {v(p.call("aten::ge.Scalar", {v(x), num(0)}, meta({"2"}, DType::kBool)))},
         meta({}, DType::kI64));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
}

TEST(Rules, PowersThatAreProductsAndRoots) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  const std::vector<std::pair<double, double>> cases{
      {2, 81}, {3, 729}, {0.5, 3}, {-0.5, 1.0 / 3}, {-1, 1.0 / 9}, {1, 9}, {0, 1}};
  for (const auto& [exponent, expected] : cases) {
    p.output(p.call("aten::pow.Tensor_Scalar", {v(x), real(exponent)}, meta({"2"})));
  }
  EXPECT_EQ(p.count("pow"), 1);
  const auto out = p.run({f32({2}, {9, 9})});
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_FLOAT_EQ(static_cast<float>(out[i].get_double(0)), static_cast<float>(cases[i].second));
  }
}

TEST(Rules, CatSkipsEmptyVectors) {
  Program p;
  Handle empty = p.weight("empty", f32({0}, {}), "constant");
  Handle x = p.input("x", meta({"1", "2", "3"}));
  p.output(p.call("aten::cat", {list({v(empty), v(x)}), num(-2)}, meta({"1", "2", "3"})));
  EXPECT_TRUE(p.last_record().native) << p.last_record().reason;
  EXPECT_EQ(p.finish().outputs[0].kind, OutputSpec::Kind::kResult) << "a copy, not the input";
  EXPECT_EQ(p.count("concat"), 0);
}

TEST(Rules, IndexPutByMaskIsAChoice) {
  Program p;
  Handle x = p.input("x", meta({"2", "2"}));
  Handle rows = p.input("rows", meta({"2"}, DType::kBool));
  Handle value = p.input("value", meta({}));
  p.output(p.call("aten::index_put", {v(x), list({v(rows)}), v(value)}, meta({"2", "2"})));
  EXPECT_EQ(p.count("where"), 1);
  EXPECT_EQ(values(p.run({counting({2, 2}), boolean({2}, {0, 1}), f32({}, {9})})[0]),
            (std::vector<double>{0, 1, 9, 9}));
}

TEST(Rules, IndexByMaskIsRefused) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle mask = p.input("mask", meta({"2"}, DType::kBool));
  p.call("aten::index.Tensor", {v(x), list({v(mask)})}, opaque("tensor of data-dependent shape"));
  EXPECT_FALSE(p.last_record().native);
}

TEST(Rules, ScatterSumsWithoutTheOldElements) {
  Program p;
  Handle x = p.input("x", meta({"4"}));
  Handle index = p.input("index", meta({"3"}, DType::kI64));
  Handle src = p.input("src", meta({"3"}));
  p.output(p.call("aten::scatter_reduce.two",
                  {v(x), num(0), v(index), v(src), str("sum"), flag(false)}, meta({"4"})));
  EXPECT_EQ(
      values(p.run({f32({4}, {10, 20, 30, 40}), i64({3}, {1, 1, 3}), f32({3}, {1, 2, 3})})[0]),
      (std::vector<double>{10, 3, 30, 3}));
}

TEST(Rules, PixelShuffleInvertsItself) {
  Program p;
  Handle x = p.input("x", meta({"1", "4", "2", "2"}));
  Handle y = p.call("aten::pixel_shuffle", {v(x), num(2)}, meta({"1", "1", "4", "4"}));
  p.output(y);
  p.output(p.call("aten::pixel_unshuffle", {v(y), num(2)}, meta({"1", "4", "2", "2"})));
  const auto out = p.run({counting({1, 4, 2, 2})});
  EXPECT_EQ(values(out[0]),
            (std::vector<double>{0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15}));
  EXPECT_EQ(out[1], counting({1, 4, 2, 2}));
}

TEST(Rules, SamePaddingPutsTheOddElementLast) {
  Program p;
  Handle x = p.input("x", meta({"1", "1", "4"}));
  Handle w = p.weight("w", f32({1, 1, 2}, {1, 10}));
  p.output(p.call("aten::conv1d.padding", {v(x), v(w), none(), nums({1}), str("same")},
                  meta({"1", "1", "4"})));
  EXPECT_EQ(values(p.run({f32({1, 1, 4}, {1, 2, 3, 4})})[0]), (std::vector<double>{21, 32, 43, 4}));
}

TEST(Rules, ConvolutionOfOneSample) {
  Program p;
  Handle x = p.input("x", meta({"1", "3"}));
  Handle w = p.weight("w", f32({2, 1, 3}, {1, 1, 1, 0, 2, 0}));
  p.output(p.call("aten::conv1d", {v(x), v(w)}, meta({"2", "1"})));
  EXPECT_EQ(values(p.run({f32({1, 3}, {1, 2, 3})})[0]), (std::vector<double>{6, 4}));
}

}  // namespace
}  // namespace kiln::test
