// Command lines of the kiln tool: positional words and --options.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace kiln::tool {

struct Arguments {
  std::vector<std::string> words;
  std::map<std::string, std::string> options;  // "json" -> "" for flags

  bool has(const std::string& name) const { return options.contains(name); }
  std::string get(const std::string& name, const std::string& otherwise = {}) const;
  // K1002 when it is no integer in [low, high].
  Result<int> integer(const std::string& name, int otherwise, int low, int high) const;
};

// `flags` take no value, `valued` take one ("--name value" or "--name=value"). K1001 for others,
// with the nearest known name.
Result<Arguments> parse_arguments(int argc, char** argv, int first,
                                  const std::vector<std::string>& flags,
                                  const std::vector<std::string>& valued);

}  // namespace kiln::tool
