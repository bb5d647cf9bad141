#include "backends/cuda/runtime/library_search.h"

#include "backends/cuda/runtime/library_table.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#ifndef KILN_WHEELS_HINT
#define KILN_WHEELS_HINT ""
#endif

namespace kiln::cuda {
namespace {

std::string parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "" : path.substr(0, slash);
}

void add_once(std::vector<std::string>& list, std::string entry) {
  if (entry.empty() || std::find(list.begin(), list.end(), entry) != list.end()) return;
  list.push_back(std::move(entry));
}

// site-packages of .../site-packages/torch/lib/libc10.so.
int note_torch(dl_phdr_info* info, size_t, void* roots) {
  const std::string path = info->dlpi_name != nullptr ? info->dlpi_name : "";
  if (path.ends_with("/torch/lib/libc10.so")) {
    add_once(*static_cast<std::vector<std::string>*>(roots), parent(parent(parent(path))));
  }
  return 0;
}

// One attempt; null and one more reason when it fails.
void* attempt(const std::string& path, std::string& reasons) {
  if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  const char* reason = dlerror();
  reasons += (reasons.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : path);
  return nullptr;
}

}  // namespace

std::vector<std::string> wheel_roots() {
  std::vector<std::string> roots;
  dl_iterate_phdr(note_torch, &roots);
  // Kiln's own library lies in site-packages/kiln or in a folder of it.
  std::string folder = parent(file_of(reinterpret_cast<const void*>(&wheel_roots)));
  for (int level = 0; level < 3 && !folder.empty(); ++level) {
    folder = parent(folder);
    if (!folder.empty() && access((folder + "/nvidia").c_str(), F_OK) == 0) {
      add_once(roots, folder);
    }
  }
  add_once(roots, KILN_WHEELS_HINT);
  return roots;
}

std::string file_of(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0 || info.dli_fname == nullptr) return "";
  return info.dli_fname;
}

Result<void*> OpenLibrary::symbol(const char* name) const {
  if (void* found = dlsym(handle_, name)) return found;
  return Status::error(
      search_.code, "function missing in " + search_.name + ": " + std::string(name), search_.hint);
}

LibraryInfo library_info(size_t (*version)()) {
  const size_t number = version();
  return {file_of(reinterpret_cast<const void*>(version)), std::to_string(number / 10000) + "." +
                                                               std::to_string(number / 100 % 100) +
                                                               "." + std::to_string(number % 100)};
}

namespace {

// The handle of dlopen, or null with the reasons.
void* find_library(const LibrarySearch& search, std::string& reasons) {
  const char* variable = std::getenv(search.variable);
  const std::string chosen = variable != nullptr && *variable != '\0' ? variable : search.chosen;
  if (!chosen.empty()) {
    if (void* handle = attempt(chosen, reasons)) return handle;
  } else {
    const std::vector<std::string> roots = wheel_roots();
    for (const LibrarySearch::Candidate& candidate : search.candidates) {
      if (void* handle = dlopen(candidate.soname.c_str(), RTLD_NOW | RTLD_NOLOAD)) return handle;
      for (const std::string& root : roots) {
        const std::string path = root + "/" + candidate.wheel_folder + "/" + candidate.soname;
        if (access(path.c_str(), F_OK) != 0) continue;
        if (void* handle = attempt(path, reasons)) return handle;
      }
      if (void* handle = attempt(candidate.soname, reasons)) return handle;
      const std::string path = "/usr/local/cuda/lib64/" + candidate.soname;
      if (access(path.c_str(), F_OK) != 0) continue;
      if (void* handle = attempt(path, reasons)) return handle;
    }
  }
  return nullptr;
}

}  // namespace

Result<OpenLibrary> open_library(const LibrarySearch& search) {
  std::string reasons;
  void* const handle = find_library(search, reasons);
  if (handle != nullptr) return OpenLibrary(handle, search);
  return Status::error(search.code, search.name + " was not found: " + reasons,
                       search.hint + ", or set " + search.variable + " to its path");
}

}  // namespace kiln::cuda
