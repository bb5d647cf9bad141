#include "runtime/timing_cache.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace kiln {
namespace {

using Entry = TimingCache::Entry;

TEST(TimingCache, TextRoundTripsInOrder) {
  TimingCache::Entries entries;
  entries["b conv"] = {"eng1.0", 12.5};
  entries["a matmul"] = {"3", 0.125};
  const std::string text = TimingCache::print(entries);
  EXPECT_EQ(text, "kiln timings 1\na matmul\t3\t0.125\nb conv\teng1.0\t12.500\n");
  EXPECT_EQ(TimingCache::parse(text), entries);
}

TEST(TimingCache, WhatIsNotUnderstoodIsNoEntry) {
  EXPECT_TRUE(TimingCache::parse("").empty());
  EXPECT_TRUE(TimingCache::parse("kiln timings 2\na\tb\t1.0\n").empty());
  const auto entries = TimingCache::parse(
      "kiln timings 1\nno tabs\na\tb\n\tnameless\t1.0\nc\td\tx\ne\tf\t-1.0\ng\th\t2.000\n"
      "i\tj\t1.0 ");
  EXPECT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries.at("g"), (Entry{"h", 2.0}));
  EXPECT_EQ(entries.at(""), (Entry{"nameless", 1.0}));
}

class TimingFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("kiln_timings_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "timings.txt";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(TimingFile, IsSharedByProcesses) {
  TimingCache one(path_), other(path_);
  EXPECT_FALSE(one.find("a").has_value());
  EXPECT_FALSE(other.find("a").has_value());
  ASSERT_TRUE(one.add("a", {"x", 1}).ok());
  ASSERT_TRUE(other.add("b", {"y", 2}).ok());  // keeps what `one` wrote
  ASSERT_TRUE(other.add("tab\tand\nline", {"z\tz", 3}).ok());
  TimingCache later(path_);
  EXPECT_EQ(later.find("a"), (Entry{"x", 1}));
  EXPECT_EQ(later.find("b"), (Entry{"y", 2}));
  EXPECT_EQ(later.find("tab\tand\nline"), (Entry{"z z", 3}));
  const auto text = read_file(path_);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(TimingCache::parse(*text).size(), 3u);
}

TEST_F(TimingFile, AFileThatCannotBeWrittenCostsNothingButItself) {
  TimingCache cache((folder_ / "missing" / "timings.txt").string());
  EXPECT_FALSE(cache.add("a", {"x", 1}).ok());
  EXPECT_EQ(cache.find("a"), (Entry{"x", 1}));
  TimingCache memory("");
  EXPECT_TRUE(memory.add("a", {"x", 1}).ok());
  EXPECT_EQ(memory.find("a"), (Entry{"x", 1}));
}

}  // namespace
}  // namespace kiln
