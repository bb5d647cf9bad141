// UTF-8: finding what is not, and encoding one code point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kiln {

// Length in bytes (1 to 4) of the well-formed sequence at the start of `text`, 0 when there is none
// (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
size_t utf8_sequence(std::string_view text);

// Appends a code point, which must not be a surrogate nor above U+10FFFF.
void append_utf8(std::string& text, uint32_t code_point);

}  // namespace kiln
