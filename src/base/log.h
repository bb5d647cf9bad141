// Diagnostic lines on standard error. Silent unless asked for:
//   KILN_LOGS=debug                       everything
//   KILN_LOGS=passes=debug,runtime=info   by area
// What users must know travels in Status and in the report, never only here.
#pragma once

#include <atomic>
#include <sstream>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kiln {

enum class LogLevel : int { kOff, kWarning, kInfo, kDebug };
enum class LogArea : int {
  kImport,   // capture and ATen rules
  kPasses,   // graph passes
  kFusion,   // fusions, layouts, tile programs
  kTuning,   // providers, tactics, timing
  kBuilder,  // phases, plan, engine writer
  kRuntime,  // engine reader, contexts, runs
  kCpu,      // CPU kernels and libraries
  kTorch,    // host calls
  kCount
};

std::string_view log_area_name(LogArea area);

// Sets levels from text of the form above, all areas off first. K1003 for an unknown area or
// level; nothing is changed then.
Status set_log_levels(std::string_view text);
void set_log_level(LogArea area, LogLevel level);

// Where lines go, "kiln passes debug: text\n" each; null means standard error. May be called by
// several threads at once.
using LogSink = void (*)(std::string_view line);
void set_log_sink(LogSink sink);

namespace detail {
extern std::atomic<int> log_levels[static_cast<int>(LogArea::kCount)];

// Collects one line and hands it to the sink when it dies.
class LogLine {
 public:
  LogLine(LogArea area, LogLevel level);
  ~LogLine();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};
}  // namespace detail

inline bool log_enabled(LogArea area, LogLevel level) {
  return detail::log_levels[static_cast<int>(area)].load(std::memory_order_relaxed) >=
         static_cast<int>(level);
}

}  // namespace kiln

// KILN_LOG(kPasses, kDebug) << "folded " << n << " nodes"; nothing is evaluated when off.
#define KILN_LOG(area, level)                                                 \
  if (!::kiln::log_enabled(::kiln::LogArea::area, ::kiln::LogLevel::level)) { \
  } else                                                                      \
    ::kiln::detail::LogLine(::kiln::LogArea::area, ::kiln::LogLevel::level).stream()
