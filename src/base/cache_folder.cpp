#include "base/cache_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <system_error>

#include "base/check.h"
#include "base/crc32.h"
#include "base/file.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'k', 'i', 'l', 'n', 'c', 'a', 'c', 'h'};
constexpr uint32_t kFormat = 2;
constexpr size_t kMaxKind = 16;
// Format 1 had packed weights as well (docs/decisions/013-constants-are-not-cached.md). They are
// large, and nobody would ever use them again.
constexpr std::string_view kObsoleteKind = "constants";
constexpr int64_t kSecond = 1000000000;
constexpr int64_t kTemporaryLife = 3600 * kSecond;

// As it lies in the file, little endian. Bytes without a meaning are zero and are checked too.
struct Header {
  char magic[8] = {};
  uint32_t format = 0;
  uint32_t checksum = 0;  // CRC-32 of the header with this field zero
  char kind[kMaxKind] = {};
  uint64_t key_high = 0, key_low = 0;
  uint64_t bytes = 0;  // of the content
  uint64_t hash_high = 0, hash_low = 0;
  char zeros[56] = {};
};
static_assert(sizeof(Header) == CacheFolder::kHeaderBytes);

uint32_t checksum_of(Header header) {
  header.checksum = 0;
  return crc32(&header, sizeof header, 0);
}

Header make_header(const Hash128& key, std::string_view kind, uint64_t bytes, const Hash128& hash) {
  Header header;
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.format = kFormat;
  std::memcpy(header.kind, kind.data(), kind.size());
  header.key_high = key.high;
  header.key_low = key.low;
  header.bytes = bytes;
  header.hash_high = hash.high;
  header.hash_low = hash.low;
  header.checksum = checksum_of(header);
  return header;
}

Status damaged(const std::string& what) { return Status::error("K3403", "damaged entry: " + what); }

// The beginning of a file of `file_bytes` bytes; the hash that its content must have.
Result<Hash128> check_header(std::string_view begin, uint64_t file_bytes, const Hash128& key,
                             std::string_view kind) {
  if (begin.size() < sizeof(Header)) return damaged("shorter than its header");
  Header header;
  std::memcpy(&header, begin.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return damaged("not an entry");
  if (header.format != kFormat) {
    return Status::error("K3404",
                         "entry has another format version: " + std::to_string(header.format));
  }
  if (header.checksum != checksum_of(header)) return damaged("checksum of the header");
  // What the header must be, byte by byte.
  const Hash128 hash{header.hash_high, header.hash_low};
  const Header expected = make_header(key, kind, file_bytes - sizeof header, hash);
  if (header.bytes != expected.bytes) return damaged("another size than its header says");
  if (std::memcmp(&header, &expected, sizeof header) != 0) {
    return Status::error("K3404", "entry has another kind or key than its name");
  }
  return hash;
}

Status check_bytes(std::string_view file, const Hash128& key, std::string_view kind) {
  KILN_ASSIGN_OR_RETURN(const Hash128 hash, check_header(file, file.size(), key, kind));
  if (hash128(file.substr(sizeof(Header))) != hash) return damaged("hash of the content");
  return {};
}

// Only the order of eviction depends on it.
void mark_as_used(const std::string& path) {
  const timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  [[maybe_unused]] const int ignored = ::utimensat(AT_FDCWD, path.c_str(), now, 0);
}

bool valid_kind(std::string_view kind) {
  return !kind.empty() && kind.size() <= kMaxKind &&
         std::all_of(kind.begin(), kind.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

// KEY.KIND of an entry's file name; false for any other file.
bool parse_name(std::string_view name, Hash128& key, std::string_view& kind) {
  if (name.size() < 34 || name[32] != '.') return false;
  const auto parsed = Hash128::from_hex(name.substr(0, 32));
  kind = name.substr(33);
  if (!parsed || !valid_kind(kind)) return false;
  key = *parsed;
  return true;
}

int64_t nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * kSecond + time.tv_nsec;
}

std::string system_text(int error) { return std::generic_category().message(error); }

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Status unusable(const std::string& path, const std::string& why) {
  return Status::error("K3401", "cache folder cannot be used: " + path + ": " + why,
                       "set KILN_CACHE_DIR to a folder of your own");
}

}  // namespace

Result<CacheFolder> CacheFolder::open(const std::string& path, uint64_t max_bytes) {
  if (path.empty()) return unusable(path, "no name");
  std::error_code error;
  const fs::path parent = fs::path(path).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return unusable(path, system_text(errno));
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return unusable(path, system_text(errno));
  if (!S_ISDIR(info.st_mode)) return unusable(path, "not a folder");
  if (info.st_uid != ::geteuid()) return unusable(path, "it belongs to another user");
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) return unusable(path, "other users may write it");
  CacheFolder folder;
  folder.path_ = path;
  folder.max_bytes_ = max_bytes;
  return folder;
}

std::string CacheFolder::path_of(const Hash128& key, std::string_view kind) const {
  KILN_CHECK_MSG(valid_kind(kind), "kinds of cache entries are up to 16 lower-case letters");
  return path_ + "/" + key.hex() + "." + std::string(kind);
}

Result<CacheFolder::Content> CacheFolder::get(const Hash128& key, std::string_view kind) const {
  const std::string path = path_of(key, kind);
  KILN_ASSIGN_OR_RETURN(std::optional<MappedFile> opened, MappedFile::open_if_there(path));
  if (!opened) return Status::error("K3402", "no entry");
  auto file = std::make_shared<const MappedFile>(*std::move(opened));
  if (Status status = check_bytes(file->text(), key, kind); !status.ok()) {
    // Another process may have replaced it by a good one meanwhile; that one is made again.
    ::unlink(path.c_str());
    return status;
  }
  mark_as_used(path);
  return Content{file->text().substr(kHeaderBytes), file};
}

Status CacheFolder::put(const Hash128& key, std::string_view kind,
                        std::string_view content) const {
  const Header header = make_header(key, kind, content.size(), hash128(content));
  KILN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path_of(key, kind)));
  KILN_RETURN_IF_ERROR(file.write(&header, sizeof header));
  KILN_RETURN_IF_ERROR(file.write(content));
  KILN_RETURN_IF_ERROR(file.commit(/*durable=*/false));
  return max_bytes_ == 0 ? Status() : prune(max_bytes_).status();
}

Result<std::vector<CacheFolder::Entry>> CacheFolder::list() const {
  std::error_code error;
  fs::directory_iterator it(path_, error), end;
  if (error) return unusable(path_, error.message());
  std::vector<Entry> entries;
  for (; it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    Hash128 key;
    std::string_view kind;
    struct stat info;
    if (!parse_name(name, key, kind) || ::lstat(it->path().c_str(), &info) != 0 ||
        !S_ISREG(info.st_mode)) {
      continue;
    }
    entries.push_back({name, static_cast<uint64_t>(info.st_size), nanoseconds(info.st_mtim)});
  }
  if (error) return unusable(path_, error.message());
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.used != b.used ? a.used > b.used : a.name < b.name;
  });
  return entries;
}

Status CacheFolder::check(const Entry& entry) const {
  Hash128 key;
  std::string_view kind;
  if (!parse_name(entry.name, key, kind)) return Status::error("K3402", "no entry: " + entry.name);
  KILN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path_ + "/" + entry.name));
  return check_bytes(file.text(), key, kind);
}

Status CacheFolder::remove(const Entry& entry) const {
  const std::string path = path_ + "/" + entry.name;
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return Status::error("K3003", "cannot delete: " + path + ": " + system_text(errno));
}

Result<CacheFolder::Pruned> CacheFolder::prune(uint64_t max_bytes) const {
  KILN_ASSIGN_OR_RETURN(const std::vector<Entry> entries, list());
  Pruned pruned;
  uint64_t kept = 0;
  for (const Entry& entry : entries) {
    const bool obsolete = std::string_view(entry.name).substr(33) == kObsoleteKind;
    if (!obsolete && entry.bytes <= max_bytes - std::min(kept, max_bytes)) {
      kept += entry.bytes;
      continue;
    }
    KILN_RETURN_IF_ERROR(remove(entry));
    ++pruned.entries;
    pruned.bytes += entry.bytes;
  }
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    Hash128 key;
    std::string_view kind;
    struct stat info;
    const size_t at = name.find(".tmp-");
    if (at == std::string::npos || !parse_name(std::string_view(name).substr(0, at), key, kind) ||
        ::lstat(it->path().c_str(), &info) != 0 ||
        nanoseconds(now) - nanoseconds(info.st_mtim) < kTemporaryLife) {
      continue;
    }
    ::unlink(it->path().c_str());
  }
  return pruned;
}

std::string user_cache_folder() {
  if (std::string folder = environment("KILN_CACHE_DIR"); !folder.empty()) return folder;
  // The XDG rules: only absolute paths count.
  if (std::string folder = environment("XDG_CACHE_HOME"); folder.starts_with("/")) {
    return folder + "/kiln";
  }
  if (std::string home = environment("HOME"); home.starts_with("/")) return home + "/.cache/kiln";
  return {};
}

Result<uint64_t> parse_byte_size(std::string_view text) {
  const Status bad = Status::error("K1009", "not a size: '" + std::string(text) + "'",
                                   "bytes, or a number with K, M, G or T: 20G");
  std::string_view digits = text;
  int shift = 0;
  if (!digits.empty()) {
    const size_t unit = std::string_view("KMGT").find(digits.back());
    if (unit != std::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      digits.remove_suffix(1);
    }
  }
  if (digits.empty() || digits.size() > 15) return bad;
  uint64_t value = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return bad;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  if (value > (UINT64_MAX >> 1 >> shift)) return bad;
  return value << shift;
}

Result<uint64_t> user_cache_bytes() {
  const std::string text = environment("KILN_CACHE_SIZE");
  if (text.empty()) return uint64_t{8} << 30;
  auto bytes = parse_byte_size(text);
  if (!bytes.ok()) return std::move(bytes).status().at("KILN_CACHE_SIZE");
  return bytes;
}

}  // namespace kiln
