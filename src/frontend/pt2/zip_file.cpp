// Format: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3 (zip64).
#include "frontend/pt2/zip_file.h"

#include <algorithm>

#include "base/crc32.h"

namespace kiln::pt2 {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50,
                   kZip64End = 0x06064b50, kZip64Locator = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kZip64EndSize = 56,
                 kLocatorSize = 20;
constexpr uint64_t kMaxEntries = uint64_t{1} << 20;

// Little-endian numbers; the caller has checked that they are inside.
uint64_t number(std::string_view data, size_t offset, int bytes) {
  uint64_t value = 0;
  for (int i = bytes; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(data[offset + static_cast<size_t>(i)]);
  }
  return value;
}

Status damaged(const char* what) {
  return Status::error("K3141", std::string("not a zip file, or a damaged one: ") + what);
}

struct Directory {
  uint64_t offset = 0, size = 0, entries = 0;
};

Result<Directory> find_directory(std::string_view data) {
  if (data.size() < kEndSize) return damaged("too short");
  // The end record is followed by a comment of at most 65535 bytes.
  const size_t lowest = data.size() - std::min(data.size(), kEndSize + 0xffff);
  size_t end = data.size() - kEndSize;
  while (number(data, end, 4) != kEnd ||
         end + kEndSize + number(data, end + 20, 2) != data.size()) {
    if (end == lowest) return damaged("no end record");
    --end;
  }
  Directory directory{number(data, end + 16, 4), number(data, end + 12, 4),
                      number(data, end + 10, 2)};
  uint64_t limit = end;
  const bool large =
      directory.offset == 0xffffffff || directory.size == 0xffffffff || directory.entries == 0xffff;
  if (end >= kLocatorSize && number(data, end - kLocatorSize, 4) == kZip64Locator) {
    const uint64_t at = number(data, end - kLocatorSize + 8, 8);
    limit = end - kLocatorSize;
    if (limit < kZip64EndSize || at > limit - kZip64EndSize || number(data, at, 4) != kZip64End) {
      return damaged("zip64 end record");
    }
    directory = {number(data, at + 48, 8), number(data, at + 40, 8), number(data, at + 32, 8)};
    limit = at;
  } else if (large) {
    return damaged("no zip64 end record");
  }
  if (directory.size > limit || directory.offset > limit - directory.size) {
    return damaged("place of the directory");
  }
  if (directory.entries > std::min(kMaxEntries, directory.size / kCentralSize)) {
    return damaged("number of entries");
  }
  return directory;
}

// Replaces the values that a zip64 extra field holds.
bool apply_zip64(std::string_view extra, uint64_t& size, uint64_t& compressed, uint64_t& offset) {
  uint64_t* wanted[3];
  size_t count = 0;
  if (size == 0xffffffff) wanted[count++] = &size;
  if (compressed == 0xffffffff) wanted[count++] = &compressed;
  if (offset == 0xffffffff) wanted[count++] = &offset;
  if (count == 0) return true;
  while (extra.size() >= 4) {
    const uint64_t id = number(extra, 0, 2), length = number(extra, 2, 2);
    if (length > extra.size() - 4) return false;
    if (id == 1) {
      if (length < 8 * count) return false;
      for (size_t i = 0; i < count; ++i) *wanted[i] = number(extra, 4 + 8 * i, 8);
      return true;
    }
    extra.remove_prefix(4 + length);
  }
  return false;
}

}  // namespace

Result<ZipFile> ZipFile::open(const std::string& path) {
  KILN_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  ZipFile zip;
  zip.file_ = std::make_shared<const MappedFile>(std::move(mapped));
  if (Status status = zip.read_directory(); !status.ok()) return std::move(status).at(path);
  return zip;
}

Status ZipFile::read_directory() {
  const std::string_view data = file_->text();
  KILN_ASSIGN_OR_RETURN(const Directory directory, find_directory(data));
  std::string_view rest = data.substr(directory.offset, directory.size);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (rest.size() < kCentralSize || number(rest, 0, 4) != kCentralHeader) {
      return damaged("directory entry");
    }
    Entry entry;
    entry.flags = static_cast<uint16_t>(number(rest, 8, 2));
    entry.method = static_cast<uint16_t>(number(rest, 10, 2));
    entry.crc = static_cast<uint32_t>(number(rest, 16, 4));
    uint64_t compressed = number(rest, 20, 4);
    entry.size = number(rest, 24, 4);
    entry.header_offset = number(rest, 42, 4);
    const size_t name = number(rest, 28, 2), extra = number(rest, 30, 2),
                 comment = number(rest, 32, 2);
    if (rest.size() - kCentralSize < name + extra + comment) return damaged("directory entry");
    if (!apply_zip64(rest.substr(kCentralSize + name, extra), entry.size, compressed,
                     entry.header_offset)) {
      return damaged("zip64 entry");
    }
    if (entry.method == 0 && compressed != entry.size) return damaged("sizes of a stored entry");
    if (!entries_.emplace(std::string(rest.substr(kCentralSize, name)), entry).second) {
      return damaged("two entries of one name");
    }
    rest.remove_prefix(kCentralSize + name + extra + comment);
  }
  return {};
}

Result<std::string_view> ZipFile::read(const std::string& name) const {
  const auto fail = [&name](const char* what) {
    return Status::error("K3142", std::string("archive entry ") + what + ": " + name);
  };
  const auto found = entries_.find(name);
  if (found == entries_.end()) return fail("is missing");
  const Entry& entry = found->second;
  if ((entry.flags & 1) != 0) return fail("is encrypted");
  if (entry.method != 0) return fail("is compressed");
  const std::string_view data = file_->text();
  if (data.size() < kLocalSize || entry.header_offset > data.size() - kLocalSize) {
    return fail("lies outside the file");
  }
  const std::string_view header = data.substr(entry.header_offset);
  if (number(header, 0, 4) != kLocalHeader) return fail("has a damaged header");
  const uint64_t skipped = kLocalSize + number(header, 26, 2) + number(header, 28, 2);
  if (skipped > header.size() || entry.size > header.size() - skipped) {
    return fail("lies outside the file");
  }
  if (header.substr(kLocalSize, number(header, 26, 2)) != name) return fail("has a damaged header");
  const std::string_view content = header.substr(skipped, entry.size);
  if (crc32(content.data(), content.size()) != entry.crc) return fail("has a wrong checksum");
  return content;
}

}  // namespace kiln::pt2
