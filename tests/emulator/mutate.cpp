#include "emulator/mutate.h"

#include <filesystem>
#include <functional>
#include <regex>
#include <set>
#include <sstream>

#include "base/file.h"

namespace kiln::emulator {
namespace {

// What a rule makes of one line: other lines, none when it does not apply.
using Rule = std::function<void(const std::string& line, std::vector<std::string>& out)>;

// For each match, the line with `replacement(match)` in its place.
void replace_each(const std::string& line, const std::regex& pattern,
                  const std::function<std::string(const std::smatch&)>& replacement,
                  std::vector<std::string>& out) {
  for (auto at = std::sregex_iterator(line.begin(), line.end(), pattern);
       at != std::sregex_iterator(); ++at) {
    const std::smatch& match = *at;
    out.push_back(line.substr(0, static_cast<size_t>(match.position())) + replacement(match) +
                  line.substr(static_cast<size_t>(match.position() + match.length())));
  }
}

Rule replace_text(const char* pattern, std::vector<std::string> replacements) {
  return [regex = std::regex(pattern), replacements](const std::string& line,
                                                     std::vector<std::string>& out) {
    for (const std::string& text : replacements) {
      replace_each(line, regex, [&](const std::smatch& m) { return m.format(text); }, out);
    }
  };
}

// Where the parenthesis that opens at `open` closes; npos: not on this line.
size_t closing(const std::string& line, size_t open) {
  int depth = 0;
  for (size_t i = open; i < line.size(); ++i) {
    if (line[i] == '(') ++depth;
    if (line[i] == ')' && --depth == 0) return i;
  }
  return std::string::npos;
}

// The condition of an `if` on this line, as [begin, end).
bool condition_of(const std::string& line, size_t* begin, size_t* end) {
  const size_t at = line.find("if (");
  if (at == std::string::npos || line.find("constexpr") != std::string::npos) return false;
  *begin = at + 4;
  *end = closing(line, at + 3);
  return *end != std::string::npos;
}

void guard(const std::string& line, std::vector<std::string>& out) {
  size_t begin = 0, end = 0;
  if (!condition_of(line, &begin, &end)) return;
  const bool returns = line.find("return", end) != std::string::npos;
  out.push_back(line.substr(0, begin) + (returns ? "false" : "true") + line.substr(end));
}

void condition(const std::string& line, std::vector<std::string>& out) {
  size_t begin = 0, end = 0;
  if (!condition_of(line, &begin, &end)) return;
  out.push_back(line.substr(0, begin) + "!(" + line.substr(begin, end - begin) + ")" +
                line.substr(end));
}

// Calls whose result is an accumulation: the call goes into KILN_NARROW, see kNarrow.
void narrow(const std::string& line, std::vector<std::string>& out) {
  for (const char* name : {"fn::add(", "fn::mul(", "Op::join(", "fmaf(", "Op::combine(",
                           "multiply_add("}) {
    const size_t at = line.find(name);
    if (at == std::string::npos || line.find("KILN_DEVICE") != std::string::npos) continue;
    // Not the steps of a polynomial.
    const bool sums =
        line.find("sum") != std::string::npos || line.find("acc") != std::string::npos;
    if (std::string_view(name) == "fmaf(" && !sums) continue;
    const size_t end = closing(line, line.find('(', at));
    if (end == std::string::npos) continue;
    out.push_back(line.substr(0, at) + "KILN_NARROW(" + line.substr(at, end + 1 - at) + ")" +
                  line.substr(end + 1));
  }
}

constexpr const char* kNarrow =
    "template <class T> inline T KILN_NARROW(T x) { return x; }\n"
    "inline float KILN_NARROW(float x) { return to_float(to_bf16(x)); }\n"
    "inline double KILN_NARROW(double x) { return static_cast<float>(x); }\n"
    "inline int64 KILN_NARROW(int64 x) { return static_cast<int32>(x); }\n";

const std::vector<std::pair<std::string, Rule>>& rules() {
  static const std::vector<std::pair<std::string, Rule>> list = {
      {"barrier", replace_text(R"((\b(warp|cluster)_)?\bbarrier\(\);)", {";"})},
      {"bound", replace_text(R"( < ([A-Za-z_0-9.]+|\([^()]*\)))", {" < $1 + 1", " < $1 - 1"})},
      {"compare", replace_text(" < ", {" <= "})},
      {"compare", replace_text(" <= ", {" < "})},
      {"compare", replace_text(" > ", {" >= "})},
      {"compare", replace_text(" >= ", {" > "})},
      {"strides", replace_text(R"((\w+) \* (\w+) \+ (\w+) \* (\w+))", {"$1 * $4 + $3 * $2"})},
      {"strides", replace_text(R"((\w+) \* (\w+) \+ (\w+)(?! ?[*(\w]))", {"$1 + $3 * $2"})},
      {"guard", guard},
      {"tail", replace_text(R"(\bload_some<(.*), (\d+)>\((.*), [^,]*\);)",
                            {"load_some<$1, $2>($3, $2);"})},
      {"tail", replace_text(R"(\bstore_some<(.*), (\d+)>\((.*), [^,]*\);)",
                            {"store_some<$1, $2>($3, $2);"})},
      {"narrow", narrow},
      {"operator", replace_text(R"((\w|\)|\]) \+ )", {"$1 - "})},
      {"operator", replace_text(R"((\w|\)|\]) - )", {"$1 + "})},
      {"operator", replace_text(R"((\w|\)|\]) \* )", {"$1 + "})},
      {"constant", replace_text(R"(([ (\[-])(\d+)\b(?![.x]|>\())", {"$1($2 + 1)"})},
      {"lanes", replace_text(R"(mask > 0)", {"mask > 1"})},
      {"lanes", replace_text(R"(/ 2;)", {"/ 4;"})},
      {"lanes", replace_text(R"(shuffle_xor\((.*), (\w+)\))", {"shuffle_xor($1, $2 ^ 1)"})},
      {"lanes", replace_text(R"(shuffle_up\((.*), (\w+)\))", {"shuffle_up($1, $2 + 1)"})},
      {"lanes", replace_text(R"(shuffle_down\((.*), (\w+)\))", {"shuffle_down($1, $2 + 1)"})},
      {"place", replace_text(R"(\bthread_x\(\))", {"(thread_x() / 2)"})},
      {"place", replace_text(R"(\bblock_x\(\))", {"(block_x() / 2)"})},
      {"place", replace_text(R"(\blane\(\))", {"warp()"})},
      {"place", replace_text(R"(\bwarp\(\))", {"lane()"})},
      {"operands", replace_text(R"(\b(fn::(sub|div|pow|atan2|fmod|\w+_div))\((\w+), (\w+)\))",
                                {"$1($4, $3)"})},
      {"condition", condition},
      {"statement",
       replace_text(R"(^( *)(\w+(\[[^;]*\]|\.at\[[^;]*\])? = |store<|store_some<).*;$)", {"$1;"})},
      {"async", replace_text(R"(\b[\w.]+(\([^;()]*\))?\.(template )?)"
                             R"((wait|arrive|arrive_expecting|commit|begin|done|init|next))"
                             R"((<[^;]*>)?\([^;]*\);)",
                             {";"})},
      {"async", replace_text(R"(\b(fence_barriers|release|copy_box)\([^;]*\);)", {";"})},
      {"pending", replace_text(R"(\bwait<([^;]*)>\(\);)", {"wait<$1 + 1>();"})},
      {"parity", replace_text(R"(parity \^ 1\);)", {"parity);"})},
      {"parity", replace_text(R"(parity\);)", {"parity ^ 1);"})},
      {"parity", replace_text(R"(parity \^= 1;)", {";"})},
      {"stage", replace_text(R"(\brelease\(own\.last\);)", {"release(own.at.stage);"})},
      {"stage", replace_text(R"(, other\);)", {", own.biases);"})},
      {"box", replace_text(R"(\bcopy_box\((.*), (\w+), ([^,]+), ([^,]+), (\w+)\);)",
                           {"copy_box($1, $2, $4, $3, $5);", "copy_box($1, $2, $3 + 8, $4, $5);",
                            "copy_box($1, $2, $3, $4 + 8, $5);"})},
      {"accumulate", replace_text(R"((\w+ != 0) \|\| (!first)\))",
                                  {"true)", "false)", "$1)", "$2)"})},
      {"column", replace_text(R"(\bbias \+ (\w+|\([^;()]*\)))", {"bias + ($1 + 8)"})},
  };
  return list;
}

// The identifiers of some lines.
void words_of(const std::string& line, std::set<std::string>& words) {
  static const std::regex word(R"([A-Za-z_]\w*)");
  for (auto at = std::sregex_iterator(line.begin(), line.end(), word);
       at != std::sregex_iterator(); ++at) {
    words.insert(at->str());
  }
}

bool starts_kernel(const std::string& line) {
  return line.starts_with("KILN_") && line.find("KERNEL(") != std::string::npos;
}

// A statement by which a thread tells others that they may go on.
bool tells_others(const std::string& line) {
  static const std::regex call(R"( *(release\(|[\w.]+(\([^;()]*\))?\.arrive).*;)");
  return std::regex_match(line, call);
}
// A statement that declares nothing.
bool only_acts(const std::string& line) {
  static const std::regex call(R"( *[\w.]+(\([^;()]*\))?(\.\w+|\.template \w+<[^;]*>)?\(.*\);)");
  return std::regex_match(line, call);
}

// The function or struct that each line is in, from its KILN_DEVICE or `struct` to the next one; ""
// of the kernel.
std::vector<std::string> functions_of(const std::vector<std::string>& lines) {
  static const std::regex definition(R"(KILN_DEVICE .*?(\w+)\(|^struct (\w+))");
  std::vector<std::string> function(lines.size());
  std::string current = "?";  // before the first one
  for (size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (starts_kernel(lines[i])) {
      current.clear();
    } else if (std::regex_search(lines[i], match, definition)) {
      current = match[match[1].matched ? 1 : 2];
    }
    function[i] = current;
  }
  return function;
}

// Which lines the kernel can reach: its own, and those of functions and structs whose names occur
// in lines that it reaches.
std::vector<bool> reached_lines(const std::vector<std::string>& lines,
                                const std::vector<std::string>& function) {
  std::set<std::string> words{""};
  std::vector<bool> reached(lines.size());
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < lines.size(); ++i) {
      if (reached[i] || !words.contains(function[i])) continue;
      reached[i] = more = true;
      words_of(lines[i], words);
    }
  }
  return reached;
}

Status append(const std::string& text, const std::string& folder, std::set<std::string>& seen,
              std::string& outside, std::string& result) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with("#pragma once")) continue;
    if (line.starts_with("#include")) {
      const size_t begin = line.find('"') + 1, end = line.rfind('"');
      const std::string name = line.substr(begin, end - begin);
      // What has a twin for the host is the platform's, and stays outside.
      if (std::filesystem::exists(folder + "/emulated/" + name)) {
        if (seen.insert(name).second) outside += line + "\n";
      } else if (seen.insert(name).second) {
        KILN_ASSIGN_OR_RETURN(const std::string header, read_file(folder + "/" + name));
        KILN_RETURN_IF_ERROR(append(header, folder, seen, outside, result));
      }
      continue;
    }
    result += line + "\n";
  }
  return {};
}

}  // namespace

Result<std::string> with_headers(const cuda::KernelSource& source) {
  std::set<std::string> seen;
  std::string outside = "#include \"device/platform.h\"\n", result;
  KILN_RETURN_IF_ERROR(append(source.text,
                              std::string(KILN_TEST_SOURCE_DIR) + "/../src/backends/cuda", seen,
                              outside, result));
  return outside + kNarrow + result;
}

size_t kernel_head(const std::string& text) {
  static const std::regex head(R"(\nKILN_(\w+_)?KERNEL\()");
  std::smatch match;
  if (!std::regex_search(text, match, head)) return std::string::npos;
  return static_cast<size_t>(match.position());
}

std::string failing(const std::string& text) {
  std::string result = text;
  const size_t body = result.find(") {", kernel_head(text)) + 3;
  return result.insert(body, " kiln_emulated::machine->fail(\"the kernel runs\");");
}

std::vector<Mutant> mutants_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  const std::vector<std::string> function = functions_of(lines);
  const std::vector<bool> reached = reached_lines(lines, function);

  std::vector<Mutant> mutants;
  size_t begin = 0, before = 0;  // of this line, and of the one before it
  for (size_t i = 0; i < lines.size(); before = begin, begin += lines[i++].size() + 1) {
    const std::string& line = lines[i];
    const size_t indentation = line.find_first_not_of(' ');
    // Comments, preprocessor lines, what has to do with types, and what only the emulator runs.
    if (!reached[i] || starts_kernel(line) || indentation == std::string::npos ||
        line[indentation] == '/' || line[indentation] == '#' ||
        line.find("template <") != std::string::npos ||
        line.find("static_assert") != std::string::npos ||
        line.find("KILN_EXPECT") != std::string::npos) {
      continue;
    }
    if (i > 0 && tells_others(line) && only_acts(lines[i - 1])) {
      const std::string swapped = line + "\n" + lines[i - 1];
      mutants.push_back({text.substr(0, before) + swapped + text.substr(begin + line.size()),
                         "early", lines[i - 1].substr(indentation), line.substr(indentation),
                         function[i]});
    }
    const size_t comment = std::min(line.find(" //"), line.size());
    const std::string code = line.substr(0, comment);
    for (const auto& [name, rule] : rules()) {
      std::vector<std::string> others;
      rule(code, others);
      for (const std::string& other : others) {
        if (other == code) continue;
        mutants.push_back({text.substr(0, begin) + other + line.substr(comment) +
                               text.substr(begin + line.size()),
                           name, code.substr(indentation), other.substr(indentation), function[i]});
      }
    }
  }
  return mutants;
}

}  // namespace kiln::emulator
