// Where NVIDIA's libraries are looked for. Nothing is linked: torch's wheels bring them along, a
// system may have them too, and without them their users refuse, with the reason.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace kiln::cuda {

struct LibrarySearch {
  std::string name;      // "cuBLASLt", for messages
  const char* variable;  // environment: the file to take; then nothing else is tried
  std::string chosen;    // the debug switch of the same meaning; the variable wins
  struct Candidate {
    std::string soname;        // "libcublasLt.so.13"
    std::string wheel_folder;  // below site-packages: "nvidia/cu13/lib"
  };
  std::vector<Candidate> candidates;  // best first
  std::string hint;
  std::string_view code = "K5307";  // of errors
};

// A library that stays open for the life of the process.
class OpenLibrary {
 public:
  OpenLibrary(void* handle, LibrarySearch search) : handle_(handle), search_(std::move(search)) {}
  // Sets `function` to the function of this name, or says with the search's code that it is
  // missing.
  template <typename Function>
  Status find(const char* name, Function*& function) const {
    KILN_ASSIGN_OR_RETURN(void* const found, symbol(name));
    function = reinterpret_cast<Function*>(found);
    return {};
  }

 private:
  Result<void*> symbol(const char* name) const;
  void* handle_;
  LibrarySearch search_;
};

// Opens the library. Of each candidate in turn: the one that the process has loaded already (so
// that Kiln and torch share one), the one beside the torch that is loaded or beside Kiln itself in
// site-packages, the one that the system's loader finds, the one in /usr/local/cuda. The search's
// code with what was tried.
Result<OpenLibrary> open_library(const LibrarySearch& search);

// The folders that wheels are looked for in, as found now: site-packages of the loaded torch and of
// Kiln, and that of the machine that Kiln was built on.
std::vector<std::string> wheel_roots();

// The file that holds `function`, a symbol of an open library; "" when the loader does not know.
std::string file_of(const void* function);

}  // namespace kiln::cuda
