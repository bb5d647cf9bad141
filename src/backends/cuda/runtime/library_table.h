// Functions of a library, found once, when they are needed first; in a test's place a table that
// the test has given.
#pragma once

#include <atomic>
#include <string>

#include <kiln/status.h>

namespace kiln::cuda {

struct LibraryInfo {
  std::string path;     // of the file; for people
  std::string version;  // "13.1.0": part of cache keys
};

// Of a library whose version is a number, 130100 being "13.1.0".
LibraryInfo library_info(size_t (*version)());

template <typename Table>
class LibraryTable {
 public:
  // Opens the library, which stays open for the life of the process, and fills the table.
  using Loader = Status (*)(Table& table, LibraryInfo& info);
  explicit constexpr LibraryTable(Loader loader) : loader_(loader) {}

  Result<const Table*> get() {
    if (const Table* table = test_table_.load()) return table;
    const Loaded& result = loaded();
    if (!result.status.ok()) return result.status;
    return &result.table;
  }
  Result<LibraryInfo> info() {
    if (test_table_.load() != nullptr) return LibraryInfo{"", "test"};
    const Loaded& result = loaded();
    if (!result.status.ok()) return result.status;
    return result.info;
  }
  void set_for_test(const Table* table) { test_table_.store(table); }

 private:
  struct Loaded {
    Status status;
    Table table;
    LibraryInfo info;
  };
  const Loaded& loaded() {
    // One library to a type of table. Never destroyed: other threads may use it while static
    // objects go.
    static const Loaded* result = [this] {
      auto* fresh = new Loaded;
      fresh->status = loader_(fresh->table, fresh->info);
      return fresh;
    }();
    return *result;
  }

  Loader loader_;
  std::atomic<const Table*> test_table_{nullptr};
};

}  // namespace kiln::cuda
