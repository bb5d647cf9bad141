#include "core/dim.h"

#include <gtest/gtest.h>

#include <random>

namespace kiln {
namespace {

const DimExpr kA = DimExpr::symbol("a");
const DimExpr kB = DimExpr::symbol("b");

TEST(DimExpr, CanonicalFormMakesEqualityStructural) {
  EXPECT_EQ((kA + kB) * (kA + kB), kA * kA + kA * kB * 2 + kB * kB);
  EXPECT_EQ(kA - kA, DimExpr(0));
  EXPECT_EQ(kB * kA, kA * kB);
  EXPECT_NE(kA, kB);
  EXPECT_EQ(DimExpr::max(kA, kB), DimExpr::max(kB, kA));
  EXPECT_EQ(DimExpr::floordiv(kA * 6, 3), kA * 2);
  EXPECT_EQ(DimExpr::mod(kA * 6, 3), DimExpr(0));
  EXPECT_EQ(DimExpr::min(kA, kA + 1), kA);
}

TEST(DimExpr, TextRoundTripsAndKeepsMeaning) {
  std::mt19937 random(7);
  auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 300; ++round) {
    DimExpr e = pick(5);
    for (int i = 0; i < 6; ++i) {
      const DimExpr leaf = pick(2) ? (pick(2) ? kA : kB) : DimExpr(pick(9) - 4);
      switch (pick(7)) {
        case 0: e = e + leaf; break;
        case 1: e = e - leaf; break;
        case 2: e = e * leaf; break;
        case 3: e = DimExpr::floordiv(e, pick(4) + 1); break;
        case 4: e = DimExpr::mod(e, pick(4) + 1); break;
        case 5: e = DimExpr::min(e, leaf); break;
        case 6: e = DimExpr::max(e, leaf); break;
      }
    }
    Result<DimExpr> back = DimExpr::parse(e.to_string());
    ASSERT_TRUE(back.ok()) << e.to_string();
    EXPECT_EQ(*back, e) << e.to_string() << " vs " << back->to_string();
    const SymbolRanges ranges = {{"a", {1, 9}}, {"b", {2, 5}}};
    const DimRange range = e.range(ranges);
    for (int64_t a = 1; a <= 9; ++a) {
      for (int64_t b = 2; b <= 5; ++b) {
        Result<int64_t> value = e.evaluate({{"a", a}, {"b", b}});
        ASSERT_TRUE(value.ok());
        EXPECT_GE(*value, range.min) << e.to_string();
        EXPECT_LE(*value, range.max) << e.to_string();
        const DimExpr substituted = e.substitute({{"a", DimExpr(a)}, {"b", DimExpr(b)}});
        ASSERT_TRUE(substituted.is_constant());
        EXPECT_EQ(substituted.value(), *value) << e.to_string();
      }
    }
  }
}

TEST(DimExpr, FloorDivAndModAreFloored) {
  const DimExpr q = DimExpr::floordiv(kA, kB);
  const DimExpr r = DimExpr::mod(kA, kB);
  EXPECT_EQ(*q.evaluate({{"a", -7}, {"b", 2}}), -4);
  EXPECT_EQ(*r.evaluate({{"a", -7}, {"b", 2}}), 1);
  EXPECT_EQ(*r.evaluate({{"a", 7}, {"b", -2}}), -1);
  EXPECT_EQ(q.evaluate({{"a", 1}, {"b", 0}}).status().code(), "K2101");
}

TEST(DimExpr, EvaluationReportsWhatIsMissingOrTooLarge) {
  EXPECT_EQ(kA.evaluate({}).status().code(), "K2101");
  const int64_t big = int64_t{1} << 40;
  EXPECT_EQ((kA * kA).evaluate({{"a", big}}).status().code(), "K2101");
}

TEST(DimExpr, RefusesDamagedText) {
  for (const char* text :
       {"", "a +", "(a", "a)", "2 3", "foo(a, b)", "min(a)", "99999999999999999999", "a**b"}) {
    EXPECT_EQ(DimExpr::parse(text).status().code(), "K2102") << text;
  }
}

TEST(DimExpr, DividesOnlyWhenExact) {
  DimExpr q;
  EXPECT_TRUE(DimExpr::divide_exactly(kA * kB * 4, kA * 2, &q));
  EXPECT_EQ(q, kB * 2);
  EXPECT_FALSE(DimExpr::divide_exactly(kA * 3, 2, &q));
  EXPECT_FALSE(DimExpr::divide_exactly(kA + 1, kA, &q));
}

}  // namespace
}  // namespace kiln
