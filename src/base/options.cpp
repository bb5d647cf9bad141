#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/log.h"
#include "base/names.h"

namespace kiln {
namespace {

constexpr std::string_view kNames[] = {
#define KILN_DEBUG_OPTION_NAME(type, name, value, text) #name,
    KILN_DEBUG_OPTIONS(KILN_DEBUG_OPTION_NAME)
#undef KILN_DEBUG_OPTION_NAME
};

bool parse_value(std::string_view text, bool& value) {
  if (text != "0" && text != "1") return false;
  value = text == "1";
  return true;
}

[[maybe_unused]] bool parse_value(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_value(std::string_view text, std::string& value) {
  value = text;
  return true;
}

std::string show(bool value) { return value ? "1" : "0"; }
[[maybe_unused]] std::string show(int64_t value) { return std::to_string(value); }
std::string show(const std::string& value) { return value.empty() ? "unset" : value; }

Status set_one(DebugOptions& options, std::string_view name, std::string_view text) {
#define KILN_DEBUG_OPTION_PARSE(type, field, value, help)                                        \
  if (name == #field) {                                                                          \
    if (parse_value(text, options.field)) return {};                                             \
    return Status::error("K1002",                                                                \
                         "debug option " #field " cannot have this value: " + std::string(text), \
                         "it is of type " #type);                                                \
  }
  KILN_DEBUG_OPTIONS(KILN_DEBUG_OPTION_PARSE)
#undef KILN_DEBUG_OPTION_PARSE
  return Status::error("K1001", "unknown debug option: " + std::string(name),
                       unknown_name_hint(name, kNames));
}

struct Environment {
  DebugOptions options;
  Status status;
};

Environment& environment() {
  static Environment* result = [] {
    auto* made = new Environment;
    if (const char* text = std::getenv("KILN_OPTIONS")) {
      Result<DebugOptions> options = parse_debug_options(text);
      if (options.ok()) {
        made->options = std::move(options).value();
      } else {
        made->status = std::move(options).status().at("KILN_OPTIONS");
      }
    }
    if (const char* text = std::getenv("KILN_LOGS")) {
      Status status = set_log_levels(text);
      if (!status.ok() && made->status.ok()) made->status = std::move(status).at("KILN_LOGS");
    }
    return made;
  }();
  return *result;
}

}  // namespace

Result<DebugOptions> parse_debug_options(std::string_view text) {
  DebugOptions options;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view entry = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (entry.empty()) continue;
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) {
      return Status::error("K1002", "debug option without a value: " + std::string(entry),
                           "write name=value");
    }
    KILN_RETURN_IF_ERROR(set_one(options, entry.substr(0, equals), entry.substr(equals + 1)));
  }
  return options;
}

const DebugOptions& debug_options() { return environment().options; }

std::string debug_options_text() {
  std::string text;
#define KILN_DEBUG_OPTION_TEXT(type, name, value, help) \
  text += #name "=" + show(debug_options().name) + "\n";
  KILN_DEBUG_OPTIONS(KILN_DEBUG_OPTION_TEXT)
#undef KILN_DEBUG_OPTION_TEXT
  return text;
}

void set_debug_options(DebugOptions options) { environment().options = std::move(options); }

Status check_environment() { return environment().status; }

std::string describe_debug_options() {
  const DebugOptions defaults;
  std::string text;
#define KILN_DEBUG_OPTION_LINE(type, name, value, help) \
  text += #name " (" + show(defaults.name) + "): " help "\n";
  KILN_DEBUG_OPTIONS(KILN_DEBUG_OPTION_LINE)
#undef KILN_DEBUG_OPTION_LINE
  return text;
}

}  // namespace kiln
