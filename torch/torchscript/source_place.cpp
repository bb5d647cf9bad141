#include "torch/torchscript/source_place.h"

#include <filesystem>

namespace kiln::torchscript {
namespace {

constexpr std::string_view kPackages[] = {"/site-packages/", "/dist-packages/"};

// A path that leaks nothing; "" for a file of torch.
std::string shorten(const std::string& path) {
  for (std::string_view folder : kPackages) {
    const size_t at = path.rfind(folder);
    if (at == std::string::npos) continue;
    std::string inside = path.substr(at + folder.size());
    return inside.starts_with("torch/") ? std::string() : inside;
  }
  if (path.empty() || path.front() == '<') return "";
  const std::filesystem::path file(path);
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (file.is_absolute() && !error) {
    const std::filesystem::path relative = file.lexically_relative(here);
    if (!relative.empty() && *relative.begin() != "..") return relative.string();
    return file.filename().string();
  }
  return path;
}

// "path(41): forward" of a traced node's stack.
std::string place_in_stack(const std::string& stack) {
  size_t begin = 0;
  while (begin < stack.size()) {
    size_t end = stack.find('\n', begin);
    if (end == std::string::npos) end = stack.size();
    const std::string line = stack.substr(begin, end - begin);
    begin = end + 1;
    const size_t close = line.find("): "), open = line.rfind('(', close);
    if (close == std::string::npos || open == std::string::npos) continue;
    const std::string file = shorten(line.substr(0, open));
    if (!file.empty()) return file + ":" + line.substr(open + 1, close - open - 1);
  }
  return "";
}

}  // namespace

std::string user_place(const torch::jit::SourceRange& given) {
  torch::jit::SourceRange range = given;
  if (range.source() == nullptr) return "";
  // Of a module from a file, where the code was before it was saved.
  if (const auto original = range.source()->findSourceRangeThatGenerated(range)) range = *original;
  const auto place = range.file_line_col();
  if (!place) return place_in_stack(range.source()->text_str().str());
  const auto& [file, line, column] = *place;
  const std::string shown = shorten(file);
  if (!shown.empty()) return shown + ":" + std::to_string(line);
  return place_in_stack(range.source()->text_str().str());
}

}  // namespace kiln::torchscript
