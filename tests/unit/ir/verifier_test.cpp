#include <gtest/gtest.h>

#include "ir/module.h"

namespace kiln {
namespace {

std::string verify_code(const char* text) {
  Result<std::unique_ptr<Module>> module = parse_module(text);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  return module.ok() ? verify(**module).code() : "unparsed";
}

TEST(Verifier, AcceptsASoundModule) {
  EXPECT_EQ(verify_code("symbols { b in [1, 4] } main(%x: f32[?b]) {"
                        " %0 = t_add(%x, %x) : f32[?b] return %0 {writes=%x} }"),
            "");
}

TEST(Verifier, ComparesTypesWithWhatOpsInfer) {
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_add(%x, %x) : f32[3] return %0 }"), "K2402");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_add(%x, %x) : f16[2] return %0 }"), "K2402");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_add(%x, %x) : scalar.i64 return %0 }"), "K2402");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0, %1 = t_add(%x, %x) : f32[2], f32[2] return }"),
            "K2402");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { t_add(%x, %x) return }"), "K2402");
  // A layout is chosen, not inferred.
  EXPECT_EQ(verify_code("main(%x: f32[2,3]) { %0 = t_add(%x, %x) : f32[2,3]@order(1,0) return }"),
            "");
  EXPECT_EQ(verify_code("main(%x: f32[2,3]@nhwc) { return }"), "K2402");
}

TEST(Verifier, AsksTheOps) {
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_attrs(%x) {n=101} : f32[2] return }"), "K2207");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_add(%x) : f32[2] return }"), "K2201");
  EXPECT_EQ(verify_code("main(%x: scalar.i64) { %0 = t_pair(%x) : f32[2] return }"), "K2213");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_body(%x) : f32[2] return }"), "K2206");
}

TEST(Verifier, LooksIntoBodies) {
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_body(%x) : f32[2] body(%a: f32[2]) {"
                        " %0 = t_add(%a, %a) : f32[3] return %a } return }"),
            "K2402");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { %0 = t_body(%x) : f32[2] body(%a: f32[2])"
                        " constants(%c0: f32[2]) { return %a } return }"),
            "K2401");
}

TEST(Verifier, SymbolsMustBeDeclaredAndPossible) {
  EXPECT_EQ(verify_code("main(%x: f32[?b]) { return }"), "K2402");
  EXPECT_EQ(verify_code("symbols { b in [1, 4] } conditions { \"s\" le \"b\" : \"\" } "
                        "main(%x: f32[?b]) { return }"),
            "K2402");
  EXPECT_EQ(verify_code("symbols { b in [5, 4] } main(%x: f32[?b]) { return }"), "K2402");
}

TEST(Verifier, ChecksStateAndViews) {
  const auto state = [](const char* type, const char* weight) {
    return std::string("weights { %w0 = buffer \"b\" : ") + weight + " } main(%x: " + type +
           " {state=%w0}) { return %x {writes=%x} }";
  };
  EXPECT_EQ(verify_code(state("f32[2]", "f32[2]").c_str()), "");
  EXPECT_EQ(verify_code(state("f32[2]", "f32[3]").c_str()), "K2403");
  EXPECT_EQ(verify_code(state("f32[2]", "f16[2]").c_str()), "K2403");
  const auto view = [](const char* properties) {
    return std::string("main(%x: f32[2,3], %y: f32[3,2]) { return %y {") + properties +
           "}, %x, %x {writes=%x} }";
  };
  EXPECT_EQ(verify_code(view("view_of=%x, view=[permute(1, 0)]").c_str()), "");
  EXPECT_EQ(verify_code(view("view_of=#1, view=[permute(1, 0)]").c_str()), "");
  for (const char* bad : {"view_of=%x", "view_of=%x, view=[permute(0, 1)]",
                          "view_of=%x, view=[permute(0, 0)]", "view_of=%x, view=[reshape(7)]",
                          "view_of=#0", "view_of=#2, view=[permute(1, 0)]", "view_of=#9",
                          "view=[permute(1, 0)]", "view_of=%x, view=[slice(5, 0, 1, 1)]",
                          "view_of=%x, view=[expand(3)]"}) {
    EXPECT_EQ(verify_code(view(bad).c_str()), "K2403") << bad;
  }
}

TEST(Verifier, ChecksTheSignature) {
  EXPECT_EQ(verify_code("main(%x: f32[2], %y: f32[3]) { return %x {writes=%y} }"), "K2403");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { return %x {writes=%x}, %x {writes=%x} }"), "K2403");
  EXPECT_EQ(verify_code("main(%x: f32[2] {order=[1, 0]}) { return }"), "K2403");
  EXPECT_EQ(verify_code("main(%x: f32[2] {strides=[2, 1]}) { return }"), "K2403");
  EXPECT_EQ(verify_code("main(%x: f32[2] {sizes=[2]}) { return }"), "K2403");
  EXPECT_EQ(verify_code("main(%x: f32[2]) { return %x {order=[1]} }"), "K2403");
  EXPECT_EQ(verify_code("weights { %w0 = buffer \"a\" : f32[2] %w1 = buffer \"a\" : f32[2] }"
                        " main() { return }"),
            "K2403");
  EXPECT_EQ(verify_code("symbols { b in [1, 2] } weights { %w0 = buffer \"a\" : f32[?b] }"
                        " main() { return }"),
            "K2403");
  EXPECT_EQ(verify_code("weights { %w0 = buffer \"a\" : f32[2] } init { const %c0 = %w0 : f32[3] }"
                        " main() { return }"),
            "K2403");
}

TEST(Verifier, FindsUsesBeforeTheDefinition) {
  Result<std::unique_ptr<Module>> module = parse_module(
      "main(%x: f32[2]) { %0 = t_add(%x, %x) : f32[2] %1 = t_add(%0, %x) : f32[2]"
      " loc(\"head\" \"m.py:7\") return %1 }");
  ASSERT_TRUE(module.ok());
  Graph& main = (*module)->main;
  main.move_before(main.snapshot()[1], main.snapshot()[0]);
  const Status status = verify(**module);
  EXPECT_EQ(status.code(), "K2401");
  EXPECT_NE(status.to_string().find("head (m.py:7)"), std::string::npos) << status.to_string();
}

TEST(Verifier, FindsAnOutputOfNowhere) {
  Module module;
  Graph other;
  module.main.add_output(other.add_input(Type(DType::kF32, {2})));
  module.outputs.emplace_back();
  EXPECT_EQ(verify(module).code(), "K2401");
}

TEST(Fingerprint, SeesStructureAndNotNames) {
  auto hash = [](const char* text) {
    Result<std::unique_ptr<Module>> module = parse_module(text);
    EXPECT_TRUE(module.ok()) << module.status().to_string();
    return module.ok() ? fingerprint(**module) : "";
  };
  const std::string base = hash(
      "main(%x: f32[2], %y: f32[2]) { %0 = t_add(%x, %y) : f32[2]"
      " return %0 }");
  EXPECT_EQ(base, hash("main(%p: f32[2], %q: f32[2]) { %9 = t_add(%p, %q) : f32[2]"
                       " loc(\"a\" \"b\") return %9 {name=\"r\"} }"));
  std::set<std::string> all{base};
  for (const char* text :
       {"main(%x: f32[2], %y: f32[2]) { %0 = t_add(%y, %x) : f32[2] return %0 }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_add(%x, %y, %x) : f32[2] return %0 }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_add(%x, %y) : f32[2] return %x }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_add(%x, %y) : f32[2] return }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_add(%x, %y) : f32[2] return %0 {writes=%y} }",
        "main(%x: f32[2], %y: f32[2] {state}) { %0 = t_add(%x, %y) : f32[2] return %0 }",
        "main(%x: f16[2], %y: f16[2]) { %0 = t_add(%x, %y) : f16[2] return %0 }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_attrs(%x) : f32[2] return %0 }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_attrs(%x) {n=4} : f32[2] return %0 }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_attrs(%x) {value=i8[1](1)} : f32[2] return %0 }",
        "main(%x: f32[2], %y: f32[2]) { %0 = t_attrs(%x) {value=u8[1](1)} : f32[2] return %0 }"}) {
    EXPECT_TRUE(all.insert(hash(text)).second) << text;
  }
}

}  // namespace
}  // namespace kiln
