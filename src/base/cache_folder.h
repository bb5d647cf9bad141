// A folder of checked entries that many processes share: one file per entry, found by a 128-bit key
// and a kind. Whatever is wrong with an entry, it is not there.
//
// An entry is a header of 128 bytes (format, kind, key, size, hash of the content, checksum of the
// header) and the content. It is written under a temporary name and renamed, so that a reader sees
// all of it or nothing; two writers of one key leave the one or the other. Reading checks every
// byte, deletes what fails, and marks the entry as used. When the entries exceed the limit, those
// go that do not fit into it, counted from the most recently used one.
//
// Errors: K3401 the folder cannot be used, K3402 no such entry, K3403 a damaged entry, K3404 an
// entry that is not what its name says (another format, kind or key).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/status.h"

namespace kiln {

// The folder of this user's compiled programs: $KILN_CACHE_DIR, $XDG_CACHE_HOME/kiln or
// ~/.cache/kiln; empty when none of these is set.
std::string user_cache_folder();
// Its limit: $KILN_CACHE_SIZE, else 8 GiB; 0: no limit. K1009 when the variable is no size.
Result<uint64_t> user_cache_bytes();
// Bytes of "123", "64K", "500M", "20G" or "1T" (powers of 1024). K1009.
Result<uint64_t> parse_byte_size(std::string_view text);

class CacheFolder {
 public:
  static constexpr size_t kHeaderBytes = 128;

  // Makes the folder, for its user alone, when it is not there. K3401 when it cannot be made, is
  // another user's or may be written by others: its entries would be somebody else's programs.
  // `max_bytes`: of all entries together; 0: no limit.
  static Result<CacheFolder> open(const std::string& path, uint64_t max_bytes);

  const std::string& path() const { return path_; }
  uint64_t max_bytes() const { return max_bytes_; }

  struct Content {
    std::string_view bytes;             // 64-byte aligned
    std::shared_ptr<const void> owner;  // keeps them
  };
  // The entry's content, all of it checked. K3402..K3404; a bad entry is deleted.
  Result<Content> get(const Hash128& key, std::string_view kind) const;

  // Stores an entry, then trims the folder. Does not wait for the disk: a power failure may leave a
  // damaged entry, which is found out when it is read. K3003, K3401.
  Status put(const Hash128& key, std::string_view kind, std::string_view content) const;

  struct Entry {
    std::string name;  // KEY.KIND
    uint64_t bytes = 0;
    int64_t used = 0;  // nanoseconds since 1970
  };
  // What the folder holds, most recently used first; temporary files are not listed.
  Result<std::vector<Entry>> list() const;

  // Reads and checks one entry without marking it as used. Errors as get(); nothing is deleted.
  Status check(const Entry& entry) const;

  // Removes one entry. It is no error when another process was faster.
  Status remove(const Entry& entry) const;

  struct Pruned {
    int entries = 0;
    uint64_t bytes = 0;
  };
  // Deletes the entries that do not fit into `max_bytes`, counted from the most recently used one,
  // entries of kinds that only earlier versions read, and temporary files that a killed process
  // left an hour ago or earlier.
  Result<Pruned> prune(uint64_t max_bytes) const;

 private:
  std::string path_of(const Hash128& key, std::string_view kind) const;

  std::string path_;
  uint64_t max_bytes_ = 0;
};

}  // namespace kiln
