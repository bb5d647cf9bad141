#include "tools/kiln/arguments.h"

#include <algorithm>
#include <charconv>

#include "base/names.h"

namespace kiln::tool {

std::string Arguments::get(const std::string& name, const std::string& otherwise) const {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

Result<int> Arguments::integer(const std::string& name, int otherwise, int low, int high) const {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  const std::string& text = found->second;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    return Status::error("K1002", "option --" + name + " takes an integer from " +
                                      std::to_string(low) + " to " + std::to_string(high) + ": '" +
                                      text + "'");
  }
  return value;
}

Result<Arguments> parse_arguments(int argc, char** argv, int first,
                                  const std::vector<std::string>& flags,
                                  const std::vector<std::string>& valued) {
  Arguments arguments;
  for (int i = first; i < argc; ++i) {
    std::string word = argv[i];
    if (!word.starts_with("--")) {
      arguments.words.push_back(std::move(word));
      continue;
    }
    word = word.substr(2);
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (std::find(flags.begin(), flags.end(), name) != flags.end()) {
      arguments.options[name] = "";
    } else if (std::find(valued.begin(), valued.end(), name) != valued.end()) {
      if (equals != std::string::npos) {
        arguments.options[name] = word.substr(equals + 1);
      } else if (i + 1 < argc) {
        arguments.options[name] = argv[++i];
      } else {
        return Status::error("K1002", "option needs a value: --" + name);
      }
    } else {
      std::vector<std::string> known = flags;
      known.insert(known.end(), valued.begin(), valued.end());
      return Status::error("K1001", "unknown option: --" + name, unknown_name_hint(name, known));
    }
  }
  return arguments;
}

}  // namespace kiln::tool
