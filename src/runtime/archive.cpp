#include "runtime/archive.h"

#include <cstring>
#include <set>

#include "base/crc32.h"

namespace kiln {
namespace {

constexpr uint32_t kLocalMagic = 0x04034b50, kCentralMagic = 0x02014b50, kEndMagic = 0x06054b50;
constexpr uint32_t kEnd64Magic = 0x06064b50, kEnd64LocatorMagic = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22;
constexpr size_t kEnd64Size = 56, kEnd64LocatorSize = 20;
constexpr uint64_t kMax32 = 0xffffffffu;
constexpr uint16_t kZip64Tag = 1;
constexpr uint16_t kPaddingTag = 0x4b4c;  // "LK": zeros that align the data

void put16(std::string& out, uint64_t value) {
  out.push_back(static_cast<char>(value & 0xff));
  out.push_back(static_cast<char>(value >> 8 & 0xff));
}
void put32(std::string& out, uint64_t value) {
  put16(out, value & 0xffff);
  put16(out, value >> 16 & 0xffff);
}
void put64(std::string& out, uint64_t value) {
  put32(out, value & kMax32);
  put32(out, value >> 32);
}

uint64_t get(std::string_view bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

// The local header of an entry that starts at `offset`, padding included.
std::string local_header(const std::string& name, uint64_t size, uint32_t crc, uint64_t offset) {
  const bool wide = size >= kMax32;
  std::string extra;
  if (wide) {
    put16(extra, kZip64Tag);
    put16(extra, 16);
    put64(extra, size);
    put64(extra, size);
  }
  const uint64_t data = offset + kLocalSize + name.size() + extra.size() + 4;
  const uint64_t padding = (kArchiveAlignment - data % kArchiveAlignment) % kArchiveAlignment;
  put16(extra, kPaddingTag);
  put16(extra, padding);
  extra.append(padding, '\0');
  std::string out;
  put32(out, kLocalMagic);
  put16(out, wide ? 45 : 20);  // version needed
  put16(out, 0);               // flags
  put16(out, 0);               // method: stored
  put16(out, 0);               // time and date: none, so that equal contents give equal bytes
  put16(out, 0x21);
  put32(out, crc);
  put32(out, wide ? kMax32 : size);
  put32(out, wide ? kMax32 : size);
  put16(out, name.size());
  put16(out, extra.size());
  return out + name + extra;
}

std::string central_header(const std::string& name, uint64_t size, uint32_t crc, uint64_t offset) {
  const bool wide_size = size >= kMax32, wide_offset = offset >= kMax32;
  std::string extra;
  if (wide_size || wide_offset) {
    put16(extra, kZip64Tag);
    put16(extra, (wide_size ? 16u : 0u) + (wide_offset ? 8u : 0u));
    if (wide_size) {
      put64(extra, size);
      put64(extra, size);
    }
    if (wide_offset) put64(extra, offset);
  }
  std::string out;
  put32(out, kCentralMagic);
  put16(out, extra.empty() ? 20 : 45);  // version made by
  put16(out, extra.empty() ? 20 : 45);  // version needed
  put16(out, 0);
  put16(out, 0);
  put16(out, 0);
  put16(out, 0x21);
  put32(out, crc);
  put32(out, wide_size ? kMax32 : size);
  put32(out, wide_size ? kMax32 : size);
  put16(out, name.size());
  put16(out, extra.size());
  put16(out, 0);  // comment
  put16(out, 0);  // disk
  put16(out, 0);  // internal attributes
  put32(out, 0);  // external attributes
  put32(out, wide_offset ? kMax32 : offset);
  return out + name + extra;
}

// What follows the central directory.
std::string end_records(uint64_t entries, uint64_t directory, uint64_t directory_size) {
  std::string out;
  const bool wide = directory >= kMax32 || directory_size >= kMax32;
  if (wide) {
    const uint64_t end64 = directory + directory_size;
    put32(out, kEnd64Magic);
    put64(out, kEnd64Size - 12);
    put16(out, 45);
    put16(out, 45);
    put32(out, 0);
    put32(out, 0);
    put64(out, entries);
    put64(out, entries);
    put64(out, directory_size);
    put64(out, directory);
    put32(out, kEnd64LocatorMagic);
    put32(out, 0);
    put64(out, end64);
    put32(out, 1);
  }
  put32(out, kEndMagic);
  put16(out, 0);
  put16(out, 0);
  put16(out, entries);
  put16(out, entries);
  put32(out, wide ? kMax32 : directory_size);
  put32(out, wide ? kMax32 : directory);
  put16(out, 0);
  return out;
}

Status bad(std::string what) {
  return Status::error("K3103", "not a kiln file: " + std::move(what));
}

}  // namespace

Status ArchiveWriter::add(std::string_view name, std::string_view content) {
  KILN_RETURN_IF_ERROR(begin(name, content.size(), crc32(content.data(), content.size())));
  return append(content.data(), content.size());
}

Status ArchiveWriter::begin(std::string_view name, uint64_t size, uint32_t crc) {
  entries_.push_back({std::string(name), size, sink_.offset(), crc});
  return sink_.write(local_header(entries_.back().name, size, crc, entries_.back().offset));
}

Status ArchiveWriter::finish() {
  const uint64_t directory = sink_.offset();
  for (const Entry& entry : entries_) {
    KILN_RETURN_IF_ERROR(
        sink_.write(central_header(entry.name, entry.size, entry.crc, entry.offset)));
  }
  return sink_.write(end_records(entries_.size(), directory, sink_.offset() - directory));
}

Result<std::vector<ArchiveEntry>> read_archive(std::string_view bytes) {
  if (bytes.size() < kEndSize) return bad("too short");
  const size_t end = bytes.size() - kEndSize;
  if (get(bytes, end, 4) != kEndMagic) return bad("no end record in the last 22 bytes");
  const uint64_t count = get(bytes, end + 10, 2);
  uint64_t directory_size = get(bytes, end + 12, 4);
  uint64_t directory = get(bytes, end + 16, 4);
  if (directory == kMax32 && directory_size == kMax32) {
    if (end < kEnd64LocatorSize + kEnd64Size) return bad("no room for the wide end record");
    const size_t end64 = end - kEnd64LocatorSize - kEnd64Size;
    directory_size = get(bytes, end64 + 40, 8);
    directory = get(bytes, end64 + 48, 8);
  }
  if (count == 0 || count > kMaxArchiveEntries)
    return bad("number of entries: " + std::to_string(count));
  if (directory > bytes.size() || directory_size > bytes.size() - directory) {
    return bad("central directory lies outside the file");
  }
  const std::string expected_end = end_records(count, directory, directory_size);
  if (bytes.size() - directory - directory_size != expected_end.size() ||
      bytes.substr(directory + directory_size) != expected_end) {
    return bad("end record is not as kiln writes it");
  }
  std::vector<ArchiveEntry> entries;
  std::set<std::string> names;
  uint64_t at = directory, offset = 0;
  const uint64_t directory_end = directory + directory_size;
  for (uint64_t i = 0; i < count; ++i) {
    if (directory_end - at < kCentralSize) return bad("central directory is cut");
    const uint64_t name_size = get(bytes, at + 28, 2), extra_size = get(bytes, at + 30, 2);
    if (name_size == 0 || name_size > kMaxEntryName ||
        directory_end - at - kCentralSize < name_size + extra_size) {
      return bad("central directory is cut");
    }
    ArchiveEntry entry;
    entry.name = bytes.substr(at + kCentralSize, name_size);
    entry.crc = static_cast<uint32_t>(get(bytes, at + 16, 4));
    uint64_t size = get(bytes, at + 24, 4);
    if (size == kMax32) {
      if (extra_size < 12) return bad("wide size is missing: " + entry.name);
      size = get(bytes, at + kCentralSize + name_size + 4, 8);
    }
    if (size > bytes.size()) return bad("entry is larger than the file: " + entry.name);
    const std::string central = central_header(entry.name, size, entry.crc, offset);
    if (bytes.substr(at, kCentralSize + name_size + extra_size) != central) {
      return bad("header is not as kiln writes it: entry " + std::to_string(i));
    }
    if (!names.insert(entry.name).second) return bad("entry occurs twice: " + entry.name);
    const std::string local = local_header(entry.name, size, entry.crc, offset);
    if (directory - offset < local.size() || directory - offset - local.size() < size) {
      return bad("entry lies outside the file: " + entry.name);
    }
    if (bytes.substr(offset, local.size()) != local) {
      return bad("headers of an entry differ: " + entry.name);
    }
    entry.content = bytes.substr(offset + local.size(), size);
    offset += local.size() + size;
    at += central.size();
    entries.push_back(std::move(entry));
  }
  if (at != directory_end || offset != directory) return bad("bytes between the entries");
  return entries;
}

Status check_crc(const ArchiveEntry& entry) {
  if (crc32(entry.content.data(), entry.content.size()) == entry.crc) return {};
  return Status::error("K3104", "file is damaged: checksum of " + entry.name);
}

}  // namespace kiln
