#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "core/cpu_features.h"
#include "runtime/device_runtime.h"
#include "runtime/memory.h"
#include "runtime/plan_replay.h"
#include "runtime/strided_copy.h"

namespace kiln {
namespace {

class CpuDevice : public DeviceRuntime {
 public:
  Device device() const override { return {}; }
  // CPU plans hold no machine code and choose their kernels at load, so one for another level runs
  // too; it was only tuned there.
  int fitness(std::string_view target) const override {
    constexpr int kLevels = static_cast<int>(CpuLevel::kAmx) + 1;
    CpuLevel level;
    if (!target.starts_with("cpu:") || !cpu_level_from_name(target.substr(4), &level)) return -1;
    // The highest level that this machine has; else the lowest above it.
    const int number = static_cast<int>(level);
    return level <= cpu_level() ? kLevels + number : kLevels - 1 - number;
  }
  size_t alignment() const override { return 1; }
  std::shared_ptr<void> allocate(size_t bytes, StreamHandle) override {
    return allocate_block(bytes);
  }
  std::shared_ptr<void> allocate_lasting(size_t bytes) override { return allocate_block(bytes); }
  StreamHandle current_stream() const override { return nullptr; }
  Status order(StreamHandle, StreamHandle) override { return {}; }
  Status synchronize(StreamHandle) override { return {}; }
  Status copy(void* to, const void* from, size_t bytes, StreamHandle) override {
    if (bytes != 0) std::memcpy(to, from, bytes);
    return {};
  }
  Status strided_copy(const void* from, const int64_t* from_strides, void* to,
                      const int64_t* to_strides, const int64_t* dims, int rank,
                      size_t element_bytes, StreamHandle) override {
    kiln::strided_copy(from, from_strides, to, to_strides, dims, rank, element_bytes);
    return {};
  }
  Status fill(void* to, unsigned char byte, size_t bytes, StreamHandle) override {
    if (bytes != 0) std::memset(to, byte, bytes);
    return {};
  }
  Result<std::shared_ptr<DeviceCode>> load_code(const std::vector<KernelDesc>& kernels,
                                                const NativeCode*) override {
    if (kernels.empty()) return std::make_shared<DeviceCode>();
    return Status::error("K5002", "plan for the cpu has device code");
  }
  Status take_fault(DeviceCode&) override { return {}; }
};

struct Registry {
  std::mutex mutex;
  std::map<std::string, DeviceRuntimeFactory, std::less<>> factories;
};

Registry& registry() {
  static Registry registry;
  return registry;
}

}  // namespace

std::unique_ptr<PlanReplay> DeviceRuntime::make_replay(const Plan&, const ShapePlan&) {
  return nullptr;
}

namespace {
std::atomic<const DeviceHost*> host_of_gpus{nullptr};
}

void set_device_host(const DeviceHost& host) {
  // All live forever: somebody may be using the one before.
  static std::mutex mutex;
  static auto* hosts = new std::deque<DeviceHost>;
  std::lock_guard lock(mutex);
  host_of_gpus.store(&hosts->emplace_back(host), std::memory_order_release);
}

const DeviceHost& device_host() {
  static const DeviceHost none;
  const DeviceHost* host = host_of_gpus.load(std::memory_order_acquire);
  return host != nullptr ? *host : none;
}

DeviceRuntime& cpu_device() {
  static CpuDevice device;
  return device;
}

void register_device_runtime(std::string_view kind, DeviceRuntimeFactory make) {
  Registry& known = registry();
  std::lock_guard lock(known.mutex);
  known.factories.insert_or_assign(std::string(kind), make);
}

Result<DeviceRuntime*> device_runtime_of(const Device& device) {
  return device_runtime_for(device.kind == DeviceKind::kCpu ? "cpu" : "cuda", device.index);
}

Result<DeviceRuntime*> device_runtime_for(std::string_view target, int index) {
  const std::string_view kind = target.substr(0, target.find(':'));
  if (kind == "cpu") return &cpu_device();
  DeviceRuntimeFactory make = nullptr;
  {
    Registry& known = registry();
    std::lock_guard lock(known.mutex);
    const auto found = known.factories.find(kind);
    if (found != known.factories.end()) make = found->second;
  }
  if (make == nullptr) {
    return Status::error("K5001",
                         "no runtime for programs of this target: '" + std::string(target) + "'");
  }
  return make(index);
}

}  // namespace kiln
