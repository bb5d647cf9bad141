// Convolution, matmul and pooling by oneDNN, from IR to results: compared with the reference
// executor on small integers, whose sums are exact in any order.
#include <gtest/gtest.h>

#include "backends/cpu/runtime/dnnl_api.h"
#include "backends/cpu/runtime/dnnl_primitive.h"
#include "unit/cpu_compile/lowered_program.h"

namespace kiln {
namespace {

using cpu_compile_test::expect_same;
using cpu_compile_test::lower;
using cpu_compile_test::Program;

constexpr const char* kFuse = "assign_layouts,fuse_epilogues,dce";

class DnnlProviders : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto api = dnnl_api();
    if (api.ok()) return;
    if (api.status().code() == "K5101") GTEST_SKIP() << api.status().to_string();
    FAIL() << api.status().to_string();
  }
};

// Every step of the bound program runs one of the library's fast kernels.
void expect_fast(const Program& program, const SymbolValues& symbols = {}) {
  ASSERT_NE(program.engine, nullptr);
  Program& p = const_cast<Program&>(program);
  const std::vector<HostTensor> inputs = cpu_compile_test::random_inputs(p, symbols);
  std::vector<TensorView> views;
  for (const HostTensor& input : inputs) {
    TensorView view;
    view.data = const_cast<std::byte*>(input.bytes());
    view.dtype = input.dtype();
    view.rank = input.rank();
    view.shape = input.shape().data();
    views.push_back(view);
  }
  const auto binding = program.engine->bind(views);
  ASSERT_TRUE(binding.ok()) << binding.status().to_string();
  for (const ShapePlan::RunStep& step : (*binding)->shape->steps) {
    EXPECT_FALSE(is_dnnl_reference(step.step->implementation())) << step.step->implementation();
    EXPECT_EQ(step.step->implementation().find("again"), std::string::npos)
        << step.step->implementation();
  }
}

TEST_F(DnnlProviders, ResidualBlockIsThreeConvolutions) {
  Program p = lower(R"(
symbols { b in [1, 8] }
weights {
  %w0 = parameter "w0" : f32[24,16,1,1]
  %w1 = parameter "w1" : f32[24,24,3,3]
  %w2 = parameter "w2" : f32[16,24,1,1]
  %w3 = parameter "b0" : f32[24]
  %w4 = parameter "b2" : f32[16]
}
init {
  const %c0 = %w0 : f32[24,16,1,1]
  const %c1 = %w1 : f32[24,24,3,3]
  const %c2 = %w2 : f32[16,24,1,1]
  const %c3 = %w3 : f32[24]
  const %c4 = %w4 : f32[16]
}
main(%x: f32[?b,16,9,11]) {
  %0 = conv(%x, %c0, %c3) : f32[?b,24,9,11]
  %1 = relu(%0) : f32[?b,24,9,11]
  %2 = conv(%1, %c1) {padding=[1,1]} : f32[?b,24,9,11]
  %3 = relu(%2) : f32[?b,24,9,11]
  %4 = conv(%3, %c2, %c4) : f32[?b,16,9,11]
  %5 = add(%4, %x) : f32[?b,16,9,11]
  %6 = relu(%5) : f32[?b,16,9,11]
  return %6
})",
                    kFuse);
  EXPECT_EQ(p.tactics, (std::vector<std::string>{"dnnl.conv", "dnnl.conv", "dnnl.conv"}));
  // The input comes in and the output goes out in the caller's order; the shortcut needs another
  // copy of the input only if the first one is not reused.
  EXPECT_EQ(p.count_steps("dnnl.conv"), 3);
  for (int64_t b : {1, 3}) {
    expect_same(p, {{"b", b}});
    expect_fast(p, {{"b", b}});
  }
}

TEST_F(DnnlProviders, ConvolutionsOfAllKinds) {
  struct Case {
    const char* why;
    const char *x, *w, *attrs, *y;
  };
  const Case cases[] = {
      {"stem", "2,3,21,19", "16,3,7,7", "stride=[2,2], padding=[3,3]", "2,16,11,10"},
      {"depthwise", "1,20,9,9", "20,1,3,3", "padding=[1,1], groups=20", "1,20,9,9"},
      {"depthwise stride 2", "1,20,9,9", "20,1,5,5", "stride=[2,2], padding=[2,2], groups=20",
       "1,20,5,5"},
      {"groups", "2,12,7,7", "18,4,3,3", "padding=[1,1], groups=3", "2,18,7,7"},
      {"dilation", "1,4,17,19", "5,4,3,3", "stride=[1,2], padding=[2,3], dilation=[2,3]",
       "1,5,17,10"},
      {"padding at one end", "1,8,16,16", "8,8,3,3", "stride=[2,2], padding=[0,0], "
       "padding_high=[1,1]", "1,8,8,8"},
      {"one axis", "2,8,31", "6,8,4", "stride=[3], padding=[2]", "2,6,11"},
      {"three axes", "1,3,5,6,7", "4,3,3,2,3", "stride=[1,2,1], padding=[1,0,1]", "1,4,5,3,7"},
      {"one pixel", "3,32,1,1", "8,32,1,1", "", "3,8,1,1"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    const std::string w = "f32[" + std::string(c.w) + "]", y = "f32[" + std::string(c.y) + "]";
    const std::string attrs = *c.attrs ? " {" + std::string(c.attrs) + "}" : "";
    Program p = lower("weights { %w0 = parameter \"w\" : " + w + " }\ninit { const %c0 = %w0 : " +
                          w + " }\nmain(%x: f32[" + c.x + "]) {\n  %0 = conv(%x, %c0)" + attrs +
                          " : " + y + "\n  return %0\n}",
                      kFuse);
    EXPECT_EQ(p.tactics, (std::vector<std::string>{"dnnl.conv"}));
    expect_same(p);
    expect_fast(p);
  }
}

TEST_F(DnnlProviders, TransposedConvolutions) {
  for (const char* groups : {"1", "2"}) {
    SCOPED_TRACE(groups);
    const std::string out = std::string(groups) == "1" ? "6" : "12";
    Program p = lower("weights { %w0 = parameter \"w\" : f32[8,6,3,3] "
                      "%w1 = parameter \"b\" : f32[" + out + "] }\n"
                      "init { const %c0 = %w0 : f32[8,6,3,3] const %c1 = %w1 : f32[" +
                          out + "] }\nmain(%x: f32[2,8,5,6]) {\n  %0 = conv_transpose(%x, %c0, %c1)"
                          " {stride=[2,2], padding=[1,1], output_padding=[1,0], groups=" +
                          groups + "} : f32[2," + out + ",10,11]\n  return %0\n}",
                      kFuse);
    EXPECT_EQ(p.tactics, (std::vector<std::string>{"dnnl.conv"}));
    expect_same(p);
  }
}

TEST_F(DnnlProviders, WeightsThatAreComputedAreNotPacked) {
  Program p = lower(R"(
main(%x: f32[1,8,6,6], %w: f32[4,8,3,3], %m: f32[5,7], %v: f32[6,7]) {
  %0 = conv(%x, %w) : f32[1,4,4,4]
  %1 = linear(%m, %v) : f32[5,6]
  return %0, %1
})",
                    kFuse);
  EXPECT_EQ(p.tactics, (std::vector<std::string>{"dnnl.conv", "dnnl.matmul"}));
  EXPECT_TRUE(p.plan.init.steps.empty());
  expect_same(p);
}

TEST_F(DnnlProviders, ConcatenatedConvolutionsAreCopiedIntoPlace) {
  Program p = lower(R"(
weights { %w0 = parameter "w" : f32[8,8,3,3] }
init { const %c0 = %w0 : f32[8,8,3,3] }
main(%x: f32[1,8,6,6]) {
  %0 = conv(%x, %c0) {padding=[1,1]} : f32[1,8,6,6]
  %1 = relu(%x) : f32[1,8,6,6]
  %2 = conv(%1, %c0) {padding=[1,1]} : f32[1,8,6,6]
  %3 = concat(%0, %2) {axis=1} : f32[1,16,6,6]
  return %3
})",
                    "assign_layouts,fuse_epilogues,fuse_tiles,dce");
  expect_same(p);
  expect_fast(p);
}

// Every elementwise op that is a post-op: with numbers on either side, tensors per channel and of
// the whole shape. `exact` where integers stay exact.
struct EpilogueCase {
  const char* nodes;  // from %0 to %9
  bool exact;
};

class Epilogues : public DnnlProviders, public ::testing::WithParamInterface<EpilogueCase> {};

TEST_P(Epilogues, BehindConvolution) {
  const std::string t = "f32[2,8,5,5]";
  std::string nodes = GetParam().nodes;
  for (size_t at; (at = nodes.find(" : T")) != std::string::npos;) nodes.replace(at, 4, " : " + t);
  Program p = lower("weights { %w0 = parameter \"w\" : f32[8,4,1,1] %w1 = parameter \"v\" : "
                    "f32[8,1,1] }\ninit { const %c0 = %w0 : f32[8,4,1,1] const %c1 = %w1 : "
                    "f32[8,1,1] }\nmain(%x: f32[2,4,5,5], %r: f32[2,8,5,5]) {\n"
                    "  %k = constant() {value=f32[](2)} : f32[]\n"
                    "  %0 = conv(%x, %c0) : f32[2,8,5,5]\n" + nodes + "\n  return %9\n}",
                    kFuse);
  // One step: the whole chain is in the post-ops.
  ASSERT_FALSE(p.tactics.empty());
  EXPECT_EQ(p.tactics.back(), "dnnl.conv");
  EXPECT_EQ(p.count_steps("dnnl.conv"), 1);
  EXPECT_EQ(p.count_steps("tile"), 0);
  expect_same(p, {}, GetParam().exact ? 0 : 2e-6,
              GetParam().exact ? DataKind::kSmallIntegers : DataKind::kNormal);
}

TEST_P(Epilogues, BehindLinear) {
  const std::string t = "f32[2,5,8]";
  std::string nodes = GetParam().nodes;
  for (size_t at; (at = nodes.find(" : T")) != std::string::npos;) nodes.replace(at, 4, " : " + t);
  Program p = lower("symbols { b in [1, 4] }\nweights { %w0 = parameter \"w\" : f32[8,4] %w1 = "
                    "parameter \"v\" : f32[8] }\ninit { const %c0 = %w0 : f32[8,4] const %c1 = "
                    "%w1 : f32[8] }\nmain(%x: f32[2,5,4], %r: f32[2,5,8]) {\n"
                    "  %k = constant() {value=f32[](2)} : f32[]\n"
                    "  %0 = linear(%x, %c0, %c1) : f32[2,5,8]\n" + nodes + "\n  return %9\n}",
                    kFuse);
  EXPECT_EQ(p.count_steps("dnnl.matmul"), 1);
  EXPECT_EQ(p.plan.main.steps.size(), 1u);
  expect_same(p, {}, GetParam().exact ? 0 : 2e-6,
              GetParam().exact ? DataKind::kSmallIntegers : DataKind::kNormal);
}

INSTANTIATE_TEST_SUITE_P(
    All, Epilogues,
    ::testing::Values(
        EpilogueCase{"  %9 = relu(%0) : T", true},
        EpilogueCase{"  %9 = gelu(%0) : T", false},
        EpilogueCase{"  %9 = gelu(%0) {approximate=\"tanh\"} : T", false},
        EpilogueCase{"  %9 = silu(%0) : T", false},
        EpilogueCase{"  %9 = hardswish(%0) : T", false},
        EpilogueCase{"  %9 = hardsigmoid(%0) : T", false},
        EpilogueCase{"  %9 = sigmoid(%0) : T", false},
        EpilogueCase{"  %9 = tanh(%0) : T", false},
        EpilogueCase{"  %9 = elu(%0) {alpha=1.5} : T", false},
        EpilogueCase{"  %9 = leaky_relu(%0) {slope=0.25} : T", true},
        EpilogueCase{"  %9 = neg(%0) : T", true},
        EpilogueCase{"  %9 = clamp(%0) {has_min=true, min=-3.0} : T", true},
        EpilogueCase{"  %9 = clamp(%0) {has_max=true, max=5.0} : T", true},
        EpilogueCase{"  %9 = clamp(%0) {has_min=true, min=-3.0, has_max=true, max=5.0} : T", true},
        EpilogueCase{"  %1 = add(%0, %k) : T\n  %2 = sub(%1, %k) : T\n  %3 = sub(%k, %2) : T\n"
                     "  %4 = mul(%k, %3) : T\n  %9 = div(%4, %k) : T", true},
        EpilogueCase{"  %1 = maximum(%0, %k) : T\n  %9 = neg(%1) : T", true},
        EpilogueCase{"  %9 = minimum(%k, %0) : T", true},
        EpilogueCase{"  %1 = add(%0, %r) : T\n  %9 = relu(%1) : T", true},
        EpilogueCase{"  %9 = sub(%0, %r) : T", true},
        EpilogueCase{"  %9 = sub(%r, %0) : T", true},
        EpilogueCase{"  %9 = mul(%r, %0) : T", true},
        EpilogueCase{"  %9 = maximum(%0, %r) : T", true},
        EpilogueCase{"  %9 = minimum(%0, %r) : T", true},
        EpilogueCase{"  %1 = add(%0, %c1) : T\n  %2 = mul(%1, %c1) : T\n  %9 = sub(%c1, %2) : T",
                     true},
        EpilogueCase{"  %1 = relu(%0) : T\n  %2 = add(%1, %r) : T\n  %9 = mul(%2, %c1) : T",
                     true}));

TEST_F(DnnlProviders, DivisionByATensor) {
  Program p = lower(R"(
weights { %w0 = parameter "w" : f32[8,4] }
init { const %c0 = %w0 : f32[8,4] }
main(%x: f32[5,4], %d: f32[5,8]) {
  %0 = linear(%x, %c0) : f32[5,8]
  %1 = div(%0, %d) : f32[5,8]
  return %1
})",
                    kFuse, DataKind::kPositive);
  EXPECT_EQ(p.plan.main.steps.size(), 1u);
  expect_same(p, {}, 1e-6, DataKind::kPositive);
}

// What a post-op does not mean the same stays outside.
TEST_F(DnnlProviders, WhatIsNoPostOpStaysOutside) {
  struct Case {
    const char* node;
    bool exact;
  };
  for (const Case& c : {
           Case{"add(%0, %0)", true},          // the chain with itself
           Case{"div(%k, %0)", false},         // a quotient the other way round
           Case{"div(%0, %k)", false},         // 1/3 is not exact
           Case{"mul(%0, %s)", true},          // broadcasts along another dim
           Case{"elu(%0) {scale=2.0}", false}, // a scaled one
           Case{"exp(%0)", false},
       }) {
    SCOPED_TRACE(c.node);
    Program p = lower("weights { %w0 = parameter \"w\" : f32[8,4] }\ninit { const %c0 = %w0 : "
                      "f32[8,4] }\nmain(%x: f32[5,4], %s: f32[5,1]) {\n"
                      "  %k = constant() {value=f32[](3)} : f32[]\n"
                      "  %0 = linear(%x, %c0) : f32[5,8]\n  %1 = " + std::string(c.node) +
                          " : f32[5,8]\n  return %1\n}",
                      "assign_layouts,fuse_epilogues,fuse_tiles,dce", DataKind::kPositive);
    EXPECT_EQ(p.tactics, (std::vector<std::string>{"dnnl.matmul", "tile"}));
    expect_same(p, {}, 1e-5, DataKind::kPositive);
  }
}

TEST_F(DnnlProviders, LinearOfEveryRankAndStride) {
  const char* head =
      "symbols { b in [1, 8] s in [1, 64] }\n"
      "weights { %w0 = parameter \"w\" : f32[40,24] %w1 = parameter \"b\" : f32[40] }\n"
      "init { const %c0 = %w0 : f32[40,24] const %c1 = %w1 : f32[40] }\n";
  struct Case {
    const char* why;
    const char* main;
  };
  for (const Case& c : {
           Case{"vector", "main(%x: f32[24]) { %0 = linear(%x, %c0, %c1) : f32[40] return %0 }"},
           Case{"batch and sequence",
                "main(%x: f32[?b,?s,24]) { %0 = linear(%x, %c0, %c1) : f32[?b,?s,40] return %0 }"},
           Case{"permuted", "main(%x: f32[?b,24,7]) { %0 = permute(%x) {order=[0,2,1]} : "
                            "f32[?b,7,24] %1 = linear(%0, %c0, %c1) : f32[?b,7,40] return %1 }"},
           Case{"rows that do not merge",
                "main(%x: f32[?b,9,24]) { %0 = slice(%x) {axis=1, start=1, end=8} : "
                "f32[?b,7,24] %1 = linear(%0, %c0) : f32[?b,7,40] return %1 }"},
           Case{"columns of a wider tensor",
                "main(%x: f32[?b,60]) { %0 = slice(%x) {axis=1, start=3, end=27} : "
                "f32[?b,24] %1 = linear(%0, %c0) : f32[?b,40] return %1 }"},
           Case{"the same row again and again",
                "main(%x: f32[1,24]) { %0 = expand(%x) {shape=[5,24]} : f32[5,24] "
                "%1 = linear(%0, %c0) : f32[5,40] return %1 }"},
           Case{"part of a concatenation",
                "main(%x: f32[?b,24], %y: f32[?b,3]) { %0 = linear(%x, %c0) : f32[?b,40] "
                "%1 = concat(%0, %y) {axis=1} : f32[?b,43] return %1 }"},
           Case{"transposed result", "main(%x: f32[?b,6,24]) { %0 = linear(%x, %c0) : f32[?b,6,40] "
                                     "%1 = permute(%0) {order=[0,2,1]} : f32[?b,40,6] return %1 }"},
       }) {
    SCOPED_TRACE(c.why);
    Program p = lower(head + std::string(c.main), kFuse);
    EXPECT_EQ(p.count_steps("dnnl.matmul"), 1);
    expect_same(p, {{"b", 2}, {"s", 17}});
    expect_same(p, {{"b", 1}, {"s", 1}});
    expect_fast(p, {{"b", 2}, {"s", 17}});
  }
}

TEST_F(DnnlProviders, MatmulsWithBatchesAndTranspositions) {
  struct Case {
    const char *a, *b, *attrs, *y;
  };
  for (const Case& c : {
           Case{"7,33", "33,19", "", "7,19"},
           Case{"3,7,33", "3,33,19", "", "3,7,19"},
           Case{"2,3,7,33", "2,3,33,19", "", "2,3,7,19"},
           Case{"2,3,7,33", "3,33,19", "", "2,3,7,19"},
           Case{"3,7,33", "2,1,33,19", "", "2,3,7,19"},
           Case{"4,7,33", "33,19", "", "4,7,19"},
           Case{"2,3,7,8", "2,3,9,8", " {transpose_b=true}", "2,3,7,9"},
           Case{"3,8,7", "3,8,9", " {transpose_a=true}", "3,7,9"},
           Case{"8,7", "9,8", " {transpose_a=true, transpose_b=true}", "7,9"},
           Case{"1,1", "1,1", "", "1,1"},
       }) {
    SCOPED_TRACE(std::string(c.a) + " x " + c.b + c.attrs);
    const std::string a = "f32[" + std::string(c.a) + "]", b = "f32[" + std::string(c.b) + "]";
    const std::string y = "f32[" + std::string(c.y) + "]";
    Program variable = lower("main(%a: " + a + ", %b: " + b + ") { %0 = matmul(%a, %b)" + c.attrs +
                                 " : " + y + " return %0 }",
                             kFuse);
    EXPECT_EQ(variable.tactics, (std::vector<std::string>{"dnnl.matmul"}));
    expect_same(variable);
    expect_fast(variable);
    Program constant = lower("weights { %w0 = parameter \"w\" : " + b + " }\ninit { const %c0 = "
                             "%w0 : " + b + " }\nmain(%a: " + a + ") { %0 = matmul(%a, %c0)" +
                                 c.attrs + " : " + y + " %1 = relu(%0) : " + y + " return %1 }",
                             kFuse);
    EXPECT_EQ(constant.tactics, (std::vector<std::string>{"dnnl.matmul"}));
    expect_same(constant);
  }
}

TEST_F(DnnlProviders, BroadcastMatmulReadsAnExpandedOperand) {
  Program p = lower(R"(
main(%a: f32[2,3,7,8], %b: f32[2,1,9,8]) {
  %0 = expand(%b) {shape=[2,3,9,8]} : f32[2,3,9,8]
  %1 = matmul(%a, %0) {transpose_b=true} : f32[2,3,7,9]
  return %1
})",
                    kFuse);
  EXPECT_EQ(p.count_steps("dnnl.matmul"), 1);
  EXPECT_EQ(p.count_steps("copy"), 0);
  expect_same(p);
}

TEST_F(DnnlProviders, SumOverNothingIsZero) {
  Program p = lower(R"(
symbols { k in [0, 8] }
main(%a: f32[2,3,?k], %b: f32[2,?k,4], %r: f32[2,3,4]) {
  %0 = matmul(%a, %b) : f32[2,3,4]
  %1 = add(%0, %r) : f32[2,3,4]
  return %1
})",
                    kFuse);
  EXPECT_EQ(p.plan.main.steps.size(), 1u);
  expect_same(p, {{"k", 5}});
  expect_same(p, {{"k", 0}});
}

TEST_F(DnnlProviders, Pools) {
  struct Case {
    const char *op, *x, *attrs, *y;
  };
  for (const Case& c : {
           Case{"max_pool", "2,16,11,13", "kernel=[3,3], stride=[2,2], padding=[1,1]", "2,16,6,7"},
           Case{"max_pool", "1,5,10,10", "kernel=[3,3], stride=[2,2], ceil_mode=true", "1,5,5,5"},
           Case{"max_pool", "2,8,31", "kernel=[4], stride=[3]", "2,8,10"},
           Case{"avg_pool", "1,16,8,8", "kernel=[2,2]", "1,16,4,4"},
           Case{"avg_pool", "1,16,8,8", "kernel=[4,4], padding=[2,2], stride=[4,4]", "1,16,3,3"},
           Case{"avg_pool", "1,16,8,8",
                "kernel=[2,2], padding=[1,1], stride=[1,1], count_include_pad=false", "1,16,9,9"},
           Case{"adaptive_avg_pool", "2,16,8,4", "output_size=[1,1]", "2,16,1,1"},
           Case{"adaptive_avg_pool", "2,16,8,4", "output_size=[2,1]", "2,16,2,1"},
       }) {
    SCOPED_TRACE(std::string(c.op) + " " + c.attrs);
    Program p = lower("main(%x: f32[" + std::string(c.x) + "]) { %0 = " + c.op + "(%x) {" +
                          c.attrs + "} : f32[" + c.y + "] return %0 }",
                      kFuse);
    EXPECT_EQ(p.tactics, (std::vector<std::string>{"dnnl.pool"}));
    expect_same(p);
    expect_fast(p);
  }
}

TEST_F(DnnlProviders, PoolsThatMeanSomethingElseAreRefused) {
  for (const char* text : {
           "main(%x: f32[1,4,9,9]) { %0 = avg_pool(%x) {kernel=[2,2], padding=[1,1], "
           "ceil_mode=true, stride=[2,2]} : f32[1,4,6,6] return %0 }",
           "main(%x: f32[1,4,8,8]) { %0 = avg_pool(%x) {kernel=[2,2], divisor_override=3} : "
           "f32[1,4,4,4] return %0 }",
           "main(%x: f32[1,4,7,7]) { %0 = adaptive_avg_pool(%x) {output_size=[2,2]} : "
           "f32[1,4,2,2] return %0 }",
           // The library has only its reference for it.
           "main(%x: f32[1,5,10,10]) { %0 = max_pool(%x) {kernel=[2,2], dilation=[2,2], "
           "stride=[1,1]} : f32[1,5,8,8] return %0 }",
           "main(%x: f32[4,8,8]) { %0 = avg_pool(%x) {kernel=[2,2]} : f32[4,4,4] return %0 }",
       }) {
    SCOPED_TRACE(text);
    auto module = parse_module(text);
    ASSERT_TRUE(module.ok()) << module.status().to_string();
    Candidates candidates;
    make_dnnl_pool_provider()->candidates(*(*module)->main.snapshot()[0], DeviceSpec::host(),
                                          candidates);
    EXPECT_TRUE(candidates.tactics.empty());
    ASSERT_EQ(candidates.refusals.size(), 1u);
    EXPECT_FALSE(candidates.refusals[0].reason.empty());
  }
}

TEST_F(DnnlProviders, DoublesAreRefusedWithTheReason) {
  auto module = parse_module(
      "main(%x: f64[2,3], %w: f64[4,3]) { %0 = linear(%x, %w) : f64[2,4] return %0 }");
  ASSERT_TRUE(module.ok());
  Candidates candidates;
  make_dnnl_matmul_provider()->candidates(*(*module)->main.snapshot()[0], DeviceSpec::host(),
                                          candidates);
  EXPECT_TRUE(candidates.tactics.empty());
  ASSERT_EQ(candidates.refusals.size(), 1u);
  EXPECT_EQ(candidates.refusals[0].reason, "dtype f64");
}

TEST_F(DnnlProviders, DynamicImagesUsePackedWeights) {
  Program p = lower(R"(
symbols { b in [1, 4] h in [4, 64] }
weights { %w0 = parameter "w" : f32[32,16,3,3] %w1 = parameter "b" : f32[32] }
init { const %c0 = %w0 : f32[32,16,3,3] const %c1 = %w1 : f32[32] }
main(%x: f32[?b,16,?h,12]) {
  %0 = conv(%x, %c0, %c1) {padding=[1,1]} : f32[?b,32,?h,12]
  %1 = hardswish(%0) : f32[?b,32,?h,12]
  return %1
})",
                    kFuse);
  for (int64_t h : {4, 7, 33, 64}) expect_same(p, {{"b", 2}, {"h", h}}, 1e-6);
}

TEST_F(DnnlProviders, UpdatedWeightsArePackedAgain) {
  Program p = lower(R"(
weights { %w0 = parameter "w" : f32[8,16,3,3] %w1 = parameter "v" : f32[6,8] }
init { const %c0 = %w0 : f32[8,16,3,3] const %c1 = %w1 : f32[6,8] }
main(%x: f32[1,16,5,5], %m: f32[3,8]) {
  %0 = conv(%x, %c0) : f32[1,8,3,3]
  %1 = linear(%m, %c1) : f32[3,6]
  return %0, %1
})",
                    kFuse);
  expect_same(p);
  for (HostTensor& weight : p.weights) {
    weight = random_data(weight.dtype(), weight.shape(), DataKind::kSmallIntegers, 99);
  }
  ASSERT_TRUE(p.engine->update_weights(cpu_compile_test::bytes_of(p)).ok());
  expect_same(p);
}

// A batch norm that was folded: the factors of the channels are multiplied in while packing.
TEST_F(DnnlProviders, FactorsOfChannelsGoIntoThePacking) {
  for (const bool factor_first : {false, true}) {
    for (const int groups : {1, 2}) {
      const std::string in = groups == 1 ? "16" : "8";
      Program p = lower(R"(
weights { %w0 = parameter "w" : f32[32,)" + in + R"(,3,3] %w1 = parameter "f" : f32[32] }
init {
  %0 = relu(%w1) : f32[32]
  %1 = reshape(%0) {shape=[32,1,1,1]} : f32[32,1,1,1]
  %2 = mul()" + (factor_first ? "%1, %w0" : "%w0, %1") + ") : f32[32," + in + R"(,3,3]
  const %c0 = %2 : f32[32,)" + in + R"(,3,3]
}
main(%x: f32[1,16,6,6]) {
  %0 = conv(%x, %c0) {groups=)" + std::to_string(groups) + R"(} : f32[1,32,4,4]
  return %0
})",
                        std::string("fuse_tiles,") + kFuse);
      ASSERT_NE(p.engine, nullptr);
      expect_same(p, {});
      ASSERT_EQ(p.plan.init.steps.size(), 2u);  // relu and packing
      EXPECT_EQ(p.plan.init.steps[1].kind, "dnnl.pack_conv");
      EXPECT_EQ(p.plan.init.steps[1].inputs.size(), 2u);
      expect_fast(p);
    }
  }
  // Factors of input channels are no such thing.
  Program p = lower(R"(
weights { %w0 = parameter "w" : f32[16,16,3,3] %w1 = parameter "f" : f32[16] }
init {
  %0 = reshape(%w1) {shape=[1,16,1,1]} : f32[1,16,1,1]
  %1 = mul(%w0, %0) : f32[16,16,3,3]
  const %c0 = %1 : f32[16,16,3,3]
}
main(%x: f32[1,16,6,6]) {
  %0 = conv(%x, %c0) : f32[1,16,4,4]
  return %0
})",
                    std::string("fuse_tiles,") + kFuse);
  ASSERT_NE(p.engine, nullptr);
  expect_same(p, {});
  EXPECT_EQ(p.plan.init.steps.back().inputs.size(), 1u);
}

TEST_F(DnnlProviders, Bf16WhereTheLibraryHasIt) {
  auto module = parse_module(
      "main(%x: bf16[8,16], %w: bf16[4,16]) { %0 = linear(%x, %w) : bf16[8,4] return %0 }");
  ASSERT_TRUE(module.ok());
  Candidates candidates;
  make_dnnl_matmul_provider()->candidates(*(*module)->main.snapshot()[0], DeviceSpec::host(),
                                          candidates);
  if (candidates.tactics.empty()) GTEST_SKIP() << candidates.refusals[0].reason;
  Program p = lower(R"(
weights { %w0 = parameter "w" : bf16[4,16] }
init { const %c0 = %w0 : bf16[4,16] }
main(%x: bf16[8,16]) { %0 = linear(%x, %c0) : bf16[8,4] %1 = relu(%0) : bf16[8,4] return %1 })",
                    kFuse);
  EXPECT_EQ(p.plan.main.steps.size(), 1u);
  expect_same(p, {}, 4e-3);
}

}  // namespace
}  // namespace kiln
