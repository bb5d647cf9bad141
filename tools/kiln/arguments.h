// Command lines of the kiln tool: positional words and --options.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace kiln::tool {

struct Arguments {
  std::vector<std::string> words;
  // Values in the order given: "json" -> {""} for flags, "input" -> {"a.npy", "b.npy"}.
  std::map<std::string, std::vector<std::string>> options;

  bool has(const std::string& name) const { return options.contains(name); }
  // The last value given, or `otherwise`.
  std::string get(const std::string& name, const std::string& otherwise = {}) const;
  // All values given, in order.
  std::vector<std::string> all(const std::string& name) const;
  // K1002 when it is no integer in [low, high].
  Result<int> integer(const std::string& name, int otherwise, int low, int high) const;
  // K1002 when it is no number of seconds in [low, high].
  Result<double> number(const std::string& name, double otherwise, double low, double high) const;
};

// `flags` take no value, `valued` take one ("--name value" or "--name=value") and may be repeated.
// "-h" counts as "--help", and "-o", "-p", "-d", "-v" and "-w" as "--output", "--enable-precision",
// "--device-type", "--verbose" and "--warnings" where those are known; "-pf16" is "-p f16". K1001
// for others, with the nearest known name; K1002 for a value where none belongs and for a missing
// one.
Result<Arguments> parse_arguments(const std::vector<std::string>& words,
                                  const std::vector<std::string>& flags,
                                  const std::vector<std::string>& valued);

}  // namespace kiln::tool
