#include "base/options.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/names.h"

namespace kiln {
namespace {

TEST(DebugOptions, Defaults) {
  const DebugOptions options = parse_debug_options("").value();
  EXPECT_EQ(options.pass_limit, "");
  EXPECT_TRUE(options.verify);
}

TEST(DebugOptions, ReadsRows) {
  const DebugOptions options =
      parse_debug_options("pass_limit=fuse:12,verify=0,,dump_dir=/tmp/a=b,").value();
  EXPECT_EQ(options.pass_limit, "fuse:12");
  EXPECT_FALSE(options.verify);
  EXPECT_EQ(options.dump_dir, "/tmp/a=b");
}

TEST(DebugOptions, UnknownNameNamesTheNearest) {
  const Status status = parse_debug_options("pass_limt=x:1").status();
  EXPECT_EQ(status.code(), "K1001");
  EXPECT_EQ(status.message(), "unknown debug option: pass_limt");
  EXPECT_EQ(status.hint(), "did you mean pass_limit?");
}

TEST(DebugOptions, BadValues) {
  EXPECT_EQ(parse_debug_options("verify=yes").status().code(), "K1002");
  EXPECT_EQ(parse_debug_options("verify=").status().code(), "K1002");
  EXPECT_EQ(parse_debug_options("verify").status().code(), "K1002");
}

TEST(DebugOptions, EveryRowIsDescribed) {
  const std::string text = "\n" + describe_debug_options();
#define KILN_EXPECT_ROW(type, name, value, help) \
  EXPECT_NE(text.find("\n" #name " ("), std::string::npos) << #name;
  KILN_DEBUG_OPTIONS(KILN_EXPECT_ROW)
#undef KILN_EXPECT_ROW
}

// The environment is read once in a process, so a child process looks at it.
int environment_code(const char* options, const char* logs) {
  ::setenv("KILN_OPTIONS", options, 1);
  ::setenv("KILN_LOGS", logs, 1);
  const std::string code = check_environment().code();
  return code.empty() ? 0 : std::atoi(code.c_str() + 1) % 100;
}

TEST(DebugOptionsDeathTest, EnvironmentIsCheckedAtTheBorder) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(std::exit(environment_code("verify=0", "debug")), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(std::exit(environment_code("verfy=0", "")), testing::ExitedWithCode(1), "");
  EXPECT_EXIT(std::exit(environment_code("verify=2", "")), testing::ExitedWithCode(2), "");
  EXPECT_EXIT(std::exit(environment_code("", "loud")), testing::ExitedWithCode(3), "");
}

TEST(Names, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("precision", "percision"), 1u);
  EXPECT_EQ(edit_distance("same", "same"), 0u);
}

TEST(Names, NearestFirst) {
  const std::vector<std::string> names = {"strict", "precision", "threads", "min_block_size"};
  EXPECT_EQ(nearest_names("percision", names), (std::vector<std::string>{"precision"}));
  EXPECT_EQ(nearest_names("thread", names), (std::vector<std::string>{"threads"}));
  EXPECT_EQ(nearest_names("min_block", names), (std::vector<std::string>{"min_block_size"}));
  EXPECT_TRUE(nearest_names("zzzzzz", names).empty());
  EXPECT_TRUE(nearest_names("x", names).empty());
}

TEST(Names, Hint) {
  const std::vector<std::string> names = {"fold", "fuse", "plan"};
  EXPECT_EQ(unknown_name_hint("fold2", names), "did you mean fold?");
  EXPECT_EQ(unknown_name_hint("quantise", names), "known: fold, fuse, plan");
  EXPECT_EQ(unknown_name_hint("x", std::vector<std::string>{}), "none is known here");
}

}  // namespace
}  // namespace kiln
