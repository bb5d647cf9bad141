// What was measured on devices, kept from run to run as text that can be read and compared:
//
//   kiln timings 1
//   KEY<tab>CHOICE<tab>MICROSECONDS
//
// sorted by key. A key says all that the time depends on: the problem, the device and the versions
// of the libraries. Text that is not understood is no entry; nothing that is wrong with the file is
// an error, since everything can be measured again.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kiln {

class TimingCache {
 public:
  struct Entry {
    std::string choice;
    double microseconds = 0;
    bool operator==(const Entry&) const = default;
  };

  // Of this user: timings.txt in the folder of compiled programs. Only in memory when there is no
  // folder, when it cannot be used, or with the debug switch cache=0.
  static TimingCache& user();

  // `path` empty: in memory. The file is read when something is first asked for.
  explicit TimingCache(std::string path) : path_(std::move(path)) {}

  // Thread-safe. Keys and choices have no tabs, line feeds or other control characters: those
  // become spaces.
  std::optional<Entry> find(std::string_view key);
  // Keeps the entry and writes the file: what other processes have added meanwhile stays. The
  // error of a file that cannot be written; the entry is kept in memory all the same.
  Status add(std::string_view key, Entry entry);

  using Entries = std::map<std::string, Entry, std::less<>>;
  static Entries parse(std::string_view text);
  static std::string print(const Entries& entries);

 private:
  void read();

  std::string path_;
  std::mutex mutex_;
  bool was_read_ = false;
  Entries entries_;
};

}  // namespace kiln
