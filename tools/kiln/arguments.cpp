#include "tools/kiln/arguments.h"

#include <algorithm>
#include <charconv>

#include "base/names.h"

namespace kiln::tool {
namespace {

template <typename T>
Result<T> parse_number(const std::string& name, const std::string& text, T low, T high,
                       const char* what) {
  T value = 0;
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  // Written so that NaN is refused too.
  if (error == std::errc() && end == last && value >= low && value <= high) return value;
  const auto show = [](T bound) {
    std::string shown = std::to_string(bound);
    if (shown.find('.') == std::string::npos) return shown;
    while (shown.back() == '0') shown.pop_back();
    if (shown.back() == '.') shown.pop_back();
    return shown;
  };
  return Status::error("K1002", "option --" + name + " takes " + what + " from " + show(low) +
                                    " to " + show(high) + ": '" + text + "'");
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The long name of an option of one letter; null for others.
const char* long_name(char letter) {
  switch (letter) {
    case 'd': return "device-type";
    case 'h': return "help";
    case 'o': return "output";
    case 'p': return "enable-precision";
    case 'v': return "verbose";
    case 'w': return "warnings";
    default: return nullptr;
  }
}

// "--enable-precision=f16" of "-pf16"; other words as they are.
std::string spelled_out(const std::string& word, const std::vector<std::string>& flags,
                        const std::vector<std::string>& valued) {
  if (word.size() < 2 || word[0] != '-') return word;
  const char* name = long_name(word[1]);
  if (name == nullptr) return word;
  const std::string option = std::string("--") + name;
  if (word.size() == 2 && (contains(flags, name) || contains(valued, name))) return option;
  return contains(valued, name) ? option + "=" + word.substr(2) : word;
}

}  // namespace

std::string Arguments::get(const std::string& name, const std::string& otherwise) const {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second.back();
}

std::vector<std::string> Arguments::all(const std::string& name) const {
  const auto found = options.find(name);
  return found == options.end() ? std::vector<std::string>() : found->second;
}

Result<int> Arguments::integer(const std::string& name, int otherwise, int low, int high) const {
  if (!has(name)) return otherwise;
  return parse_number<int>(name, get(name), low, high, "an integer");
}

Result<double> Arguments::number(const std::string& name, double otherwise, double low,
                                 double high) const {
  if (!has(name)) return otherwise;
  return parse_number<double>(name, get(name), low, high, "a number");
}

Result<Arguments> parse_arguments(const std::vector<std::string>& words,
                                  const std::vector<std::string>& flags,
                                  const std::vector<std::string>& valued) {
  Arguments arguments;
  bool only_words = false;  // after "--"
  for (size_t i = 0; i < words.size(); ++i) {
    std::string word = spelled_out(words[i], flags, valued);
    if (only_words || !word.starts_with("--")) {
      arguments.words.push_back(std::move(word));
      continue;
    }
    if (word == "--") {
      only_words = true;
      continue;
    }
    word = word.substr(2);
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (contains(flags, name)) {
      if (equals != std::string::npos) {
        return Status::error("K1002", "option takes no value: --" + name);
      }
      arguments.options[name].emplace_back();
    } else if (contains(valued, name)) {
      if (equals != std::string::npos) {
        arguments.options[name].push_back(word.substr(equals + 1));
      } else if (i + 1 < words.size()) {
        arguments.options[name].push_back(words[++i]);
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
