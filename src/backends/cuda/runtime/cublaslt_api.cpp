#include "backends/cuda/runtime/cublaslt_api.h"

#include <dlfcn.h>

#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/runtime/library_search.h"
#include "base/options.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

std::atomic<const CublasLt*> test_table{nullptr};

struct Loaded {
  Status status;
  CublasLt table;
  CublasLtInfo info;
};

Status load(Loaded& loaded) {
  KILN_ASSIGN_OR_RETURN(
      void* handle,
      open_library({"cuBLASLt",
                    "KILN_CUBLASLT_LIBRARY",
                    debug_options().cublaslt_library,
                    {{"libcublasLt.so.13", "nvidia/cu13/lib"},
                     {"libcublasLt.so.12", "nvidia/cublas/lib"}},
                    "install nvidia-cublas (it comes with a CUDA build of torch)"}));
  // The library stays open for the life of the process.
#define KILN_CUBLASLT_LOAD(result, name, params)                                                \
  loaded.table.name = reinterpret_cast<result(*) params>(dlsym(handle, #name));                 \
  if (loaded.table.name == nullptr) {                                                           \
    return Status::error("K5307", "function missing in the cuBLASLt library: " #name);          \
  }
  KILN_CUBLASLT_FUNCTIONS(KILN_CUBLASLT_LOAD)
#undef KILN_CUBLASLT_LOAD
  loaded.info.path = file_of(reinterpret_cast<const void*>(loaded.table.cublasLtGetVersion));
  const size_t version = loaded.table.cublasLtGetVersion();  // 130100
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

}  // namespace

Result<const CublasLt*> cublaslt() {
  if (const CublasLt* table = test_table.load()) return table;
  const Loaded& result = loaded();
  if (!result.status.ok()) return result.status;
  return &result.table;
}

void set_cublaslt_for_test(const CublasLt* table) { test_table.store(table); }

Result<CublasLtInfo> cublaslt_info() {
  if (test_table.load() != nullptr) return CublasLtInfo{"", "test"};
  const Loaded& result = loaded();
  if (!result.status.ok()) return result.status;
  return result.info;
}

Result<CublasLtHandle> cublaslt_handle(const CublasLt& library, int index) {
  static std::mutex mutex;
  static auto* handles = new std::map<std::pair<const CublasLt*, int>, CublasLtHandle>;
  std::lock_guard lock(mutex);
  const auto key = std::make_pair(&library, index);
  if (auto found = handles->find(key); found != handles->end()) return found->second;
  CublasLtHandle handle = nullptr;
  KILN_CUBLASLT_RETURN_IF_ERROR(library, cublasLtCreate, &handle);
  handles->emplace(key, handle);
  return handle;
}

Status check(const CublasLt& library, CublasStatus status, const char* call) {
  if (status == 0) return {};
  const char* text = library.cublasLtGetStatusString(status);
  return Status::error("K5308", "cuBLASLt failed: " + std::string(call) + ": " +
                                    (text != nullptr ? text : "status") + " " +
                                    std::to_string(status));
}

}  // namespace kiln::cuda
