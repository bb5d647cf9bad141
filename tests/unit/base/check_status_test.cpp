#include <gtest/gtest.h>

#include "base/check.h"
#include "base/status.h"

namespace kiln {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return Status::error("K1999", "not even: " + std::to_string(n), "double it");
  return n / 2;
}

Result<int> quarter(int n) {
  KILN_ASSIGN_OR_RETURN(const int once, half(n));
  KILN_ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Status rises() {
  KILN_RETURN_IF_ERROR(half(3).status());
  return {};
}

TEST(Status, OkIsEmpty) {
  Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), "");
  EXPECT_EQ(status.to_string(), "ok");
}

TEST(Status, CarriesCodeOriginAndHint) {
  Status status = std::move(Status::error("K1203", "text: 3", "do that").at("inner")).at("outer");
  EXPECT_EQ(status.code(), "K1203");
  EXPECT_EQ(status.to_string(), "K1203: text: 3 (at inner, outer); hint: do that");
  Status copy = status;
  status = Status();
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(copy.message(), "text: 3");
}

TEST(Status, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).status().message(), "not even: 3");
  EXPECT_EQ(rises().code(), "K1999");
}

TEST(Check, ThrowsWithBothValues) {
  KILN_CHECK_EQ(1 + 1, 2);
  try {
    KILN_CHECK_LT(7, 5);
    FAIL() << "did not throw";
  } catch (const InternalError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("7 < 5: 7 vs 5"), std::string::npos) << text;
    EXPECT_NE(text.find("check_status_test.cpp:"), std::string::npos) << text;
  }
}

TEST(Check, EvaluatesOnce) {
  int calls = 0;
  KILN_CHECK_EQ(++calls, 1);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace kiln
