#include "core/text.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

namespace kiln {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

int hex_value(char c) {
  const size_t digit = kHexDigits.find(c);
  return digit == std::string_view::npos ? -1 : static_cast<int>(digit);
}

template <typename Float, typename Bits>
std::string any_float_to_text(Float value) {
  if (std::isnan(value)) {
    const Bits bits = std::bit_cast<Bits>(value);
    if (bits == std::bit_cast<Bits>(std::numeric_limits<Float>::quiet_NaN())) return "nan";
    std::string text = "nan:";
    for (int shift = static_cast<int>(sizeof(Bits)) * 8 - 4; shift >= 0; shift -= 4) {
      text += kHexDigits[(bits >> shift) & 15u];
    }
    return text;
  }
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  std::string text(buffer, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

template <typename Float, typename Bits>
bool any_float_from_text(std::string_view token, Float* out) {
  if (token.starts_with("nan")) {
    if (token == "nan") {
      *out = std::numeric_limits<Float>::quiet_NaN();
      return true;
    }
    if (token.size() != 4 + sizeof(Bits) * 2 || token[3] != ':') return false;
    Bits bits = 0;
    for (char c : token.substr(4)) {
      const int digit = hex_value(c);
      if (digit < 0) return false;
      bits = static_cast<Bits>((bits << 4) | static_cast<Bits>(digit));
    }
    *out = std::bit_cast<Float>(bits);
    return std::isnan(*out);
  }
  if (token == "inf" || token == "-inf") {
    *out = token[0] == '-' ? -std::numeric_limits<Float>::infinity()
                           : std::numeric_limits<Float>::infinity();
    return true;
  }
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), *out);
  return error == std::errc() && end == token.data() + token.size();
}

}  // namespace

std::string quote_text(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += "\\x";
      quoted += kHexDigits[byte >> 4];
      quoted += kHexDigits[byte & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string double_to_text(double value) { return any_float_to_text<double, uint64_t>(value); }
std::string float_to_text(float value) { return any_float_to_text<float, uint32_t>(value); }

void TextCursor::skip_space() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      ++position_;
    } else if (text_.substr(position_, 2) == "//") {
      position_ = std::min(text_.find('\n', position_), text_.size());
    } else {
      return;
    }
  }
}

bool TextCursor::at_end() {
  skip_space();
  return position_ >= text_.size();
}

char TextCursor::peek() { return at_end() ? '\0' : text_[position_]; }

bool TextCursor::accept(std::string_view token) {
  skip_space();
  if (!text_.substr(position_).starts_with(token)) return false;
  position_ += token.size();
  return true;
}

bool TextCursor::accept_word(std::string_view word) {
  skip_space();
  const std::string_view rest = text_.substr(position_);
  if (!rest.starts_with(word)) return false;
  if (rest.size() > word.size() && is_word(rest[word.size()])) return false;
  position_ += word.size();
  return true;
}

bool TextCursor::identifier(std::string* out, std::string_view extra) {
  skip_space();
  const size_t begin = position_;
  while (position_ < text_.size() &&
         (is_word(text_[position_]) || extra.find(text_[position_]) != std::string_view::npos)) {
    ++position_;
  }
  *out = between(begin, position_);
  return position_ != begin;
}

bool TextCursor::quoted(std::string* out) {
  skip_space();
  if (position_ >= text_.size() || text_[position_] != '"') return false;
  std::string value;
  for (size_t i = position_ + 1; i < text_.size(); ++i) {
    char c = text_[i];
    if (c == '"') {
      position_ = i + 1;
      *out = std::move(value);
      return true;
    }
    if (c == '\n') return false;
    if (c == '\\') {
      if (++i >= text_.size()) return false;
      c = text_[i];
      if (c == 'n') {
        c = '\n';
      } else if (c == 't') {
        c = '\t';
      } else if (c == 'x') {
        if (i + 2 >= text_.size()) return false;
        const int high = hex_value(text_[i + 1]);
        const int low = hex_value(text_[i + 2]);
        if (high < 0 || low < 0) return false;
        c = static_cast<char>(high * 16 + low);
        i += 2;
      } else if (c != '"' && c != '\\') {
        return false;
      }
    }
    value += c;
  }
  return false;
}

bool TextCursor::integer(int64_t* out) {
  skip_space();
  const char* begin = text_.data() + position_;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
  if (error != std::errc()) return false;
  const auto length = static_cast<size_t>(end - begin);
  // "1.5" and "1e5" are not integers followed by something.
  if (position_ + length < text_.size()) {
    const char next = text_[position_ + length];
    if (next == '.' || is_word(next)) return false;
  }
  position_ += length;
  *out = value;
  return true;
}

std::string_view TextCursor::number_token() {
  skip_space();
  size_t end = position_;
  if (end < text_.size() && text_[end] == '-') ++end;
  while (end < text_.size()) {
    const char c = text_[end];
    const bool exponent_sign = (c == '+' || c == '-') && text_[end - 1] == 'e';
    if (!is_word(c) && c != '.' && c != ':' && !exponent_sign) break;
    ++end;
  }
  return between(position_, end);
}

bool TextCursor::number(double* out) {
  const std::string_view token = number_token();
  if (token.empty() || !any_float_from_text<double, uint64_t>(token, out)) return false;
  position_ += token.size();
  return true;
}

bool TextCursor::float_number(float* out) {
  const std::string_view token = number_token();
  if (token.empty() || !any_float_from_text<float, uint32_t>(token, out)) return false;
  position_ += token.size();
  return true;
}

std::string_view TextCursor::until(std::string_view stops) {
  skip_space();
  const size_t begin = position_;
  int depth = 0;
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (depth == 0 && stops.find(c) != std::string_view::npos) break;
    if (c == '"') {
      std::string ignored;
      if (!quoted(&ignored)) break;
      continue;
    }
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') {
      if (depth == 0) break;
      --depth;
    }
    ++position_;
  }
  size_t end = position_;
  while (end > begin && (text_[end - 1] == ' ' || text_[end - 1] == '\n')) --end;
  return between(begin, end);
}

std::string TextCursor::place() const {
  size_t line = 1;
  size_t column = 1;
  for (size_t i = 0; i < position_ && i < text_.size(); ++i) {
    if (text_[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

}  // namespace kiln
