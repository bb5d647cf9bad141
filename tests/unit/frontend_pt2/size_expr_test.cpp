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

TEST(SizeExpr, SourcesAreSizesOrNumbers) {
  Sizes sizes;
  std::vector<std::pair<std::string, int64_t>> asked;
  const Polynomial size = Polynomial::atom("s0");
  sizes.source = [&](const std::string& name, int64_t dim) -> const Polynomial* {
    asked.emplace_back(name, dim);
    return &size;
  };
  const auto relation = parse_size(
      "L['n'] >= 0 and "
      "L['more'][0].part['a]b'] <= L['x'].size()[1] * L['flat_args'][12].size()[0]");
  ASSERT_TRUE(relation.ok());
  ASSERT_EQ(relation->name, "and");
  ASSERT_TRUE(is_relation(relation->args[0]) && is_relation(relation->args[1]));
  EXPECT_FALSE(is_relation(*relation));
  for (const SizeNode& part : relation->args) {
    for (const SizeNode& side : part.args) ASSERT_TRUE(sizes.evaluate(side).ok());
  }
  EXPECT_EQ(asked, (std::vector<std::pair<std::string, int64_t>>{{"L['n']", -1},
                                                                 {"L['more'][0].part['a]b']", -1},
                                                                 {"L['x']", 1},
                                                                 {"L['flat_args'][12]", 0}}));
  for (const char* text : {"L['n", "L[", "L['x'].", "L['x'].size()[", "L['x'].size()[-1]",
                           "L['x'].size()[1", "L['x']..y", "L['x'].size()"}) {
    EXPECT_FALSE(parse_size(text).ok()) << text;
  }
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
