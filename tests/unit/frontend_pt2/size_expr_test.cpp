#include "frontend/pt2/size_expr.h"

#include <gtest/gtest.h>

namespace kiln::pt2 {
namespace {

std::string text_of(const char* expression) {
  Sizes sizes;
  sizes.set_range("s0", {2, 64});
  auto result = sizes.evaluate(expression);
  return result.ok() ? result->to_string() : result.status().code();
}

TEST(SizeExpr, BothFormsOfSympy) {
  EXPECT_EQ(text_of("Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(1))"),
            "2*s0 + 1");
  EXPECT_EQ(text_of("2*s0 + 1"), "2*s0 + 1");
  EXPECT_EQ(text_of("(s0 + 1)*(s1 - 2)"), "-2*s0 + s0*s1 + s1 - 2");
  EXPECT_EQ(text_of("s0**2"), "s0*s0");
  EXPECT_EQ(text_of("FloorDiv(Symbol('s0'), Integer(2))"), "floordiv(s0, 2)");
  EXPECT_EQ(text_of("CeilToInt(IntTrueDiv(s0, 2))"), "floordiv(s0 + 1, 2)");
  EXPECT_EQ(text_of("TruncToInt(IntTrueDiv(s0, 2))"), "floordiv(s0, 2)");
  EXPECT_EQ(text_of("FloorDiv(4*s0*s1 - 2*s0, 2)"), "-s0 + 2*s0*s1");
  EXPECT_EQ(text_of("Mod(4*s0, 2)"), "0");
  EXPECT_EQ(text_of("Max(1, s0)"), "s0");
}

TEST(SizeExpr, RefusesWhatIsNoSize) {
  for (const char* text : {"", "s0 +", "s0/2", "Pow(s0, -1)", "sin(s0)", "FloorDiv(s0, 0)",
                           "9223372036854775807*s0*4", "Symbol('s0"}) {
    EXPECT_EQ(text_of(text), "K1141") << text;
  }
  EXPECT_EQ(text_of(std::string(10000, '(').c_str()), "K1141");
}

TEST(SizeExpr, DecidesByRanges) {
  Sizes sizes;
  sizes.set_range("s0", {2, 64});
  const auto truth = [&](const char* text) { return *sizes.decide(*parse_size(text)); };
  EXPECT_EQ(truth("s0 >= 2"), Truth::kTrue);
  EXPECT_EQ(truth("Eq(s0, 65)"), Truth::kFalse);
  EXPECT_EQ(truth("s0 % 2 == 0"), Truth::kOpen);
  EXPECT_EQ(truth("Ne(s1, 0)"), Truth::kOpen);
  EXPECT_EQ(truth("Eq(8*s0, 8*FloorDiv(2*s0, 2))"), Truth::kTrue);
  EXPECT_EQ(truth("Not(s0 < 2)"), Truth::kTrue);
}

}  // namespace
}  // namespace kiln::pt2
