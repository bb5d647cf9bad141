// The JSON writer.
#include <charconv>

#include "base/json.h"
#include "base/utf8.h"

namespace kiln {
namespace {

class Writer {
 public:
  explicit Writer(bool pretty) : pretty_(pretty) {}

  void value(const Json& json, int depth) {
    switch (json.kind()) {
      case Json::Kind::kNull: text += "null"; return;
      case Json::Kind::kBool: text += json.as_bool() ? "true" : "false"; return;
      case Json::Kind::kInt: number(json.as_int()); return;
      case Json::Kind::kDouble: real(json.as_double()); return;
      case Json::Kind::kString: string(json.as_string()); return;
      case Json::Kind::kArray: array(json.as_array(), depth); return;
      case Json::Kind::kObject: object(json.as_object(), depth); return;
    }
  }

  std::string text;

 private:
  void number(auto value) {
    char buffer[32];
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
    text.append(buffer, end);
  }

  // The shortest text that reads back as the same double, and never as an integer.
  void real(double value) {
    const size_t start = text.size();
    number(value);
    if (text.find_first_of(".e", start) == std::string::npos) text += ".0";
  }

  void string(std::string_view value) {
    text += '"';
    while (!value.empty()) {
      size_t plain = 0;
      while (plain < value.size() && is_plain(value[plain])) ++plain;
      text.append(value.substr(0, plain));
      value.remove_prefix(plain);
      if (!value.empty()) value.remove_prefix(escaped(value));
    }
    text += '"';
  }

  static bool is_plain(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
  }

  // Writes the first character, which is not plain; returns how many bytes it took.
  size_t escaped(std::string_view value) {
    const auto byte = static_cast<unsigned char>(value[0]);
    if (byte >= 0x80) {
      const size_t size = utf8_sequence(value);
      text.append(size == 0 ? "\xEF\xBF\xBD" : value.substr(0, size));
      return size == 0 ? 1 : size;
    }
    switch (value[0]) {
      case '"': text += "\\\""; break;
      case '\\': text += "\\\\"; break;
      case '\b': text += "\\b"; break;
      case '\f': text += "\\f"; break;
      case '\n': text += "\\n"; break;
      case '\r': text += "\\r"; break;
      case '\t': text += "\\t"; break;
      default:
        text += "\\u00";
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    return 1;
  }

  void line(int depth) {
    text += '\n';
    text.append(static_cast<size_t>(depth) * 2, ' ');
  }

  static bool nested(const Json::Array& values) {
    for (const Json& value : values) {
      if (value.size() != 0) return true;
    }
    return false;
  }

  void array(const Json::Array& values, int depth) {
    const bool lines = pretty_ && nested(values);
    text += '[';
    for (size_t i = 0; i < values.size(); ++i) {
      if (i != 0) text += pretty_ && !lines ? ", " : ",";
      if (lines) line(depth + 1);
      value(values[i], depth + 1);
    }
    if (lines) line(depth);
    text += ']';
  }

  void object(const Json::Object& members, int depth) {
    text += '{';
    bool first = true;
    for (const JsonMember& member : members) {
      if (!first) text += ',';
      first = false;
      if (pretty_) line(depth + 1);
      string(member.key);
      text += pretty_ ? ": " : ":";
      value(member.value, depth + 1);
    }
    if (pretty_ && !first) line(depth);
    text += '}';
  }

  bool pretty_;
};

}  // namespace

std::string Json::dump() const {
  Writer writer(false);
  writer.value(*this, 0);
  return std::move(writer.text);
}

std::string Json::dump_pretty() const {
  Writer writer(true);
  writer.value(*this, 0);
  writer.text += '\n';
  return std::move(writer.text);
}

}  // namespace kiln
