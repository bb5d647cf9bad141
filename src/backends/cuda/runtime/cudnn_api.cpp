#include "backends/cuda/runtime/cudnn_api.h"

#include <array>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/cuda/runtime/library_search.h"
#include "base/options.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

Status load(Cudnn& table, LibraryInfo& info) {
  KILN_ASSIGN_OR_RETURN(const OpenLibrary opened,
                        open_library({"cuDNN",
                                      "KILN_CUDNN_LIBRARY",
                                      debug_options().cudnn_library,
                                      {{"libcudnn.so.9", "nvidia/cudnn/lib"}},
                                      "install nvidia-cudnn-cu13 9 (it comes with a CUDA build of "
                                      "torch)"}));
#define KILN_CUDNN_FIND(result, name, params) KILN_RETURN_IF_ERROR(opened.find(#name, table.name));
  KILN_CUDNN_FUNCTIONS(KILN_CUDNN_FIND)
#undef KILN_CUDNN_FIND
  info = library_info(table.cudnnGetVersion);
  return {};
}

LibraryTable<Cudnn> library{load};

// Handles that nobody uses now. They live as long as the process.
struct Pool {
  std::mutex mutex;
  std::map<std::pair<const Cudnn*, int>, std::vector<CudnnHandle>> idle;
};

Pool& pool() {
  static auto* handles = new Pool;
  return *handles;
}

}  // namespace

Result<const Cudnn*> cudnn() { return library.get(); }
void set_cudnn_for_test(const Cudnn* table) { library.set_for_test(table); }
Result<LibraryInfo> cudnn_info() { return library.info(); }

Status check(const Cudnn& library, CudnnStatus status, const char* call) {
  if (status == 0) return {};
  const char* name = library.cudnnGetErrorString(status);
  std::array<char, 1024> text{};
  library.cudnnGetLastErrorString(text.data(), text.size() - 1);
  std::string message = "cuDNN failed: " + std::string(call) + ": " +
                        (name != nullptr ? name : std::to_string(status).c_str());
  if (text[0] != '\0') message += ", " + std::string(text.data());
  return Status::error("K5308", std::move(message));
}

Result<CudnnLease> CudnnLease::take(const Cudnn& library, int device) {
  {
    std::lock_guard lock(pool().mutex);
    std::vector<CudnnHandle>& idle = pool().idle[{&library, device}];
    if (!idle.empty()) {
      const CudnnHandle handle = idle.back();
      idle.pop_back();
      return CudnnLease(&library, device, handle);
    }
  }
  CudnnHandle handle = nullptr;
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnCreate, &handle);
  return CudnnLease(&library, device, handle);
}

CudnnLease::CudnnLease(CudnnLease&& other) noexcept
    : library_(other.library_),
      device_(other.device_),
      handle_(std::exchange(other.handle_, nullptr)) {}

CudnnLease::~CudnnLease() {
  if (handle_ == nullptr) return;
  std::lock_guard lock(pool().mutex);
  pool().idle[{library_, device_}].push_back(handle_);
}

}  // namespace kiln::cuda
