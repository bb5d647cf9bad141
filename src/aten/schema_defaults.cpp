#include "aten/schema_defaults.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

namespace kiln {
namespace {

Result<CallArg> parse_default(std::string_view text) {
  if (text == "None") return CallArg();
  if (text == "True" || text == "False") return CallArg(text == "True");
  if (text == "contiguous_format") return CallArg(MemoryFormat::kContiguous);
  if (text == "Mean") return CallArg(int64_t{1});
  if (text.size() >= 2 && (text[0] == '"' || text[0] == '\'')) {
    return CallArg(std::string(text.substr(1, text.size() - 2)));
  }
  if (text.size() >= 2 && text[0] == '[') {
    CallArg::List items;
    std::string_view rest = text.substr(1, text.size() - 2);
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      std::string_view item = rest.substr(0, comma);
      while (!item.empty() && item[0] == ' ') item.remove_prefix(1);
      KILN_ASSIGN_OR_RETURN(CallArg value, parse_default(item));
      items.push_back(std::move(value));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return CallArg(std::move(items));
  }
  if (text == "inf") return CallArg(std::numeric_limits<double>::infinity());
  if (text == "-inf") return CallArg(-std::numeric_limits<double>::infinity());
  const std::string copy(text);
  char* end = nullptr;
  if (copy.find_first_of(".eE") == std::string::npos) {
    const long long integer = std::strtoll(copy.c_str(), &end, 10);
    if (end != copy.c_str() && *end == 0) return CallArg(static_cast<int64_t>(integer));
  } else {
    const double number = std::strtod(copy.c_str(), &end);
    if (end != copy.c_str() && *end == 0) return CallArg(number);
  }
  return Status::error("K1125", "default value does not parse: " + copy);
}

}  // namespace

Status fill_defaults(const Schema& schema, CallArg::List& args) {
  if (args.size() > schema.arguments.size()) {
    return Status::error("K1124", "too many arguments for " + schema.full_name() + ": " +
                                      std::to_string(args.size()));
  }
  for (size_t i = args.size(); i < schema.arguments.size(); ++i) {
    const SchemaArgument& argument = schema.arguments[i];
    if (!argument.default_value) {
      return Status::error("K1124",
                           "argument is missing for " + schema.full_name() + ": " + argument.name);
    }
    KILN_ASSIGN_OR_RETURN(CallArg value, parse_default(*argument.default_value));
    args.push_back(std::move(value));
  }
  return {};
}

}  // namespace kiln
