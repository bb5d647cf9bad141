// kiln cache: what compiled programs are kept on disk, whether they are whole, and making room.
#include <sys/stat.h>

#include <ctime>

#include "base/cache_folder.h"
#include "tools/kiln/command.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

constexpr const char* kHelp =
    "  ls                what is kept, most recently used first\n"
    "  verify            reads and checks every entry; deletes those that are damaged or that\n"
    "                    another version of Kiln wrote\n"
    "  prune             deletes what exceeds the limit, least recently used first\n"
    "  --dir FOLDER      this folder instead of $KILN_CACHE_DIR, $XDG_CACHE_HOME/kiln or\n"
    "                    ~/.cache/kiln\n"
    "  --max-size SIZE   for prune: \"500M\", \"20G\", \"0\" for all; otherwise $KILN_CACHE_SIZE\n"
    "                    or 8G\n"
    "  --json            one JSON document on standard output\n"
    "\nThe exit code of verify is 1 when an entry was damaged. Nothing here loses work:\n"
    "what is deleted is compiled again.\n";

std::string kind_of(const CacheFolder::Entry& entry) {
  return entry.name.substr(entry.name.find('.') + 1);
}

std::string show_time(int64_t nanoseconds) {
  const auto seconds = static_cast<std::time_t>(nanoseconds / 1000000000);
  std::tm local{};
  char text[32] = "";
  if (localtime_r(&seconds, &local) != nullptr) {
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  }
  return text;
}

Json entry_json(const CacheFolder::Entry& entry) {
  Json json = Json::object();
  json.set("name", entry.name);
  json.set("kind", kind_of(entry));
  json.set("bytes", static_cast<size_t>(entry.bytes));
  json.set("used", static_cast<double>(entry.used) / 1e9);
  return json;
}

Result<int> list(const CacheFolder& folder, bool as_json) {
  KILN_ASSIGN_OR_RETURN(const auto entries, folder.list());
  uint64_t bytes = 0;
  Json::Array rows;
  Table table({"entry", "kind", ">size", "used"});
  for (const auto& entry : entries) {
    bytes += entry.bytes;
    rows.push_back(entry_json(entry));
    table.add({entry.name.substr(0, 32), kind_of(entry), show_bytes(entry.bytes),
               show_time(entry.used)});
  }
  if (as_json) {
    Json json = Json::object();
    json.set("folder", folder.path());
    json.set("bytes", static_cast<size_t>(bytes));
    json.set("max_bytes", static_cast<size_t>(folder.max_bytes()));
    json.set("entries", Json(std::move(rows)));
    print_json(json);
    return 0;
  }
  if (!entries.empty()) std::printf("%s\n", table.text().c_str());
  std::printf("%zu entries, %s in %s\n", entries.size(), show_bytes(bytes).c_str(),
              folder.path().c_str());
  return 0;
}

Result<int> verify(const CacheFolder& folder, bool as_json) {
  KILN_ASSIGN_OR_RETURN(const auto entries, folder.list());
  int good = 0, damaged = 0;
  Json::Array bad;
  for (const auto& entry : entries) {
    const Status status = folder.check(entry);
    // Another process may have deleted it since it was listed.
    if (status.ok() || status.code() == "K3001") {
      good += status.ok() ? 1 : 0;
      continue;
    }
    KILN_RETURN_IF_ERROR(folder.remove(entry));
    damaged += status.code() == "K3404" ? 0 : 1;
    Json row = entry_json(entry);
    row.set("code", status.code());
    row.set("why", status.message());
    bad.push_back(std::move(row));
    if (!as_json) {
      std::printf("deleted %s: %s\n", entry.name.c_str(), status.message().c_str());
    }
  }
  const int code = damaged == 0 ? 0 : 1;
  if (as_json) {
    Json json = Json::object();
    json.set("folder", folder.path());
    json.set("good", good);
    json.set("deleted", Json(std::move(bad)));
    print_json(json);
  } else {
    std::printf("%d good entries, %d damaged, in %s\n", good, damaged, folder.path().c_str());
  }
  return code;
}

Result<int> prune(const CacheFolder& folder, uint64_t max_bytes, bool as_json) {
  KILN_ASSIGN_OR_RETURN(const auto pruned, folder.prune(max_bytes));
  if (as_json) {
    Json json = Json::object();
    json.set("folder", folder.path());
    json.set("entries", pruned.entries);
    json.set("bytes", static_cast<size_t>(pruned.bytes));
    print_json(json);
  } else {
    std::printf("deleted %d entries, %s, in %s\n", pruned.entries,
                show_bytes(pruned.bytes).c_str(), folder.path().c_str());
  }
  return 0;
}

Result<int> cache(const Arguments& arguments) {
  if (arguments.words.size() != 1) {
    return Status::error("K1008", "kiln cache takes one of ls, verify and prune",
                         "kiln help cache");
  }
  const std::string& action = arguments.words[0];
  if (action != "ls" && action != "verify" && action != "prune") {
    return Status::error("K1006", "unknown action of kiln cache: " + action,
                         "ls, verify or prune");
  }
  if (arguments.has("max-size") && action != "prune") {
    return Status::error("K1002", "--max-size is for kiln cache prune");
  }
  KILN_ASSIGN_OR_RETURN(const uint64_t limit, user_cache_bytes());
  const std::string path = arguments.get("dir", user_cache_folder());
  if (path.empty()) {
    return Status::error("K3401", "there is no cache folder: HOME is not set",
                         "--dir FOLDER or KILN_CACHE_DIR");
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    return Status::error("K3401", "there is no cache folder: " + path,
                         "it is made when a program is compiled");
  }
  KILN_ASSIGN_OR_RETURN(const CacheFolder folder, CacheFolder::open(path, limit));
  const bool as_json = arguments.has("json");
  if (action == "ls") return list(folder, as_json);
  if (action == "verify") return verify(folder, as_json);
  uint64_t max_bytes = limit == 0 ? UINT64_MAX : limit;
  if (arguments.has("max-size")) {
    KILN_ASSIGN_OR_RETURN(max_bytes, parse_byte_size(arguments.get("max-size")));
  }
  return prune(folder, max_bytes, as_json);
}

}  // namespace

Command cache_command() {
  return {"cache",
          "ls|verify|prune [--max-size SIZE] [--dir FOLDER] [--json]",
          "lists, checks and trims the compiled programs kept on disk",
          kHelp,
          {"json"},
          {"dir", "max-size"},
          cache};
}

}  // namespace kiln::tool
