#include "base/log.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

std::string* captured = nullptr;

class LogTest : public testing::Test {
 protected:
  LogTest() {
    captured = &lines_;
    set_log_sink([](std::string_view line) { captured->append(line); });
    EXPECT_TRUE(set_log_levels("").ok());
  }
  ~LogTest() override {
    set_log_sink(nullptr);
    EXPECT_TRUE(set_log_levels("").ok());
  }

  std::string lines_;
};

TEST_F(LogTest, SilentAndFreeByDefault) {
  int evaluated = 0;
  KILN_LOG(kPasses, kWarning) << ++evaluated;
  EXPECT_EQ(evaluated, 0);
  EXPECT_EQ(lines_, "");
}

TEST_F(LogTest, LevelsByArea) {
  ASSERT_TRUE(set_log_levels("passes=debug,runtime=info").ok());
  KILN_LOG(kPasses, kDebug) << "folded " << 3;
  KILN_LOG(kRuntime, kDebug) << "no";
  KILN_LOG(kRuntime, kInfo) << "yes";
  KILN_LOG(kCpu, kWarning) << "no";
  EXPECT_EQ(lines_, "kiln passes debug: folded 3\nkiln runtime info: yes\n");
}

TEST_F(LogTest, AllAreasWithOneException) {
  ASSERT_TRUE(set_log_levels("info,torch=off").ok());
  KILN_LOG(kTorch, kWarning) << "no";
  KILN_LOG(kFusion, kInfo) << "yes";
  EXPECT_EQ(lines_, "kiln fusion info: yes\n");
}

TEST_F(LogTest, UnknownNamesAreErrorsAndChangeNothing) {
  ASSERT_TRUE(set_log_levels("info").ok());
  const Status area = set_log_levels("pases=debug");
  EXPECT_EQ(area.code(), "K1003");
  EXPECT_EQ(area.hint(), "did you mean passes?");
  EXPECT_EQ(set_log_levels("passes=loud").code(), "K1003");
  EXPECT_EQ(set_log_levels("passes").code(), "K1003");
  EXPECT_TRUE(log_enabled(LogArea::kPasses, LogLevel::kInfo));
  EXPECT_FALSE(log_enabled(LogArea::kPasses, LogLevel::kDebug));
}

TEST_F(LogTest, NoDanglingElse) {
  bool taken = false;
  if (lines_.empty())
    KILN_LOG(kPasses, kDebug) << "x";
  else
    taken = true;
  EXPECT_FALSE(taken);
}

}  // namespace
}  // namespace kiln
