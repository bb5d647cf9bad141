#include "backends/cuda/runtime/cudnn_api.h"

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/cuda/runtime/library_search.h"
#include "base/options.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

std::atomic<const Cudnn*> test_table{nullptr};

struct Loaded {
  Status status;
  Cudnn table;
  CudnnInfo info;
};

Status load(Loaded& loaded) {
  KILN_ASSIGN_OR_RETURN(void* handle,
                        open_library({"cuDNN",
                                      "KILN_CUDNN_LIBRARY",
                                      debug_options().cudnn_library,
                                      {{"libcudnn.so.9", "nvidia/cudnn/lib"}},
                                      "install nvidia-cudnn-cu13 (it comes with a CUDA build of "
                                      "torch)"}));
  // The library stays open for the life of the process.
#define KILN_CUDNN_LOAD(result, name, params)                                                 \
  loaded.table.name = reinterpret_cast<result(*) params>(dlsym(handle, #name));               \
  if (loaded.table.name == nullptr) {                                                         \
    return Status::error("K5307", "function missing in the cuDNN library: " #name,            \
                         "cuDNN 9 is needed");                                                \
  }
  KILN_CUDNN_FUNCTIONS(KILN_CUDNN_LOAD)
#undef KILN_CUDNN_LOAD
  loaded.info.path = file_of(reinterpret_cast<const void*>(loaded.table.cudnnGetVersion));
  const size_t version = loaded.table.cudnnGetVersion();  // 91900
  loaded.info.version = std::to_string(version / 10000) + "." +
                        std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
  return {};
}

const Loaded& loaded() {
  static const Loaded* result = [] {
    auto* fresh = new Loaded;
    fresh->status = load(*fresh);
    return fresh;
  }();
  return *result;
}

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

Result<const Cudnn*> cudnn() {
  if (const Cudnn* table = test_table.load()) return table;
  const Loaded& result = loaded();
  if (!result.status.ok()) return result.status;
  return &result.table;
}

void set_cudnn_for_test(const Cudnn* table) { test_table.store(table); }

Result<CudnnInfo> cudnn_info() {
  if (test_table.load() != nullptr) return CudnnInfo{"", "test"};
  const Loaded& result = loaded();
  if (!result.status.ok()) return result.status;
  return result.info;
}

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
