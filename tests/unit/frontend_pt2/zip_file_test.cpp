#include "frontend/pt2/zip_file.h"

#include <gtest/gtest.h>

#include "unit/frontend_pt2/zip_writer.h"

namespace kiln::pt2 {
namespace {

using test::make_zip;
using test::ScratchFile;
using test::ZipEntry;

// The content of `name`, or the code of the error.
std::string read(const std::string& bytes, const std::string& name) {
  ScratchFile file;
  const auto zip = ZipFile::open(file.write(bytes));
  if (!zip.ok()) return zip.status().code();
  const auto content = zip->read(name);
  return content.ok() ? std::string(*content) : content.status().code();
}

TEST(ZipFile, WhatWritersMake) {
  for (const bool zip64_end : {false, true}) {
    const std::string zip = make_zip({{.name = "a/plain", .content = "one"},
                                      {.name = "a/described", .content = "two", .descriptor = true},
                                      {.name = "a/large", .content = "three", .zip64 = true},
                                      {.name = "a/both",
                                       .content = "four",
                                       .descriptor = true,
                                       .zip64 = true},
                                      {.name = "a/empty", .content = ""}},
                                     zip64_end);
    EXPECT_EQ(read(zip, "a/plain"), "one");
    EXPECT_EQ(read(zip, "a/described"), "two");
    EXPECT_EQ(read(zip, "a/large"), "three");
    EXPECT_EQ(read(zip, "a/both"), "four");
    EXPECT_EQ(read(zip, "a/empty"), "");
    EXPECT_EQ(read(zip, "a"), "K3142");
    // Every shorter file lacks the end record.
    for (size_t size = 0; size < zip.size(); ++size) {
      EXPECT_EQ(read(zip.substr(0, size), "a/plain"), "K3141") << size;
    }
  }
  EXPECT_EQ(read(make_zip({}), "a"), "K3142");
}

TEST(ZipFile, AComment) {
  std::string zip = make_zip({{.name = "a", .content = "one"}});
  zip.resize(zip.size() - 2);
  EXPECT_EQ(read(zip + std::string("\3\0abc", 5), "a"), "one");
  EXPECT_EQ(read(zip + std::string("\4\0abc", 5), "a"), "K3141");
}

TEST(ZipFile, Lies) {
  const ZipEntry good{.name = "a", .content = "one"};
  const auto with = [&](auto change) {
    ZipEntry entry = good;
    change(entry);
    return read(make_zip({{.name = "first", .content = "12345"}, entry}), "a");
  };
  EXPECT_EQ(with([](ZipEntry&) {}), "one");
  EXPECT_EQ(with([](ZipEntry& e) { e.method = 8; }), "K3142");
  EXPECT_EQ(with([](ZipEntry& e) { e.flags = 1; }), "K3142");
  EXPECT_EQ(with([](ZipEntry& e) { e.offset_error = 1; }), "K3142");
  EXPECT_EQ(with([](ZipEntry& e) { e.offset_error = 100000; }), "K3142");
  EXPECT_EQ(with([](ZipEntry& e) { e.size_error = 1; }), "K3142");      // into the directory
  EXPECT_EQ(with([](ZipEntry& e) { e.size_error = 100000; }), "K3142");
  // 2^64 - 1 and near it: sums that wrap around.
  for (const int64_t far : {-1, -30, -31, -40}) {
    EXPECT_EQ(with([&](ZipEntry& e) { e.zip64 = true, e.offset_error = far - 40; }), "K3142");
    EXPECT_EQ(with([&](ZipEntry& e) { e.zip64 = true, e.size_error = far - 3; }), "K3142");
  }
}

TEST(ZipFile, OneBytesForTwoEntries) {
  const ZipEntry first{.name = "a", .content = "one"};
  EXPECT_EQ(read(make_zip({first, {.name = "a", .content = "two"}}), "a"), "K3141");
  // The second entry says that it is where the first is: the local header has another name.
  ZipEntry second{.name = "b", .content = "one"};
  second.offset_error = -(30 + 1 + 3);
  EXPECT_EQ(read(make_zip({first, second}), "b"), "K3142");
  EXPECT_EQ(read(make_zip({first, second}), "a"), "one");
}

TEST(ZipFile, Directory) {
  const std::string zip = make_zip({{.name = "a", .content = "one"}});
  const size_t end = zip.size() - 22;
  // Numbers of entries, size and place of the directory.
  for (const auto& [at, bytes] : {std::pair<size_t, int>{10, 2}, {12, 4}, {16, 4}}) {
    for (const uint64_t value : {0u, 2u, 0xfffeu, 0xffffu, 0x7fffffffu, 0xfffffffeu, 0xffffffffu}) {
      std::string lie, damaged = zip;
      test::put(lie, value, bytes);
      damaged.replace(end + at, lie.size(), lie);
      const std::string outcome = read(damaged, "a");
      EXPECT_TRUE(outcome == "K3141" || outcome == "K3142") << at << " " << value << " " << outcome;
    }
  }
  // The record of zip64: where it is, and what it says.
  const std::string large = make_zip({{.name = "a", .content = "one"}}, true);
  const size_t locator = large.size() - 22 - 20, record = locator - 56;
  for (const size_t at : {locator + 8, record + 32, record + 40, record + 48}) {
    for (const uint64_t value : {uint64_t{3}, uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 55}) {
      std::string lie, damaged = large;
      test::put(lie, value, 8);
      damaged.replace(at, 8, lie);
      const std::string outcome = read(damaged, "a");
      EXPECT_TRUE(outcome == "K3141" || outcome == "K3142") << at << " " << value << " " << outcome;
    }
  }
}

}  // namespace
}  // namespace kiln::pt2
