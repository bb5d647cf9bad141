// The container of `.kiln` files: a zip archive with stored entries only, data aligned to 64 bytes,
// entries back to back in the order of the central directory, nothing between or after them. Any
// zip tool lists and extracts it.
//
// There is exactly one way to write an archive with given entries, and the reader accepts nothing
// else: it rebuilds each header from the entry's name, size and checksum and compares bytes.
// Errors: K3103 not such an archive (the message says what and where), K3104 checksum or hash of an
// entry is wrong.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace kiln {

inline constexpr size_t kArchiveAlignment = 64;
inline constexpr size_t kMaxArchiveEntries = 4096;
inline constexpr size_t kMaxEntryName = 4096;

class ArchiveWriter {
 public:
  explicit ArchiveWriter(ByteSink& sink) : sink_(sink) {}
  // The whole entry at once.
  Status add(std::string_view name, std::string_view content);
  // An entry in pieces: begin with its exact size and checksum.
  Status begin(std::string_view name, uint64_t size, uint32_t crc);
  Status append(const void* data, size_t size) { return sink_.write(data, size); }
  // The central directory. Call once, last; commit a file afterwards.
  Status finish();

 private:
  struct Entry {
    std::string name;
    uint64_t size = 0, offset = 0;
    uint32_t crc = 0;
  };
  ByteSink& sink_;
  std::vector<Entry> entries_;
};

struct ArchiveEntry {
  std::string name;
  std::string_view content;
  uint32_t crc = 0;
};

// Views into `bytes`. Checks the structure, not the checksums.
Result<std::vector<ArchiveEntry>> read_archive(std::string_view bytes);
// K3104 when the checksum differs.
Status check_crc(const ArchiveEntry& entry);

}  // namespace kiln
