#include "aten/schema.h"

#include <cctype>

namespace kiln {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  bool parse(Schema& schema) {
    schema.name = take_until("(.");
    if (schema.name.find("::") == std::string::npos) return false;
    if (accept('.')) schema.overload = take_until("(");
    if (!accept('(') || !list(schema.arguments, true)) return false;
    skip();
    if (!accept_word("->")) return false;
    skip();
    if (accept('(')) return list(schema.results, false) && at_end();
    SchemaArgument result;
    if (!type(result)) return false;
    skip();
    result.name = identifier();  // "Tensor[] self_out"
    schema.results.push_back(std::move(result));
    return at_end();
  }

 private:
  void skip() {
    while (position_ < text_.size() && text_[position_] == ' ') ++position_;
  }
  bool at_end() {
    skip();
    return position_ == text_.size();
  }
  bool accept(char c) {
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  bool accept_word(std::string_view word) {
    if (!text_.substr(position_).starts_with(word)) return false;
    position_ += word.size();
    return true;
  }
  std::string take_until(std::string_view stops) {
    const size_t begin = position_;
    while (position_ < text_.size() && stops.find(text_[position_]) == std::string_view::npos) {
      ++position_;
    }
    return std::string(text_.substr(begin, position_ - begin));
  }
  std::string identifier() {
    const size_t begin = position_;
    while (position_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[position_])) || text_[position_] == '_' ||
            text_[position_] == '.')) {
      ++position_;
    }
    return std::string(text_.substr(begin, position_ - begin));
  }

  // Tensor(a!)?, int[2]?, SymInt[], Tensor?[], __torch__.torch.classes.x
  bool type(SchemaArgument& argument) {
    argument.type = identifier();
    if (argument.type.empty()) return false;
    while (position_ < text_.size()) {
      if (accept('?')) {
        argument.type += "?";
      } else if (accept('[')) {
        argument.type += "[" + take_until("]") + "]";
        if (!accept(']')) return false;
      } else if (accept('(')) {
        std::string alias = take_until(")");
        if (!accept(')')) return false;
        argument.alias_text = alias;
        argument.alias_position = argument.type.size();
        const size_t mark = alias.find('!');
        argument.written = mark != std::string::npos;
        argument.alias = alias.substr(0, std::min(mark, alias.find(' ')));
      } else {
        break;
      }
    }
    return true;
  }

  // A default: a literal, a list in brackets or a quoted string.
  std::string literal() {
    const size_t begin = position_;
    int depth = 0;
    char quote = 0;
    while (position_ < text_.size()) {
      const char c = text_[position_];
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '[') {
        ++depth;
      } else if (c == ']') {
        --depth;
      } else if (depth == 0 && (c == ',' || c == ')')) {
        break;
      }
      ++position_;
    }
    return std::string(text_.substr(begin, position_ - begin));
  }

  bool list(std::vector<SchemaArgument>& arguments, bool named) {
    bool keyword_only = false;
    skip();
    if (accept(')')) return true;
    while (true) {
      skip();
      if (accept('*')) {
        keyword_only = true;
      } else {
        SchemaArgument argument;
        argument.keyword_only = keyword_only;
        if (!type(argument)) return false;
        skip();
        argument.name = identifier();
        if (named && argument.name.empty()) return false;
        skip();
        if (accept('=')) argument.default_value = literal();
        arguments.push_back(std::move(argument));
      }
      skip();
      if (accept(')')) return true;
      if (!accept(',')) return false;
    }
  }

  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace

namespace {

std::string argument_to_string(const SchemaArgument& argument) {
  std::string text = argument.type;
  if (!argument.alias_text.empty()) {
    text.insert(argument.alias_position, "(" + argument.alias_text + ")");
  }
  if (!argument.name.empty()) text += " " + argument.name;
  if (argument.default_value) text += "=" + *argument.default_value;
  return text;
}

std::string arguments_to_string(const std::vector<SchemaArgument>& arguments) {
  std::string text = "(";
  bool keyword_only = false;
  for (const SchemaArgument& argument : arguments) {
    if (text.size() > 1) text += ", ";
    if (argument.keyword_only && !keyword_only) text += "*, ";
    keyword_only = argument.keyword_only;
    text += argument_to_string(argument);
  }
  return text + ")";
}

}  // namespace

std::string Schema::to_string() const {
  const bool bare = results.size() == 1;
  return full_name() + arguments_to_string(arguments) + " -> " +
         (bare ? argument_to_string(results[0]) : arguments_to_string(results));
}

Result<Schema> Schema::parse(std::string_view text) {
  Schema schema;
  if (!Parser(text).parse(schema)) {
    return Status::error("K1121", "operator schema does not parse: " + std::string(text));
  }
  return schema;
}

}  // namespace kiln
