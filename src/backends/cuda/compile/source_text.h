// Lines of C++ with their indentation.
#pragma once

#include <string>
#include <string_view>

namespace kiln::cuda {

class SourceText {
 public:
  void line(std::string_view text) {
    if (!text.empty() && text[0] != '#') text_.append(static_cast<size_t>(indent_) * 2, ' ');
    text_ += text;
    text_ += '\n';
  }
  void open(std::string_view text) {  // "if (x) {"
    line(text);
    ++indent_;
  }
  void close(std::string_view text = "}") {
    --indent_;
    line(text);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  int indent_ = 0;
};

}  // namespace kiln::cuda
