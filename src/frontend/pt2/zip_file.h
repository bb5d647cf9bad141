// Zip files as PyTorch writes them, mapped: stored entries, zip64, data descriptors, padding in the
// extra fields. Every offset and size is checked before it is used; checksums are checked.
//
// Errors: K3141 no zip file or a damaged directory, K3142 an entry that is missing, damaged,
// compressed or encrypted.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace kiln::pt2 {

class ZipFile {
 public:
  static Result<ZipFile> open(const std::string& path);

  // Bytes of an entry, inside the mapping.
  Result<std::string_view> read(const std::string& name) const;
  bool contains(const std::string& name) const { return entries_.contains(name); }
  struct Entry {
    uint64_t header_offset = 0;
    uint64_t size = 0;
    uint32_t crc = 0;
    uint16_t method = 0;
    uint16_t flags = 0;
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }
  // Keeps the mapping, and so every view that read() returned, alive.
  std::shared_ptr<const void> owner() const { return file_; }

 private:
  Status read_directory();

  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, Entry> entries_;
};

}  // namespace kiln::pt2
