#include "frontend/pt2/operator_schemas.h"

#include <array>
#include <charconv>
#include <limits>
#include <optional>

namespace kiln::pt2 {
namespace {

// What torch.export leaves in a graph and no import rule takes. Others come from the user.
constexpr std::array kOthers = {
#include "frontend/pt2/aten_schemas.inc"
};

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// The parts between commas that stand outside of brackets and quotes.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  char quote = 0;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(' || c == '[') {
      ++depth;
    } else if (c == ')' || c == ']') {
      --depth;
    } else if (c == ',' && depth == 0) {
      parts.push_back(trim(text.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  if (!trim(text.substr(begin)).empty()) parts.push_back(trim(text.substr(begin)));
  return parts;
}

template <typename T>
bool whole_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<CaptureArg> parse_default(std::string_view text, std::string_view type) {
  if (text == "None") return CaptureArg{};
  if (text == "True" || text == "False") return CaptureArg{text == "True"};
  if (text.ends_with("_format")) {
    return CaptureArg{CaptureArg::MemoryFormat{std::string(text.substr(0, text.size() - 7))}};
  }
  if (text == "strided") return CaptureArg{CaptureArg::Layout{"strided"}};
  if (text == "Mean") return CaptureArg{int64_t{1}};
  if (text == "inf" || text == "-inf") {
    const double infinity = std::numeric_limits<double>::infinity();
    return CaptureArg{text == "inf" ? infinity : -infinity};
  }
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'')) {
    return CaptureArg{std::string(text.substr(1, text.size() - 2))};
  }
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    CaptureArg::List items;
    for (const std::string_view part : split(text.substr(1, text.size() - 2))) {
      auto item = parse_default(part, "");
      if (!item) return std::nullopt;
      items.push_back(std::move(*item));
    }
    return CaptureArg{std::move(items)};
  }
  int64_t integer = 0;
  if (whole_number(text, integer)) {
    if (type.starts_with("float")) return CaptureArg{static_cast<double>(integer)};
    // "int[2] stride=1" stands for one number per dim.
    if (type.starts_with("int[") || type.starts_with("SymInt[")) {
      const size_t open = type.find('[') + 1;
      int64_t repeats = 1;
      if (!whole_number(type.substr(open, type.find(']') - open), repeats)) repeats = 1;
      if (repeats < 1 || repeats > 16) return std::nullopt;
      return CaptureArg{CaptureArg::List(static_cast<size_t>(repeats), CaptureArg{integer})};
    }
    return CaptureArg{integer};
  }
  double number = 0;
  if (whole_number(text, number)) return CaptureArg{number};
  return std::nullopt;
}

bool parse_argument(std::string_view part, OperatorArgument& argument) {
  const size_t equals = part.find('=');
  const std::string_view declaration = trim(part.substr(0, equals));
  const size_t space = declaration.rfind(' ');
  if (space == std::string_view::npos) return false;
  argument.name = declaration.substr(space + 1);
  argument.type = trim(declaration.substr(0, space));
  // What the argument aliases is the importer's business: "Tensor(a!)" is a Tensor here.
  const size_t open = argument.type.find('(');
  if (open != std::string::npos) {
    const size_t close = argument.type.find(')', open);
    if (close == std::string::npos) return false;
    argument.type.erase(open, close - open + 1);
  }
  argument.has_default = equals != std::string_view::npos;
  if (!argument.has_default) return true;
  auto value = parse_default(trim(part.substr(equals + 1)), argument.type);
  if (value) argument.default_value = std::move(*value);
  return value.has_value();
}

// Where the parenthesis that opens at `open` closes.
size_t closing(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')' && --depth == 0) return i;
  }
  return std::string_view::npos;
}

Result<OperatorSchema> parse_schema(const std::string& text) {
  const auto refuse = [&text] {
    return Status::error("K1142", "an operator's schema does not parse: " + text);
  };
  OperatorSchema schema;
  schema.text = text;
  const size_t open = text.find('('),
               close = open == std::string::npos ? open : closing(text, open);
  if (close == std::string::npos) return refuse();
  const size_t arrow = text.find("->", close);
  if (arrow == std::string::npos) return refuse();
  schema.returns_list = text.ends_with("[]");
  const std::string_view arguments = std::string_view(text).substr(open + 1, close - open - 1);
  for (const std::string_view part : split(arguments)) {
    if (part == "*") continue;
    if (!parse_argument(part, schema.arguments.emplace_back())) return refuse();
  }
  return schema;
}

std::string name_of(std::string_view schema) {
  return std::string(trim(schema.substr(0, schema.find('('))));
}

}  // namespace

Result<OperatorSchemas> OperatorSchemas::make(const std::vector<std::string>& stated) {
  OperatorSchemas schemas;
  for (const char* text : kOthers) schemas.texts_.insert_or_assign(name_of(text), text);
  for (std::string& text : import_rule_schemas()) {
    std::string name = name_of(text);
    schemas.texts_.insert_or_assign(std::move(name), std::move(text));
  }
  for (const std::string& text : stated) {
    KILN_ASSIGN_OR_RETURN(OperatorSchema schema, parse_schema(text));
    const std::string name = name_of(text);
    if (name.find("::") == std::string::npos) {
      return Status::error("K1142", "an operator's schema does not parse: " + text);
    }
    schemas.texts_.insert_or_assign(name, text);
  }
  return schemas;
}

Result<const OperatorSchema*> OperatorSchemas::find(const std::string& name) {
  if (const auto found = parsed_.find(name); found != parsed_.end()) return &found->second;
  const auto text = texts_.find(name);
  if (text == texts_.end()) {
    return Status::error("K1142", "an operator whose schema is not known: " + name,
                         "state it: kiln compile --op-schema '" + name + "(...) -> ...'");
  }
  KILN_ASSIGN_OR_RETURN(OperatorSchema schema, parse_schema(text->second));
  return &parsed_.emplace(name, std::move(schema)).first->second;
}

}  // namespace kiln::pt2
