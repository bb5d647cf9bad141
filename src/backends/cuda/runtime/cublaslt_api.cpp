#include "backends/cuda/runtime/cublaslt_api.h"

#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/runtime/library_search.h"
#include "base/options.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

Status load(CublasLt& table, LibraryInfo& info) {
  KILN_ASSIGN_OR_RETURN(
      const OpenLibrary opened,
      open_library(
          {"cuBLASLt",
           "KILN_CUBLASLT_LIBRARY",
           debug_options().cublaslt_library,
           {{"libcublasLt.so.13", "nvidia/cu13/lib"}, {"libcublasLt.so.12", "nvidia/cublas/lib"}},
           "install nvidia-cublas (it comes with a CUDA build of torch)"}));
#define KILN_CUBLASLT_FIND(result, name, params) \
  KILN_RETURN_IF_ERROR(opened.find(#name, table.name));
  KILN_CUBLASLT_FUNCTIONS(KILN_CUBLASLT_FIND)
#undef KILN_CUBLASLT_FIND
  info = library_info(table.cublasLtGetVersion);
  return {};
}

LibraryTable<CublasLt> library{load};

}  // namespace

Result<const CublasLt*> cublaslt() { return library.get(); }
void set_cublaslt_for_test(const CublasLt* table) { library.set_for_test(table); }
Result<LibraryInfo> cublaslt_info() { return library.info(); }

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
