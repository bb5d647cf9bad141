#include "kiln-opt/execution.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

std::unique_ptr<Module> parse_ok(const std::string& text) {
  Result<std::unique_ptr<Module>> module = parse_module(text);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  EXPECT_TRUE(!module.ok() || verify(**module).ok()) << verify(**module).to_string();
  return module.ok() ? std::move(module).value() : nullptr;
}

// Compares "y = <before>" with "y = <after>" over f32 inputs x and y of ?s elements.
std::string compare_code(const std::string& before, const std::string& after,
                         const ExecutionRules& rules = {}) {
  auto text = [](const std::string& body) {
    return "symbols { s in [1, 9] } main(%x: f32[?s], %y: f32[?s]) { " + body + " }";
  };
  return compare_by_execution(*parse_ok(text(before)), *parse_ok(text(after)), rules).code();
}

TEST(CompareByExecution, AgreesUpToRoundingOnly) {
  const std::string add3 = "%0 = add(%x, %y) : f32[?s] %1 = add(%0, %x) : f32[?s] return %1";
  const std::string other = "%0 = add(%x, %x) : f32[?s] %1 = add(%0, %y) : f32[?s] return %1";
  EXPECT_EQ(compare_code(add3, add3), "");
  EXPECT_EQ(compare_code(add3, other), "");
  ExecutionRules exact;
  exact.tolerance = 0;
  EXPECT_EQ(compare_code(add3, add3, exact), "");
  const std::string third = "%0 = div(%x, %y) : f32[?s] %1 = mul(%0, %y) : f32[?s] return %1";
  EXPECT_EQ(compare_code("return %x", third), "");
  EXPECT_EQ(compare_code("return %x", third, exact), "K9101");
}

TEST(CompareByExecution, FindsDifferences) {
  EXPECT_EQ(
      compare_code("%0 = add(%x, %y) : f32[?s] return %0", "%0 = sub(%x, %y) : f32[?s] return %0"),
      "K9101");
  EXPECT_EQ(
      compare_code("%0 = sub(%x, %y) : f32[?s] return %0", "%0 = sub(%y, %x) : f32[?s] return %0"),
      "K9101");
  EXPECT_EQ(compare_code("return %x", "return %y"), "K9101");
  EXPECT_EQ(compare_code("return %x", "return %x, %y"), "K9101");
  EXPECT_EQ(compare_code("return %x", "%0 = cast(%x) {dtype=f64} : f64[?s] return %0"), "K9101");
  // One is NaN where the other is not.
  EXPECT_EQ(compare_code("%0 = log(%x) : f32[?s] return %0", "%0 = exp(%x) : f32[?s] return %0"),
            "K9101");
}

// A difference that shows only when a size is larger than the smallest one, or only then.
TEST(CompareByExecution, TriesTypicalAndSmallestSizes) {
  const std::string sum =
      "%0 = reduce_sum(%x) {axes=[0], keepdim=true} : f32[1] "
      "%1 = add(%x, %0) : f32[?s] return %1";
  const std::string twice = "%0 = add(%x, %x) : f32[?s] return %0";
  EXPECT_EQ(compare_code(sum, twice), "K9101");
}

TEST(CompareByExecution, RefusesToProveNothing) {
  const std::string zero = "%0 = sub(%x, %x) : f32[?s] return %0";
  EXPECT_EQ(compare_code(zero, zero), "K9102");
  ExecutionRules rules;
  rules.trivial_outputs = true;
  EXPECT_EQ(compare_code(zero, zero, rules), "");
  EXPECT_EQ(compare_code(zero, "return %x", rules), "K9101");
  const std::string nan = "%0 = sub(%x, %x) : f32[?s] %1 = div(%0, %0) : f32[?s] return %1";
  EXPECT_EQ(compare_code(nan, nan, rules), "K9102");
}

TEST(CompareByExecution, SaysWhichSideDoesNotExecute) {
  const std::string call = "%0 = aten.call(%x) {call=my::op(%0)} : f32[?s] return %0";
  EXPECT_EQ(compare_code(call, "return %x"), "K9103");
  EXPECT_EQ(compare_code("return %x", call), "K9104");
}

TEST(CompareByExecution, DataFollowsTheRulesAndNames) {
  ExecutionRules rules;
  const std::string log = "%0 = log(%x) : f32[?s] return %0";
  rules.data["x"] = DataRule{DataKind::kPositive, 1};
  EXPECT_EQ(compare_code(log, log, rules), "");
  // Weights keep their data wherever they stand.
  std::unique_ptr<Module> a = parse_ok(
      "weights { %w0 = parameter \"a\" : f32[3] %w1 = parameter \"b\" : f32[3] }"
      " init { const %c0 = %w0 : f32[3] const %c1 = %w1 : f32[3] }"
      " main() { %0 = sub(%c0, %c1) : f32[3] return %0 }");
  std::unique_ptr<Module> b = parse_ok(
      "weights { %w0 = parameter \"b\" : f32[3] %w1 = parameter \"a\" : f32[3] }"
      " init { const %c0 = %w1 : f32[3] const %c1 = %w0 : f32[3] }"
      " main() { %0 = sub(%c0, %c1) : f32[3] return %0 }");
  EXPECT_TRUE(compare_by_execution(*a, *b, {}).ok());
  b->main.snapshot()[0]->set_operands({b->main.constants()[1], b->main.constants()[0]});
  EXPECT_EQ(compare_by_execution(*a, *b, {}).code(), "K9101");
}

}  // namespace
}  // namespace kiln
