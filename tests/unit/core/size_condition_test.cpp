#include "core/size_condition.h"

#include <gmock/gmock.h>

namespace kiln {
namespace {

using testing::AllOf;
using testing::HasSubstr;

SizeCondition condition(SizeRelation relation, const std::string& left, const std::string& right) {
  return {relation, DimExpr::parse(left).value(), DimExpr::parse(right).value(),
          "the user's words"};
}

// What decide() says must be what check() finds at every size of the ranges.
TEST(SizeCondition, DecidesOnlyWhatEverySizeConfirms) {
  const SymbolRanges ranges = {{"a", {2, 9}}, {"b", {4, 7}}};
  const char* sides[] = {"a", "b", "a + b", "2*a", "2*a + 1", "mod(a, 2)", "mod(2*a, 2)", "0", "1",
                         "2", "9", "10", "a*b", "floordiv(a, 4)", "min(a, b)", "max(a, b)", "-a"};
  int decided = 0, open = 0;
  for (const SizeRelation relation :
       {SizeRelation::kEq, SizeRelation::kNe, SizeRelation::kLt, SizeRelation::kLe}) {
    for (const char* left : sides) {
      for (const char* right : sides) {
        const SizeCondition c = condition(relation, left, right);
        const auto known = c.decide(ranges);
        ++(known ? decided : open);
        if (!known) continue;
        for (int64_t a = 2; a <= 9; ++a) {
          for (int64_t b = 4; b <= 7; ++b) {
            EXPECT_EQ(c.check({{"a", a}, {"b", b}}).ok(), *known) << c.to_string();
          }
        }
      }
    }
  }
  EXPECT_GT(decided, 400);
  EXPECT_GT(open, 200);
}

TEST(SizeCondition, DecidesWithoutBounds) {
  const SymbolRanges ranges = {{"a", {2, DimRange::kNoBound}}};
  EXPECT_EQ(condition(SizeRelation::kLe, "2", "a").decide(ranges), true);
  EXPECT_EQ(condition(SizeRelation::kLt, "a", "2").decide(ranges), false);
  EXPECT_EQ(condition(SizeRelation::kLt, "a", "1000000").decide(ranges), std::nullopt);
  EXPECT_EQ(condition(SizeRelation::kEq, "mod(4*a, 2)", "0").decide(ranges), true);
  EXPECT_EQ(condition(SizeRelation::kEq, "mod(a, 2)", "0").decide(ranges), std::nullopt);
}

TEST(SizeCondition, ErrorHasTheTextTheRelationAndTheSizes) {
  const SizeCondition c = condition(SizeRelation::kEq, "mod(a, 2)", "b");
  EXPECT_TRUE(c.check({{"a", 6}, {"b", 0}}).ok());
  const Status status = c.check({{"a", 7}, {"b", 0}});
  EXPECT_EQ(status.code(), "K4106");
  EXPECT_THAT(status.message(), AllOf(HasSubstr("the user's words"), HasSubstr("mod(a, 2) == b"),
                                      HasSubstr("a = 7, b = 0")));
  EXPECT_EQ(c.check({{"a", 7}}).code(), "K2101");
}

TEST(SizeCondition, NamesOfRelations) {
  for (const char* name : {"eq", "ne", "lt", "le"}) {
    EXPECT_EQ(relation_name(relation_from_name(name).value()), name);
  }
  EXPECT_EQ(relation_from_name("ge"), std::nullopt);
}

}  // namespace
}  // namespace kiln
