#include "runtime/timing_cache.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/cache_folder.h"
#include "base/file.h"
#include "base/options.h"

namespace kiln {
namespace {

constexpr std::string_view kHeader = "kiln timings 1";
constexpr size_t kMaxFileBytes = size_t{64} << 20;

std::string clean(std::string_view text) {
  std::string result(text);
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c >= 0 && c < ' '; }, ' ');
  return result;
}

std::string user_path() {
  if (!debug_options().cache) return "";
  const std::string folder = user_cache_folder();
  // open() makes the folder and refuses one that others may write.
  if (folder.empty() || !CacheFolder::open(folder, 0).ok()) return "";
  return folder + "/timings.txt";
}

}  // namespace

TimingCache& TimingCache::user() {
  static auto* cache = new TimingCache(user_path());
  return *cache;
}

TimingCache::Entries TimingCache::parse(std::string_view text) {
  Entries entries;
  bool first = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (first) {
      if (line != kHeader) return {};
      first = false;
      continue;
    }
    const size_t choice = line.find('\t');
    const size_t time = choice == line.npos ? line.npos : line.find('\t', choice + 1);
    if (time == line.npos) continue;
    const std::string_view number = line.substr(time + 1);
    Entry entry{std::string(line.substr(choice + 1, time - choice - 1)), 0};
    const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(),
                                               entry.microseconds, std::chars_format::fixed);
    if (error != std::errc() || stop != number.data() + number.size()) continue;
    if (!(entry.microseconds >= 0)) continue;
    entries[std::string(line.substr(0, choice))] = std::move(entry);
  }
  return entries;
}

std::string TimingCache::print(const Entries& entries) {
  std::string text = std::string(kHeader) + "\n";
  for (const auto& [key, entry] : entries) {
    char time[64];
    std::snprintf(time, sizeof(time), "%.3f", entry.microseconds);
    text += key + "\t" + entry.choice + "\t" + time + "\n";
  }
  return text;
}

void TimingCache::read() {
  if (path_.empty()) return;
  const Result<std::string> text = read_file(path_, kMaxFileBytes);
  if (!text.ok()) return;  // not there yet
  // What this process has measured is newer.
  for (auto& [key, entry] : parse(*text)) entries_.emplace(key, std::move(entry));
}

std::optional<TimingCache::Entry> TimingCache::find(std::string_view key) {
  std::lock_guard lock(mutex_);
  if (!was_read_) {
    read();
    was_read_ = true;
  }
  const auto found = entries_.find(clean(key));
  if (found == entries_.end()) return {};
  return found->second;
}

Status TimingCache::add(std::string_view key, Entry entry) {
  std::lock_guard lock(mutex_);
  entry.choice = clean(entry.choice);
  if (!(entry.microseconds >= 0) || !std::isfinite(entry.microseconds)) entry.microseconds = 0;
  entries_[clean(key)] = std::move(entry);
  read();
  was_read_ = true;
  if (path_.empty()) return {};
  KILN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path_));
  KILN_RETURN_IF_ERROR(file.write(print(entries_)));
  return file.commit(/*durable=*/false);
}

}  // namespace kiln
