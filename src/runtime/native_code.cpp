#include "runtime/native_code.h"

#include <algorithm>
#include <cctype>

namespace kiln {
namespace {

Status damaged(const std::string& what) {
  return Status::error("K3104", "file is damaged: list of kernels: " + what);
}

Result<Hash128> hash_at(const Json& json, const char* key) {
  KILN_ASSIGN_OR_RETURN(const std::string text, json.string_at(key));
  if (const auto hash = Hash128::from_hex(text)) return *hash;
  return damaged(std::string("no hash: ") + key);
}

bool is_identifier(std::string_view text) {
  return !text.empty() && text.size() <= 1024 && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  });
}

}  // namespace

Hash128 hash_of(const KernelDesc& kernel) {
  return Hasher128().add_text(kernel.family).add_text(kernel.params.dump()).finish();
}

const NativeKernel* NativeCode::find(const KernelDesc& kernel) const {
  const Hash128 hash = hash_of(kernel);
  for (const NativeKernel& native : kernels) {
    if (native.kernel == hash) return &native;
  }
  return nullptr;
}

std::string native_entry_name(const Hash128& code) { return "kernels/" + code.hex() + ".cubin"; }

Json to_json(const NativeCode& code) {
  Json json = Json::object();
  json.set("isa", code.isa);
  json.set("convention", code.convention);
  json.set("compiler", code.compiler);
  Json::Array kernels;
  for (const NativeKernel& kernel : code.kernels) {
    Json entry = Json::object();
    entry.set("kernel", kernel.kernel.hex());
    entry.set("family", kernel.family);
    entry.set("entry", kernel.entry);
    entry.set("code", kernel.code.hex());
    kernels.push_back(std::move(entry));
  }
  json.set("kernels", Json(std::move(kernels)));
  return json;
}

Result<NativeCode> native_code_from_json(const Json& json) {
  NativeCode code;
  KILN_ASSIGN_OR_RETURN(code.isa, json.string_at("isa"));
  KILN_ASSIGN_OR_RETURN(code.convention, json.string_at("convention"));
  KILN_ASSIGN_OR_RETURN(code.compiler, json.string_at("compiler"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* kernels, json.array_at("kernels"));
  for (const Json& entry : *kernels) {
    NativeKernel kernel;
    KILN_ASSIGN_OR_RETURN(kernel.kernel, hash_at(entry, "kernel"));
    KILN_ASSIGN_OR_RETURN(kernel.family, entry.string_at("family"));
    KILN_ASSIGN_OR_RETURN(kernel.entry, entry.string_at("entry"));
    KILN_ASSIGN_OR_RETURN(kernel.code, hash_at(entry, "code"));
    if (!is_identifier(kernel.entry)) return damaged("name of a function: " + kernel.entry);
    code.kernels.push_back(std::move(kernel));
  }
  return code;
}

}  // namespace kiln
