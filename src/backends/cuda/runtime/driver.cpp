#include "backends/cuda/runtime/driver.h"

#include <dlfcn.h>

#include <atomic>

#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";

struct Loaded {
  Driver table;
  Status status;
};

Status load(Driver& table) {
  // Stays open for the life of the process: the driver has threads of its own.
  void* handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    return Status::error(
        "K5301",
        std::string("the CUDA driver was not found: ") + (reason != nullptr ? reason : kLibrary),
        "install the NVIDIA driver; in a container, start it with access to the "
        "GPUs");
  }
  const char* missing = nullptr;
#define KILN_CUDA_FIND(name, symbol, params)                                  \
  table.name = reinterpret_cast<decltype(table.name)>(dlsym(handle, symbol)); \
  if (table.name == nullptr && missing == nullptr) missing = symbol;
  KILN_CUDA_DRIVER_FUNCTIONS(KILN_CUDA_FIND)
#undef KILN_CUDA_FIND
  if (missing != nullptr) {
    return Status::error("K5303", std::string("function missing in the CUDA driver: ") + missing,
                         "update the NVIDIA driver: CUDA 12.0 or later is needed");
  }
  const CUresult started = table.Init(0);
  int count = 0;
  const bool none = started == 0 && table.DeviceGetCount(&count) == 0 && count == 0;
  if (started == kCudaNoDevice || none) {
    return Status::error("K5302", "the CUDA driver finds no device",
                         "see nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set");
  }
  return check(table, started, "cuInit");
}

const Loaded& loaded() {
  static const Loaded* result = [] {
    auto* made = new Loaded;
    made->status = load(made->table);
    return made;
  }();
  return *result;
}

std::atomic<const Driver*> test_table{nullptr};

}  // namespace

Result<const Driver*> driver() {
  if (const Driver* table = test_table.load(std::memory_order_acquire)) return table;
  if (!loaded().status.ok()) return loaded().status;
  return &loaded().table;
}

void set_driver_for_test(const Driver* table) {
  test_table.store(table, std::memory_order_release);
}

DriverInfo driver_info(const Driver& driver) {
  DriverInfo info;
  Dl_info where{};
  if (dladdr(reinterpret_cast<void*>(driver.Init), &where) != 0 && where.dli_fname != nullptr) {
    info.path = where.dli_fname;
  }
  if (driver.DriverGetVersion(&info.version) != 0) info.version = 0;
  return info;
}

Status check(const Driver& driver, CUresult result, const char* call) {
  if (result == 0) return {};
  const char* name = nullptr;
  const char* text = nullptr;
  if (driver.GetErrorName(result, &name) != 0 || name == nullptr) name = "unknown error";
  if (driver.GetErrorString(result, &text) != 0 || text == nullptr) text = "";
  std::string message = std::string("a call of the CUDA driver failed: ") + call + " gave " + name +
                        " (" + std::to_string(result) + ")";
  if (*text != '\0') message += std::string(", ") + text;
  // From 700 on the context is lost; whatever is called says the same from then on.
  return Status::error("K5304", std::move(message),
                       result >= 700 && result < 720
                           ? "kernels that were started earlier failed; the process cannot use the "
                             "GPU any more. CUDA_LAUNCH_BLOCKING=1 shows which one it was"
                           : "");
}

}  // namespace kiln::cuda
