// Zip files for tests: what a correct writer makes, and single lies on request.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/crc32.h"

namespace kiln::pt2::test {

inline void put(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out += i < 8 ? static_cast<char>(value >> (8 * i) & 0xff) : '\0';
  }
}

struct ZipEntry {
  std::string name, content;
  bool descriptor = false;  // sizes and checksum stand behind the content, as torch writes them
  bool zip64 = false;       // the directory holds its numbers in an extra field
  uint16_t method = 0, flags = 0;
  int64_t offset_error = 0, size_error = 0;  // of the directory
};

inline std::string make_zip(const std::vector<ZipEntry>& entries, bool zip64_end = false) {
  std::string out, directory;
  for (const ZipEntry& entry : entries) {
    const uint64_t offset = out.size() + static_cast<uint64_t>(entry.offset_error);
    const uint64_t size = entry.content.size() + static_cast<uint64_t>(entry.size_error);
    const uint32_t crc = crc32(entry.content.data(), entry.content.size());
    const auto flags = static_cast<uint16_t>(entry.flags | (entry.descriptor ? 8 : 0));
    const size_t known = entry.descriptor ? 0 : entry.content.size();
    put(out, 0x04034b50, 4);
    put(out, 20, 2);
    put(out, flags, 2);
    put(out, entry.method, 2);
    put(out, 0, 4);  // time and date
    put(out, entry.descriptor ? 0 : crc, 4);
    put(out, known, 4);
    put(out, known, 4);
    put(out, entry.name.size(), 2);
    put(out, 0, 2);
    out += entry.name + entry.content;
    if (entry.descriptor) {
      put(out, 0x08074b50, 4);
      put(out, crc, 4);
      put(out, size, 4);
      put(out, size, 4);
    }
    put(directory, 0x02014b50, 4);
    put(directory, 0, 2);
    put(directory, 20, 2);
    put(directory, flags, 2);
    put(directory, entry.method, 2);
    put(directory, 0, 4);
    put(directory, crc, 4);
    put(directory, entry.zip64 ? 0xffffffff : size, 4);
    put(directory, entry.zip64 ? 0xffffffff : size, 4);
    put(directory, entry.name.size(), 2);
    put(directory, entry.zip64 ? 28 : 0, 2);
    put(directory, 0, 10);  // comment, disk, attributes
    put(directory, entry.zip64 ? 0xffffffff : offset, 4);
    directory += entry.name;
    if (entry.zip64) {
      put(directory, 1, 2);
      put(directory, 24, 2);
      for (const uint64_t value : {size, size, offset}) put(directory, value, 8);
    }
  }
  const uint64_t start = out.size();
  out += directory;
  if (zip64_end) {
    const uint64_t at = out.size();
    put(out, 0x06064b50, 4);
    put(out, 44, 8);
    put(out, 0, 12);  // versions and disks
    put(out, entries.size(), 8);
    put(out, entries.size(), 8);
    put(out, directory.size(), 8);
    put(out, start, 8);
    put(out, 0x07064b50, 4);
    put(out, 0, 4);
    put(out, at, 8);
    put(out, 1, 4);
  }
  put(out, 0x06054b50, 4);
  put(out, 0, 4);
  put(out, zip64_end ? 0xffff : entries.size(), 2);
  put(out, zip64_end ? 0xffff : entries.size(), 2);
  put(out, zip64_end ? 0xffffffff : directory.size(), 4);
  put(out, zip64_end ? 0xffffffff : start, 4);
  put(out, 0, 2);
  return out;
}

// A file in memory, with a path: thousands of files on a disk take minutes.
class ScratchFile {
 public:
  ScratchFile() : file_(memfd_create("kiln_pt2_test", 0)) {
    EXPECT_GE(file_, 0);
    path_ = "/proc/self/fd/" + std::to_string(file_);
  }
  ~ScratchFile() { close(file_); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // No mapping of the content before may be in use.
  const std::string& write(std::string_view content) {
    EXPECT_EQ(ftruncate(file_, static_cast<off_t>(content.size())), 0);
    EXPECT_EQ(pwrite(file_, content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    return path_;
  }

 private:
  int file_;
  std::string path_;
};

}  // namespace kiln::pt2::test
