#include <gtest/gtest.h>

#include <bit>

#include "base/check.h"
#include "core/text.h"
#include "ir/module.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

constexpr const char* kText = R"(symbols {
  b in [1, 8]
  s in [16, inf]
}
conditions {
  "b*s + 4" eq "8*s" : "a \"quoted\" text"
  "b" lt "s - 16" : ""
}
weights {
  %w0 = parameter "layer1.conv.weight" : f32[4]
  %w1 = buffer "bn.running_var" : f32[4] hash "00ff"
}
init {
  %0 = t_add(%w0, %w1) : f32[4] loc("layer1" "")
  const %c0 = %0 : f32[4] name "fused" loc("layer1" "m.py:1")
  const %c1 = %w1 : f32[4]
}
main(%x: f32[?b,4]@order(1,0) loc("inputs" "m.py:2"), %a1: f32[?b,4] {state, order=[1, 0], strides=[1, ?b], name="cache.0"}, %n: scalar.i64 {number="2*b - s"}, %z: host<"dtype complex64"> {sizes=[?s, 3]}) {
  %0, %1 = t_pair(%x) : f32[?b,4], f32[?b,4]
  %2 = t_add(%0, %1, %x) : f32[?b,4] loc("a" "b.py:1")
  %3 = t_attrs(%2) {flag=false, n=-4, eps=0.1, mode="a\"}\n", to=bf16, pads=[1, -2], size=?(b + 1), sizes=[?b, 3], call=aten::f.x(%0, [1, "}"], ?(2*b)), value=f32[2](1.0, -0.0), scales=[1.0, inf]} : f32[?b,4]
  t.call(%n, _, %3)
  %4 = t.call() : host<"tensor list">
  %5 = t_body(%3) : f32[?b,4] body(%p: f32[?b,4]) {
    %0 = t_body(%p) : f32[?b,4] body(%a0: f32[?b,4]) {
      return %a0
    }
    return %0
  }
  return %5, %2 {writes=%a1}, %x {view_of=%x, order=[1, 0], name="y"}, %c0, %c1
}
)";

std::unique_ptr<Module> parse_ok(std::string_view text) {
  Result<std::unique_ptr<Module>> module = parse_module(text);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  return module.ok() ? std::move(module).value() : nullptr;
}

TEST(TextForm, RoundTripsExactlyAndVerifies) {
  std::unique_ptr<Module> module = parse_ok(kText);
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(print(*module), kText);
  EXPECT_TRUE(verify(*module).ok()) << verify(*module).to_string();
  std::unique_ptr<Module> again = parse_ok(print(*module));
  EXPECT_EQ(fingerprint(*again), fingerprint(*module));
  EXPECT_EQ(module->inputs[1].name, "cache.0");
  EXPECT_EQ(module->outputs[1].target, 1);
  EXPECT_EQ(print(*module->clone()), kText);
}

TEST(TextForm, StateAndViews) {
  const char* text = R"(weights {
  %w0 = buffer "cache" : f32[4]
}
main(%x: f32[4,?n], %a1: f32[4] {state=%w0, name="block.cache"}, %s: f32[2] {state}) {
  %0 = t_add(%x, %x) : f32[4,?n]
  return %0, %0 {view_of=#0}, %0 {view_of=%x, view=[slice(1, 0, ?n, 1), permute(1, 0), reshape(4, ?n), expand(4, ?(2*n - n))]}
}
)";
  std::unique_ptr<Module> module = parse_ok(text);
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(module->inputs[1].initial, "cache");
  EXPECT_EQ(module->outputs[1].kind, OutputSpec::Kind::kViewOfOutput);
  ASSERT_EQ(module->outputs[2].view.size(), 4u);
  std::string expected = text;
  expected.replace(expected.find("?(2*n - n)"), 10, "?n");
  EXPECT_EQ(print(*module), expected);
  EXPECT_EQ(module->clone()->inputs[1].initial, "cache");
  module->prune();
  EXPECT_EQ(module->weights.size(), 1u) << "the state starts from it";
}

TEST(TextForm, NumbersByPositionWhateverTheNamesWere) {
  std::unique_ptr<Module> module = parse_ok(
      "main(%q: f32[2]) { %z = t_add(%q, %q) : f32[2] // comment\n"
      " %a = t_add(%z, %q) : f32[2] return %a }");
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(print(*module),
            "main(%q: f32[2]) {\n  %0 = t_add(%q, %q) : f32[2]\n  %1 = t_add(%0, %q) : f32[2]\n"
            "  return %1\n}\n");
}

TEST(TextForm, GraphsRoundTrip) {
  constexpr const char* kGraph =
      "graph(%a0: f32[2], %y: f32[2]) constants(%c0: f32[2]) {\n"
      "  %0 = t_add(%a0, %c0) : f32[2]\n"
      "  return %0, %y\n}\n";
  Result<std::unique_ptr<Graph>> graph = parse_graph(kGraph);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  EXPECT_EQ(print(**graph), kGraph);
}

TEST(TextForm, ArgumentNamesThatClashOrMisleadAreNotPrinted) {
  Graph graph;
  for (const char* name : {"x", "x", "c7", "_", "a.b", "3", "", "a", "a0"}) {
    graph.add_input(Type(DType::kF32, {}), name);
  }
  EXPECT_EQ(print(graph),
            "graph(%x: f32[], %a1: f32[], %a2: f32[], %a3: f32[], %a4: f32[], %a5: f32[], "
            "%a6: f32[], %a: f32[], %a8: f32[]) {\n  return\n}\n");
}

TEST(TextForm, EveryTruncationIsRefused) {
  const std::string text = kText;
  for (size_t n = 0; n + 1 < text.size(); ++n) {
    Result<std::unique_ptr<Module>> module = parse_module(text.substr(0, n));
    ASSERT_FALSE(module.ok()) << n;
    EXPECT_EQ(module.status().code()[0], 'K');
  }
}

// Any change of one character gives an error or a module that still prints to a fixed point.
TEST(TextForm, ChangedCharactersNeverCrash) {
  const std::string text = kText;
  int parsed = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    for (char c : {'0', '%', ')', '{', '"', '\\', '-', 'x', ','}) {
      std::string changed = text;
      changed[i] = c;
      Result<std::unique_ptr<Module>> module = parse_module(changed);
      if (!module.ok()) continue;
      ++parsed;
      const std::string printed = print(**module);
      Result<std::unique_ptr<Module>> again = parse_module(printed);
      ASSERT_TRUE(again.ok()) << again.status().to_string() << "\n" << printed;
      ASSERT_EQ(print(**again), printed);
      (void)verify(**module).ok();
    }
  }
  EXPECT_GT(parsed, 0);
}

TEST(TextForm, ErrorsNameThePlace) {
  auto message = [](const char* text) { return parse_module(text).status().to_string(); };
  EXPECT_NE(message("main(%x: f32[2]) {\n  %0 = nothing(%x) : f32[2]\n}").find("line 2"),
            std::string::npos);
  EXPECT_NE(message("main(%x: f32[2]) {\n return %y }").find("%y is not defined"),
            std::string::npos);
  EXPECT_NE(message("main(%x: f32[2], %x: f32[2]) { return }").find("defined twice"),
            std::string::npos);
  EXPECT_NE(message("main(%x: f32[2]) { %0 = t_attrs(%x) {n=1, n=2} : f32[2] return }")
                .find("given twice"),
            std::string::npos);
  EXPECT_NE(message("main(%x: f32[2]) { %0 = t_required(%x) : f32[2] return }").find("missing"),
            std::string::npos);
}

TEST(TextForm, DeepNestingIsRefused) {
  std::string text = "main() { ";
  for (int i = 0; i < 10000; ++i) text += "t_body() body() { ";
  EXPECT_FALSE(parse_module(text).ok());
}

TEST(AttrText, TensorsRoundTripBitByBit) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    for (int64_t count : {0, 1, 16, 17}) {
      HostTensor tensor(static_cast<DType>(i), {count, 1});
      for (size_t k = 0; k < tensor.num_bytes(); ++k) {
        tensor.bytes()[k] = static_cast<std::byte>(k * 37 + 200);  // NaNs and odd bools included
      }
      const std::string text = attr_to_text(tensor);
      TextCursor cursor(text);
      Result<Attr> back = parse_attr(cursor, AttrKind::kTensor);
      ASSERT_TRUE(back.ok()) << text;
      EXPECT_TRUE(attrs_equal(*back, Attr(tensor))) << text;
      EXPECT_TRUE(cursor.at_end());
    }
  }
}

TEST(AttrText, RefusesTensorsThatDoNotFitTheirShape) {
  for (const char* text :
       {"f32[2](1.0)", "f32[1](1.0, 2.0)", "i8[1](300)", "f32[1]x\"00\"", "f32[1]x\"0000zz00\"",
        "f32[9999999999,9999999999](1.0)", "f32[-1]()", "u8[1](-1)", "f32[100000]x\"\""}) {
    TextCursor cursor(text);
    EXPECT_EQ(parse_attr(cursor, AttrKind::kTensor).status().code(), "K2302") << text;
  }
}

TEST(AttrEquality, IsBitwise) {
  EXPECT_FALSE(attrs_equal(0.0, -0.0));
  const double nan = std::bit_cast<double>(uint64_t{0x7ff8000000000001});
  EXPECT_TRUE(attrs_equal(nan, nan));
  EXPECT_TRUE(attrs_equal(Call{"f", "", {nan}}, Call{"f", "", {nan}}));
  EXPECT_FALSE(attrs_equal(int64_t{1}, 1.0));
}

TEST(OpRegistry, RefusesContradictions) {
  OpRegistry registry;
  OpDef def;
  def.name = "x";
  def.fields = {FieldDef{"n", AttrKind::kInts, {}, false, ""}};
  registry.add(def);
  EXPECT_EQ(attr_kind(registry.get("x").fields[0].default_value), AttrKind::kInts);
  EXPECT_THROW(registry.add(def), InternalError);
  def.name = "y";
  def.fields[0].default_value = 1.5;
  EXPECT_THROW(registry.add(def), InternalError);
  EXPECT_EQ(registry.find("y"), nullptr);
  EXPECT_THROW(registry.get("y"), InternalError);
}

}  // namespace
}  // namespace kiln
