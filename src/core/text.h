// Lexing and exact printing of the small things that every text form of Kiln shares: quoted
// strings, doubles, identifiers, balanced brackets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kiln {

// "a\"b\\c\n": double quotes; control bytes as \xNN, so that one value never spans lines.
std::string quote_text(std::string_view text);

// Shortest decimal that reads back to the same bits and never looks like an integer: "1.0",
// "1e-05", "-0.0", "inf", "-inf", "nan"; other NaN bit patterns as "nan:7ff8000000000001".
std::string double_to_text(double value);
// The same for a float that is to be read back as a float.
std::string float_to_text(float value);

// A cursor over text. Methods that read return false (and stay where they were) when the thing is
// not there; spaces, newlines and `//` comments are skipped before each.
class TextCursor {
 public:
  explicit TextCursor(std::string_view text) : text_(text) {}

  bool at_end();
  char peek();                                                     // next character, 0 at the end
  bool accept(std::string_view token);                             // punctuation, exactly
  bool accept_word(std::string_view word);                         // a whole identifier
  bool identifier(std::string* out, std::string_view extra = {});  // [A-Za-z0-9_] and `extra`
  bool quoted(std::string* out);
  bool integer(int64_t* out);
  bool number(double* out);  // what double_to_text prints, and any decimal
  bool float_number(float* out);
  // Everything up to (not including) the first character of `stops` outside brackets and strings.
  // Trailing spaces are cut.
  std::string_view until(std::string_view stops);

  size_t position() const { return position_; }
  void seek(size_t position) { position_ = position; }
  std::string_view text() const { return text_; }
  std::string_view between(size_t begin, size_t end) const {
    return text_.substr(begin, end - begin);
  }
  void skip_space();
  // "line 12, column 5" of the cursor.
  std::string place() const;

 private:
  std::string_view number_token();

  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace kiln
