#include "tools/kiln/torchscript.h"

#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include <kiln/builder.h>

#include "core/dtype.h"
#include "tools/kiln/torchtrtc.h"

namespace kiln::tool {
namespace {

constexpr const char* kLibrary = "libkiln_torch_compile.so";

Status bad_spec(const std::string& text) {
  return Status::error("K1007", "input does not parse: '" + text + "'",
                       "write \"(1,3,8,8)\", \"(1,3,8,8)@f16%channels_last\" or "
                       "\"[(MIN);(OPT);(MAX)]@f32\"");
}

// "(1,3,8,8)"; false for anything else.
bool parse_sizes(std::string_view text, Json& sizes) {
  sizes = Json::array();
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') return false;
  text = text.substr(1, text.size() - 2);
  while (!text.empty()) {
    int64_t size = 0;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, size);
    if (error != std::errc() || size < 0 || (end != last && *end != ',')) return false;
    sizes.push_back(size);
    text.remove_prefix(static_cast<size_t>(end - text.data()) + (end == last ? 0 : 1));
  }
  return true;
}

// "contiguous", "channels_last" or nothing.
std::string format_word(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* name : {"contiguous", "linear", "nchw", "chw"}) {
    if (word == name) return "contiguous";
  }
  for (const char* name : {"channels_last", "nhwc", "hwc"}) {
    if (word == name) return "channels_last";
  }
  return {};
}

std::string folder_of_libkiln() {
  Dl_info info = {};
  const auto* address = reinterpret_cast<const void*>(&default_cache_dir);
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

}  // namespace

bool is_torchscript_name(const std::string& path) {
  return path.ends_with(".ts") || path.ends_with(".pt") || path.ends_with(".pth") ||
         path.ends_with(".jit");
}

bool is_input_word(const std::string& word) {
  if (word.starts_with('(') || word.starts_with('[')) return true;
  // Sizes without their parentheses, which parse_input_spec refuses.
  const std::string_view sizes = std::string_view(word).substr(0, word.find_first_of("@%"));
  return !sizes.empty() && sizes[0] >= '0' && sizes[0] <= '9' &&
         sizes.find_first_not_of("0123456789,;x ") == std::string_view::npos;
}

Result<Json> parse_input_spec(const std::string& text) {
  std::string shape = text;
  std::string dtype = "f32", format = "contiguous";
  if (const size_t percent = shape.find('%'); percent != std::string::npos) {
    format = format_word(shape.substr(percent + 1));
    shape.resize(percent);
  }
  if (const size_t at = shape.find('@'); at != std::string::npos) {
    dtype = dtype_word(shape.substr(at + 1));
    shape.resize(at);
  }
  std::erase(shape, ' ');
  if (!dtype_from_name(dtype) || format.empty()) return bad_spec(text);
  Json sizes[3];
  if (shape.starts_with('[') && shape.ends_with(']')) {
    const size_t first = shape.find(';'), second = shape.rfind(';');
    if (first == std::string::npos || first == second ||
        !parse_sizes(std::string_view(shape).substr(1, first - 1), sizes[0]) ||
        !parse_sizes(std::string_view(shape).substr(first + 1, second - first - 1), sizes[1]) ||
        !parse_sizes(std::string_view(shape).substr(second + 1, shape.size() - second - 2),
                     sizes[2])) {
      return bad_spec(text);
    }
  } else {
    if (!parse_sizes(shape, sizes[0])) return bad_spec(text);
    sizes[1] = sizes[2] = sizes[0];
  }
  Json input = Json::object();
  input.set("min", sizes[0]);
  input.set("opt", sizes[1]);
  input.set("max", sizes[2]);
  input.set("dtype", dtype);
  input.set("channels_last", format == "channels_last");
  return input;
}

Result<Json> ask_torch_compile(const Json& request) {
  const char* given = std::getenv("KILN_TORCH_COMPILE");
  const bool named = given != nullptr && *given != '\0';
  const std::string beside = named ? given : folder_of_libkiln() + kLibrary;
  void* library = dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL);
  const std::string why = library == nullptr ? dlerror() : "";
  if (library == nullptr && !named) library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  auto* function =
      library == nullptr
          ? nullptr
          : reinterpret_cast<char* (*)(const char*)>(dlsym(library, "kiln_compile_torchscript"));
  if (function == nullptr) {
    return Status::error(
        "K1020",
        "TorchScript needs libkiln_torch_compile, which cannot be opened: " +
            (why.empty() ? "it has no kiln_compile_torchscript" : why),
        "it lies beside libkiln where kiln was built with torch, or where KILN_TORCH_COMPILE says; "
        "LD_LIBRARY_PATH has to name the folder of libtorch.so");
  }
  char* text = function(request.dump().c_str());
  Result<Json> reply = parse_json(text);
  std::free(text);
  KILN_RETURN_IF_ERROR(reply.status());
  const Json* error = reply->find("error");
  if (error == nullptr) return reply;
  KILN_ASSIGN_OR_RETURN(const std::string code, error->string_at("code"));
  KILN_ASSIGN_OR_RETURN(const std::string message, error->string_at("message"));
  KILN_ASSIGN_OR_RETURN(const std::string hint, error->string_at("hint"));
  KILN_ASSIGN_OR_RETURN(const auto places, error->strings_at("origin"));
  Status status = Status::error(code, message, hint);
  for (const std::string& place : places) status = std::move(status).at(place);
  return status;
}

}  // namespace kiln::tool
