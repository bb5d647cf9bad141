#include "runtime/input_symbols.h"

#include <gmock/gmock.h>

namespace kiln {
namespace {

using testing::HasSubstr;

DimExpr expr(const std::string& text) { return DimExpr::parse(text).value(); }

TensorSignature signature(const std::string& name, std::vector<std::string> dims) {
  TensorSignature result;
  result.name = name;
  for (const std::string& dim : dims) result.dims.push_back(expr(dim));
  return result;
}

TEST(InputSymbols, LinearDimsAreSolved) {
  const std::vector<TensorSignature> inputs = {signature("x", {"s0", "2*s1 + 3"}),
                                               signature("y", {"s0*s1", "s0 + s1"})};
  SymbolValues symbols;
  ASSERT_TRUE(solve_symbols(inputs, {}, {{4, 13}, {20, 9}}, symbols).ok());
  EXPECT_EQ(symbols, (SymbolValues{{"s0", 4}, {"s1", 5}}));
}

TEST(InputSymbols, LaterInputMayDefineWhatEarlierUses) {
  const std::vector<TensorSignature> inputs = {signature("x", {"s0*s1"}),
                                               signature("y", {"s0", "s1"})};
  SymbolValues symbols;
  ASSERT_TRUE(solve_symbols(inputs, {}, {{6}, {2, 3}}, symbols).ok());
  symbols.clear();
  EXPECT_EQ(solve_symbols(inputs, {}, {{7}, {2, 3}}, symbols).code(), "K4106");
}

TEST(InputSymbols, RangeErrorNamesInputDimValueAndRange) {
  const std::vector<TensorSignature> inputs = {signature("ids", {"s0", "2*s1"})};
  const SymbolRanges ranges = {{"s0", {1, 8}}, {"s1", {2, 16}}};
  SymbolValues symbols;
  Status status = solve_symbols(inputs, ranges, {{9, 4}}, symbols);
  EXPECT_EQ(status.code(), "K4105");
  EXPECT_THAT(status.message(), testing::AllOf(HasSubstr("'ids'"), HasSubstr("dim 0"),
                                               HasSubstr("is 9"), HasSubstr("[1, 8]")));
  symbols.clear();
  status = solve_symbols(inputs, ranges, {{8, 34}}, symbols);
  EXPECT_EQ(status.code(), "K4105");
  EXPECT_THAT(status.message(),
              testing::AllOf(HasSubstr("dim 1"), HasSubstr("is 34"), HasSubstr("[4, 32]")));
  symbols.clear();
  EXPECT_TRUE(solve_symbols(inputs, ranges, {{8, 32}}, symbols).ok());
}

TEST(InputSymbols, NumbersDetermineSymbolsAndMayBeNegative) {
  TensorSignature number = signature("n", {});
  number.is_object = true;
  number.number = expr("s0");
  const std::vector<TensorSignature> inputs = {number, signature("x", {"s0 + 8"})};
  const SymbolRanges ranges = {{"s0", {-8, 8}}};
  EXPECT_TRUE(check_solvable(inputs, ranges).ok());
  SymbolValues symbols;
  ASSERT_TRUE(solve_symbols(inputs, ranges, {{-3}, {5}}, symbols).ok());
  EXPECT_EQ(symbols, (SymbolValues{{"s0", -3}}));
  symbols.clear();
  EXPECT_EQ(solve_symbols(inputs, ranges, {{-3}, {6}}, symbols).code(), "K4106");
  symbols.clear();
  const Status status = solve_symbols(inputs, ranges, {{9}, {17}}, symbols);
  EXPECT_EQ(status.code(), "K4105");
  EXPECT_THAT(status.message(), testing::AllOf(HasSubstr("input 'n' is 9"), HasSubstr("[-8, 8]")));
}

TEST(InputSymbols, SizeThatNoIntegerGives) {
  SymbolValues symbols;
  const Status status =
      solve_symbols({signature("x", {"2*s0 + 1"})}, {{"s0", {0, 100}}}, {{4}}, symbols);
  EXPECT_EQ(status.code(), "K4105");
  EXPECT_THAT(status.message(), testing::AllOf(HasSubstr("'x' dim 0 is 4"), HasSubstr("2*s0 + 1")));
}

TEST(InputSymbols, ContradictionNamesWhatItContradicts) {
  const std::vector<TensorSignature> inputs = {signature("x", {"s0"}), signature("y", {"s0"})};
  SymbolValues symbols;
  const Status status = solve_symbols(inputs, {}, {{3}, {4}}, symbols);
  EXPECT_EQ(status.code(), "K4106");
  EXPECT_THAT(status.message(), testing::AllOf(HasSubstr("'y' dim 0 is 4"), HasSubstr("expected 3"),
                                               HasSubstr("s0")));
}

TEST(InputSymbols, FixedSize) {
  SymbolValues symbols;
  const Status status = solve_symbols({signature("x", {"7"})}, {}, {{8}}, symbols);
  EXPECT_EQ(status.code(), "K4105");
  EXPECT_THAT(status.message(), testing::AllOf(HasSubstr("is 8"), HasSubstr("expected 7")));
}

TEST(InputSymbols, NegativeAndHugeSizes) {
  SymbolValues symbols;
  EXPECT_EQ(solve_symbols({signature("x", {"s0"})}, {}, {{-1}}, symbols).code(), "K4105");
  symbols.clear();
  EXPECT_EQ(solve_symbols({signature("x", {"s0"})}, {}, {{INT64_MIN}}, symbols).code(), "K4105");
  symbols.clear();
  EXPECT_EQ(
      solve_symbols({signature("x", {"s0 - 9223372036854775807"})}, {}, {{INT64_MAX}}, symbols)
          .code(),
      "K4105");
  symbols.clear();
  // s0*s0 overflows.
  EXPECT_FALSE(
      solve_symbols({signature("x", {"s0", "s0*s0"})}, {}, {{INT64_MAX, 4}}, symbols).ok());
}

TEST(InputSymbols, DerivedDims) {
  const std::vector<TensorSignature> inputs = {
      signature("x", {"s0", "floordiv(s0, 2)", "mod(s0, 3) + 1"})};
  SymbolValues symbols;
  EXPECT_TRUE(solve_symbols(inputs, {}, {{7, 3, 2}}, symbols).ok());
  symbols.clear();
  EXPECT_EQ(solve_symbols(inputs, {}, {{7, 4, 2}}, symbols).code(), "K4106");
}

TEST(InputSymbols, SolvableOrNot) {
  EXPECT_TRUE(check_solvable({signature("x", {"s0*s1", "s0", "3*s1"})}, {}).ok());
  const Status status = check_solvable({signature("x", {"s0*s1", "s0"})}, {});
  EXPECT_EQ(status.code(), "K3105");
  EXPECT_THAT(status.message(), HasSubstr("s1"));
  EXPECT_EQ(check_solvable({signature("x", {"s0"})}, {{"s0", {5, 4}}}).code(), "K3105");
  const SizeCondition condition{SizeRelation::kEq, expr("s1"), expr("s0"), ""};
  EXPECT_EQ(check_solvable({signature("x", {"s0"})}, {}, {condition}).code(), "K3105");
}

}  // namespace
}  // namespace kiln
