#include "backends/cpu/runtime/dnnl_api.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/runtime/dnnl_table.h"
#include "base/options.h"

#ifndef KILN_DNNL_HINT
#define KILN_DNNL_HINT ""
#endif

namespace kiln {
namespace {

constexpr const char* kSoname = "libdnnl.so.3";
constexpr const char* kHint =
    "install oneDNN 3.x (pip install onednn-devel-cpu-gomp) and set KILN_DNNL_LIBRARY to its "
    "libdnnl.so.3";

struct Loaded {
  Status status;
  DnnlApi api;
  DnnlLibraryInfo info;
};

std::string folder_of_this_library() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&dnnl_api), &info) == 0) return "";
  if (info.dli_fname == nullptr) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

const char* isa_name(dnnl_cpu_isa_t isa) {
  switch (isa) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx2_vnni_2: return "avx2_vnni_2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    case dnnl_cpu_isa_avx512_core_amx_fp16: return "avx512_core_amx_fp16";
    default: return nullptr;
  }
}

template <typename Function>
void optional_function(void* handle, const char* name, Function*& function) {
  // Looks in the library and in what it was linked with.
  function = reinterpret_cast<Function*>(dlsym(handle, name));
}

// The debug switch cpu_target holds for oneDNN's kernels as for Kiln's own.
Status limit_isa(const DnnlApi& api) {
  const std::string& target = debug_options().cpu_target;
  if (target.empty()) return Status();
  const std::pair<const char*, dnnl_cpu_isa_t> targets[] = {
      {"sse4", dnnl_cpu_isa_sse41},
      {"avx2", dnnl_cpu_isa_avx2},
      {"avx512", dnnl_cpu_isa_avx512_core}};
  for (const auto& [name, isa] : targets) {
    if (target != name) continue;
    if (api.dnnl_set_max_cpu_isa != nullptr && api.dnnl_set_max_cpu_isa(isa) == dnnl_success) {
      return Status();
    }
    return Status::error("K5104", "oneDNN cannot be limited to cpu_target: " + target);
  }
  return Status::error("K1002", "unknown value of cpu_target: " + target, "sse4, avx2 or avx512");
}

// Opens the first candidate that the loader accepts; says of each why it did not.
Result<void*> open_library() {
  std::vector<std::string> candidates;
  const char* variable = std::getenv("KILN_DNNL_LIBRARY");
  const std::string from_user =
      variable != nullptr && *variable != '\0' ? variable : debug_options().onednn_library;
  if (!from_user.empty()) {
    candidates = {from_user};
  } else {
    if (const std::string folder = folder_of_this_library(); !folder.empty()) {
      candidates.push_back(folder + "/" + kSoname);
      // lib/pythonX.Y/site-packages/kiln/lib -> lib, where pip puts it.
      candidates.push_back(folder + "/../../../../" + kSoname);
    }
    candidates.push_back(kSoname);
    if (*KILN_DNNL_HINT != '\0') candidates.push_back(std::string(KILN_DNNL_HINT) + "/" + kSoname);
  }
  std::string reasons;
  for (const std::string& candidate : candidates) {
    // Local: torch carries its own copy of oneDNN, and neither may see the other's symbols.
    if (void* handle = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* reason = dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason ? reason : candidate);
  }
  return Status::error("K5101", "oneDNN was not found: " + reasons, kHint);
}

Status load(Loaded& loaded) {
  KILN_ASSIGN_OR_RETURN(void* handle, open_library());
  // The library stays open for the life of the process even when it is refused below: it has
  // static destructors and thread-local state, and closing it would save nothing.
  auto* version = reinterpret_cast<decltype(&::dnnl_version)>(dlsym(handle, "dnnl_version"));
  if (version == nullptr) {
    return Status::error("K5103", "function missing in the oneDNN library: dnnl_version", kHint);
  }
  Dl_info where{};
  if (dladdr(reinterpret_cast<void*>(version), &where) != 0 && where.dli_fname != nullptr) {
    loaded.info.path = where.dli_fname;
  }
  const dnnl_version_t* v = version();
  loaded.info.version = std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
                        std::to_string(v->patch) + "+" +
                        std::string(v->hash ? v->hash : "unknown").substr(0, 12);
  if (v->major != 3) {
    return Status::error("K5102",
                         "oneDNN 3.x is needed, found version " + loaded.info.version + " in " +
                             loaded.info.path,
                         kHint);
  }
#define KILN_DNNL_LOAD(name)                                                                  \
  loaded.api.name = reinterpret_cast<decltype(&::name)>(dlsym(handle, #name));                \
  if (loaded.api.name == nullptr) {                                                           \
    return Status::error("K5103", "function missing in the oneDNN library: " #name ", version " + \
                                      loaded.info.version + " in " + loaded.info.path, kHint);   \
  }
  KILN_DNNL_FUNCTIONS(KILN_DNNL_LOAD)
#undef KILN_DNNL_LOAD
  optional_function(handle, "dnnl_get_effective_cpu_isa", loaded.api.dnnl_get_effective_cpu_isa);
  optional_function(handle, "dnnl_set_max_cpu_isa", loaded.api.dnnl_set_max_cpu_isa);
  optional_function(handle, "omp_get_max_threads", loaded.api.omp_get_max_threads);
  optional_function(handle, "omp_set_num_threads", loaded.api.omp_set_num_threads);
  KILN_RETURN_IF_ERROR(limit_isa(loaded.api));
  if (loaded.api.dnnl_engine_create(&loaded.api.engine, dnnl_cpu, 0) != dnnl_success) {
    return Status::error("K5103", "oneDNN has no CPU engine, version " + loaded.info.version +
                                      " in " + loaded.info.path, kHint);
  }
  loaded.info.isa = "unknown";
  if (loaded.api.dnnl_get_effective_cpu_isa != nullptr) {
    const dnnl_cpu_isa_t isa = loaded.api.dnnl_get_effective_cpu_isa();
    const char* name = isa_name(isa);
    // A newer 3.x knows instruction sets that these headers do not name.
    loaded.info.isa = name ? name : "isa_" + std::to_string(static_cast<int>(isa));
  }
  return Status();
}

const Loaded& loaded() {
  // Never destroyed: primitives may outlive static destruction.
  static const Loaded* result = [] {
    auto* fresh = new Loaded;
    fresh->status = load(*fresh);
    return fresh;
  }();
  return *result;
}

}  // namespace

Result<const DnnlApi*> dnnl_api() {
  const Loaded& result = loaded();
  if (!result.status.ok()) return result.status;
  return &result.api;
}

Result<DnnlLibraryInfo> dnnl_library_info() {
  const Loaded& result = loaded();
  if (!result.status.ok()) return result.status;
  return result.info;
}

}  // namespace kiln
