#include "base/check.h"

namespace kiln {

void check_failed(const char* file, int line, const char* expression, const std::string& values) {
  std::string text = "internal error: check failed: ";
  text += expression;
  if (!values.empty()) text += ": " + values;
  text += " (";
  text += file;
  text += ":" + std::to_string(line) + ")";
  throw InternalError(text);
}

}  // namespace kiln
