// Module path and source line of a captured node; the rules of python/kiln/frontends/origins.py.
#include <algorithm>
#include <cctype>

#include "frontend/pt2/graph_reader.h"

namespace kiln::pt2 {
namespace {

// "L['self']._modules['layer1']._modules['0'].conv1" -> "layer1.0.conv1".
std::string clean_module_path(std::string_view path) {
  if (path.starts_with("_empty_nn_module_stack")) return "";
  if ((path.starts_with("L['") || path.starts_with("G['")) && path.find("']") != path.npos) {
    path.remove_prefix(path.find("']") + 2);
  } else if (path == "self" || path.starts_with("self.") || path.starts_with("self[")) {
    path.remove_prefix(4);
  }
  std::string text;
  while (!path.empty()) {
    bool removed = false;
    for (const std::string_view table : {"._modules[", "._parameters[", "._buffers["}) {
      if (!path.starts_with(table)) continue;
      path.remove_prefix(table.size() - 1);
      removed = true;
    }
    if (removed) continue;
    const size_t close = path.find(']');
    if (path[0] == '[' && close != path.npos) {
      std::string_view key = path.substr(1, close - 1);
      if (key.size() >= 2 && (key[0] == '\'' || key[0] == '"')) key = key.substr(1, key.size() - 2);
      text += ".";
      text += key;
      path.remove_prefix(close + 1);
      continue;
    }
    text += path[0];
    path.remove_prefix(1);
  }
  while (!text.empty() && text.front() == '.') text.erase(0, 1);
  while (!text.empty() && text.back() == '.') text.pop_back();
  return text;
}

// A path that leaks nothing: what follows site-packages, or the bare name. torch's files are none
// of the user's.
std::string shorten_file(std::string_view path) {
  for (const std::string_view folder : {"site-packages/", "dist-packages/"}) {
    const size_t at = path.rfind(folder);
    if (at != path.npos) return std::string(path.substr(at + folder.size()));
  }
  if (!path.starts_with("/")) return std::string(path);
  return std::string(path.substr(path.rfind('/') + 1));
}

std::string location_of_trace(std::string_view trace) {
  constexpr std::string_view kFile = "File \"", kLine = "\", line ";
  std::string location;
  while (true) {
    const size_t begin = trace.find(kFile);
    if (begin == trace.npos) return location;
    trace.remove_prefix(begin + kFile.size());
    const size_t end = trace.find(kLine);
    if (end == trace.npos) return location;
    const std::string file = shorten_file(trace.substr(0, end));
    trace.remove_prefix(end + kLine.size());
    size_t digits = 0;
    while (digits < trace.size() && std::isdigit(static_cast<unsigned char>(trace[digits])) != 0) {
      ++digits;
    }
    if (file.starts_with("torch/") || file.starts_with("<") || digits == 0) continue;
    location = file + ":" + std::string(trace.substr(0, digits));
  }
}

}  // namespace

CaptureOrigin origin_of(const Json& node) {
  CaptureOrigin origin;
  const Json* metadata = node.find("metadata");
  if (metadata == nullptr) return origin;
  const Json* stack = metadata->find("nn_module_stack");
  if (stack != nullptr && stack->is_string()) {
    // "key,path,type;key,path,type", innermost last.
    const std::string_view text = stack->as_string();
    const std::string_view last =
        text.substr(text.rfind(';') == text.npos ? 0 : text.rfind(';') + 1);
    const size_t first = last.find(','), second = last.rfind(',');
    if (first != last.npos && second > first) {
      origin.module_path = clean_module_path(last.substr(first + 1, second - first - 1));
    }
  }
  const Json* trace = metadata->find("stack_trace");
  if (trace != nullptr && trace->is_string())
    origin.location = location_of_trace(trace->as_string());
  return origin;
}

}  // namespace kiln::pt2
