// The JSON parser: one pass, recursive descent (depth is limited), no copies but into the values.
#include <charconv>

#include "base/json.h"
#include "base/utf8.h"

namespace kiln {

class JsonParser {
 public:
  JsonParser(std::string_view text, const JsonLimits& limits)
      : begin_(text.data()), at_(begin_), end_(begin_ + text.size()), limits_(limits) {}

  Result<Json> run() {
    Json value;
    if (!parse_value(value, 0)) return std::move(error_);
    skip_space();
    if (at_ != end_) return syntax("json text goes on after its value");
    return value;
  }

 private:
  Status syntax(const char* what) const {
    return Status::error("K3010", std::string(what) + ": at byte " + std::to_string(at_ - begin_));
  }

  bool fail(const char* what) {
    error_ = syntax(what);
    return false;
  }

  void skip_space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  // The next character that is not a space, not taken; 0 at the end.
  char peek() {
    skip_space();
    return at_ == end_ ? '\0' : *at_;
  }

  bool literal(std::string_view word) {
    if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) {
      return fail("json value expected");
    }
    at_ += word.size();
    return true;
  }

  bool parse_value(Json& value, int depth) {
    switch (peek()) {
      case '{': return parse_object(value, depth + 1);
      case '[': return parse_array(value, depth + 1);
      case '"': {
        std::string text;
        if (!parse_string(text)) return false;
        value = Json(std::move(text));
        return true;
      }
      case 't': value = Json(true); return literal("true");
      case 'f': value = Json(false); return literal("false");
      case 'n': value = Json(nullptr); return literal("null");
      default: return parse_number(value);
    }
  }

  bool check_depth(int depth) {
    if (depth <= limits_.max_depth) return true;
    error_ = Status::error("K3011", "json text is nested too deeply: at byte " +
                                        std::to_string(at_ - begin_) + ", limit " +
                                        std::to_string(limits_.max_depth));
    return false;
  }

  bool parse_array(Json& value, int depth) {
    if (!check_depth(depth)) return false;
    ++at_;
    value = Json::array();
    Json::Array& elements = value.as_array();
    if (peek() == ']') {
      ++at_;
      return true;
    }
    while (true) {
      if (!parse_value(elements.emplace_back(), depth)) return false;
      const char next = peek();
      if (next == ']') break;
      if (next != ',') return fail("json array needs ',' or ']'");
      ++at_;
    }
    ++at_;
    return true;
  }

  bool parse_object(Json& value, int depth) {
    if (!check_depth(depth)) return false;
    const char* opened = at_++;
    value = Json::object();
    JsonObject& object = value.as_object();
    if (peek() == '}') {
      ++at_;
      return true;
    }
    while (true) {
      if (peek() != '"') return fail("json object needs a name");
      JsonMember& member = object.members_.emplace_back();
      if (!parse_string(member.key)) return false;
      if (peek() != ':') return fail("json object needs ':'");
      ++at_;
      if (!parse_value(member.value, depth)) return false;
      const char next = peek();
      if (next == '}') break;
      if (next != ',') return fail("json object needs ',' or '}'");
      ++at_;
    }
    ++at_;
    if (object.build_index()) return true;
    at_ = opened;
    return fail("json object has two members of one name");
  }

  // One escape after the backslash.
  bool parse_escape(std::string& text) {
    if (at_ == end_) return fail("json string does not end");
    switch (*at_++) {
      case '"': text += '"'; return true;
      case '\\': text += '\\'; return true;
      case '/': text += '/'; return true;
      case 'b': text += '\b'; return true;
      case 'f': text += '\f'; return true;
      case 'n': text += '\n'; return true;
      case 'r': text += '\r'; return true;
      case 't': text += '\t'; return true;
      case 'u': break;
      default: --at_; return fail("json string has an unknown escape");
    }
    uint32_t code = 0;
    if (!parse_hex4(code)) return false;
    if (code >= 0xD800 && code <= 0xDBFF && end_ - at_ >= 2 && at_[0] == '\\' && at_[1] == 'u') {
      at_ += 2;
      uint32_t low = 0;
      if (!parse_hex4(low)) return false;
      if (low < 0xDC00 || low > 0xDFFF) return fail("json string has a lone surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code <= 0xDFFF) return fail("json string has a lone surrogate");
    append_utf8(text, code);
    return true;
  }

  bool parse_hex4(uint32_t& code) {
    if (end_ - at_ < 4) return fail("json string does not end");
    const auto [stop, error] = std::from_chars(at_, at_ + 4, code, 16);
    if (error != std::errc() || stop != at_ + 4) {
      return fail("json string has a bad \\u escape");
    }
    at_ += 4;
    return true;
  }

  bool parse_string(std::string& text) {
    ++at_;
    while (true) {
      // A run of plain ASCII at once.
      const char* run = at_;
      while (at_ != end_) {
        const auto c = static_cast<unsigned char>(*at_);
        if (c == '"' || c == '\\' || c < 0x20 || c >= 0x80) break;
        ++at_;
      }
      text.append(run, static_cast<size_t>(at_ - run));
      if (at_ == end_) return fail("json string does not end");
      const auto c = static_cast<unsigned char>(*at_);
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c == '\\') {
        ++at_;
        if (!parse_escape(text)) return false;
      } else if (c < 0x20) {
        return fail("json string has a control character");
      } else {
        const size_t size = utf8_sequence({at_, static_cast<size_t>(end_ - at_)});
        if (size == 0) return fail("json string is not utf-8");
        text.append(at_, size);
        at_ += size;
      }
    }
  }

  bool digit() const { return at_ != end_ && *at_ >= '0' && *at_ <= '9'; }

  bool parse_number(Json& value) {
    const char* start = at_;
    if (at_ != end_ && *at_ == '-') ++at_;
    if (!digit()) {
      at_ = start;
      return fail("json value expected");
    }
    // A leading zero stands alone.
    if (*at_++ != '0') {
      while (digit()) ++at_;
    } else if (digit()) {
      return fail("json number has a leading zero");
    }
    bool integral = true;
    if (at_ != end_ && *at_ == '.') {
      integral = false;
      ++at_;
      if (!digit()) return fail("json number needs a digit");
      while (digit()) ++at_;
    }
    if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
      integral = false;
      ++at_;
      if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
      if (!digit()) return fail("json number needs a digit");
      while (digit()) ++at_;
    }
    return integral ? store<int64_t>(start, value) : store<double>(start, value);
  }

  template <typename T>
  bool store(const char* start, Json& value) {
    T number{};
    const auto [stop, error] = std::from_chars(start, at_, number);
    if (error != std::errc() || stop != at_) {
      at_ = start;
      return fail("json number is out of range");
    }
    value = Json(number);
    return true;
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  const JsonLimits& limits_;
  Status error_;
};

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return Status::error("K3011", "json text is too large: " + std::to_string(text.size()) +
                                      " bytes, limit " + std::to_string(limits.max_bytes));
  }
  return JsonParser(text, limits).run();
}

}  // namespace kiln
