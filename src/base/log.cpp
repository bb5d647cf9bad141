#include "base/log.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include "base/names.h"

namespace kiln {
namespace {

constexpr int kAreas = static_cast<int>(LogArea::kCount);
constexpr std::array<std::string_view, kAreas> kAreaNames = {
    "import", "passes", "fusion", "tuning", "builder", "runtime", "cpu", "torch"};
constexpr std::array<std::string_view, 4> kLevelNames = {"off", "warning", "info", "debug"};

std::atomic<LogSink> log_sink{nullptr};

template <size_t N>
int find_name(const std::array<std::string_view, N>& names, std::string_view name) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<int>(i);
  }
  return -1;
}

Status unknown(const char* what, std::string_view name,
               std::span<const std::string_view> candidates) {
  return Status::error("K1003", std::string(what) + ": " + std::string(name),
                       unknown_name_hint(name, candidates));
}

}  // namespace

std::atomic<int> detail::log_levels[kAreas] = {};

std::string_view log_area_name(LogArea area) { return kAreaNames[static_cast<size_t>(area)]; }

void set_log_level(LogArea area, LogLevel level) {
  detail::log_levels[static_cast<int>(area)].store(static_cast<int>(level));
}

Status set_log_levels(std::string_view text) {
  std::array<int, kAreas> levels = {};
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view entry = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (entry.empty()) continue;
    const size_t equals = entry.find('=');
    const std::string_view level_name =
        equals == std::string_view::npos ? entry : entry.substr(equals + 1);
    const int level = find_name(kLevelNames, level_name);
    if (level < 0) return unknown("unknown log level", level_name, kLevelNames);
    if (equals == std::string_view::npos) {
      levels.fill(level);
      continue;
    }
    const int area = find_name(kAreaNames, entry.substr(0, equals));
    if (area < 0) return unknown("unknown log area", entry.substr(0, equals), kAreaNames);
    levels[static_cast<size_t>(area)] = level;
  }
  for (int i = 0; i < kAreas; ++i) detail::log_levels[i].store(levels[static_cast<size_t>(i)]);
  return {};
}

void set_log_sink(LogSink sink) { log_sink.store(sink); }

detail::LogLine::LogLine(LogArea area, LogLevel level) {
  stream_ << "kiln " << kAreaNames[static_cast<size_t>(area)] << ' '
          << kLevelNames[static_cast<size_t>(level)] << ": ";
}

detail::LogLine::~LogLine() {
  stream_ << '\n';
  const std::string line = std::move(stream_).str();
  if (LogSink sink = log_sink.load()) {
    sink(line);
  } else {
    std::fwrite(line.data(), 1, line.size(), stderr);  // one call, so lines do not mix
  }
}

}  // namespace kiln
