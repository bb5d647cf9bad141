// The names of include/torch_tensorrt/logging.h.
#include <torch_tensorrt/logging.h>

#include <array>
#include <cstdio>
#include <mutex>
#include <string_view>

#include "base/log.h"

namespace torch_tensorrt::logging {
namespace {

struct Settings {
  std::mutex mutex;
  std::string prefix;
  Level level = kERROR;
  bool colored = false;
};

Settings& settings() {
  static Settings* const kSettings = new Settings;  // lines may come while the process ends
  return *kSettings;
}

// Lines of Kiln's own log.
void write_line(std::string_view line) {
  std::string text = get_logging_prefix();
  text += line;
  std::fwrite(text.data(), 1, text.size(), stderr);  // one call, so lines do not mix
}

kiln::LogLevel kiln_level(Level level) {
  switch (level) {
    case kINTERNAL_ERROR:
    case kERROR: return kiln::LogLevel::kOff;
    case kWARNING: return kiln::LogLevel::kWarning;
    case kINFO: return kiln::LogLevel::kInfo;
    case kDEBUG:
    case kGRAPH: break;
  }
  return kiln::LogLevel::kDebug;
}

struct LevelName {
  const char* text;
  const char* color;
};
constexpr std::array<LevelName, 6> kNames = {{{"INTERNAL_ERROR", "\033[1;31m"},
                                              {"ERROR", "\033[31m"},
                                              {"WARNING", "\033[33m"},
                                              {"INFO", "\033[32m"},
                                              {"DEBUG", "\033[35m"},
                                              {"GRAPH", "\033[37m"}}};

}  // namespace

std::string get_logging_prefix() {
  const std::lock_guard lock(settings().mutex);
  return settings().prefix;
}

void set_logging_prefix(std::string prefix) {
  {
    const std::lock_guard lock(settings().mutex);
    settings().prefix = std::move(prefix);
  }
  kiln::set_log_sink(write_line);
}

Level get_reportable_log_level() {
  const std::lock_guard lock(settings().mutex);
  return settings().level;
}

void set_reportable_log_level(Level level) {
  const std::lock_guard lock(settings().mutex);
  settings().level = level;
  for (int area = 0; area < static_cast<int>(kiln::LogArea::kCount); ++area) {
    kiln::set_log_level(static_cast<kiln::LogArea>(area), kiln_level(level));
  }
}

bool get_is_colored_output_on() {
  const std::lock_guard lock(settings().mutex);
  return settings().colored;
}

void set_is_colored_output_on(bool colored_output_on) {
  const std::lock_guard lock(settings().mutex);
  settings().colored = colored_output_on;
}

void log(Level level, std::string message) {
  std::string line;
  {
    const std::lock_guard lock(settings().mutex);
    if (level > settings().level) return;
    const LevelName& name = kNames.at(static_cast<size_t>(level));
    line = settings().colored ? std::string(name.color) + name.text + "\033[0m" : name.text;
  }
  line += ": " + message + "\n";
  write_line(line);
}

}  // namespace torch_tensorrt::logging
