#include "backends/cuda/runtime/cuda_device.h"

#include <algorithm>
#include <charconv>

#include "backends/cuda/runtime/graph_replay.h"
#include "base/check.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

CUstream stream_of(StreamHandle handle) { return static_cast<CUstream>(handle); }
CUdeviceptr address_of(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }
void* pointer_of(CUdeviceptr address) {
  return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
}

// The calling thread's context while it lives.
class ScopedContext {
 public:
  ScopedContext(const Driver& driver, CUcontext context) : driver_(driver), context_(context) {
    driver.CtxGetCurrent(&before_);
    if (before_ != context_) driver_.CtxSetCurrent(context_);
  }
  ~ScopedContext() {
    if (before_ != context_) driver_.CtxSetCurrent(before_);
  }
  ScopedContext(const ScopedContext&) = delete;
  ScopedContext& operator=(const ScopedContext&) = delete;

 private:
  const Driver& driver_;
  CUcontext context_;
  CUcontext before_ = nullptr;
};

// Calls that a recording somewhere in the process would otherwise forbid, and that it does not see.
class ScopedRelaxedCapture {
 public:
  explicit ScopedRelaxedCapture(const Driver& driver) : driver_(driver) {
    driver_.ThreadExchangeStreamCaptureMode(&mode_);
  }
  ~ScopedRelaxedCapture() { driver_.ThreadExchangeStreamCaptureMode(&mode_); }
  ScopedRelaxedCapture(const ScopedRelaxedCapture&) = delete;
  ScopedRelaxedCapture& operator=(const ScopedRelaxedCapture&) = delete;

 private:
  const Driver& driver_;
  int mode_ = kCaptureRelaxed;
};

class CudaDevice : public DeviceRuntime {
 public:
  static Result<std::unique_ptr<CudaDevice>> open(const Driver& driver, int index);

  Device device() const override { return {DeviceKind::kCuda, index_}; }
  size_t alignment() const override { return 16; }
  // Plans are tuned for one GPU and run on all, since their kernels are compiled where they run:
  // the nearest older GPU before the nearest newer one, and any before a CPU.
  int fitness(std::string_view target) const override {
    constexpr std::string_view kPrefix = "cuda:sm_";
    int sm = 0;
    if (!target.starts_with(kPrefix)) return -1;
    const std::string_view number = target.substr(kPrefix.size());
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), sm);
    if (error != std::errc() || end != number.data() + number.size() || sm < 1 || sm > 999)
      return -1;
    return sm <= sm_ ? 3000 + sm : 2000 - sm;
  }
  void* enter() override {
    CUcontext before = nullptr;
    driver_.CtxGetCurrent(&before);
    if (before != context_) driver_.CtxSetCurrent(context_);
    return before;
  }
  void leave(void* before) override {
    if (before != context_) driver_.CtxSetCurrent(static_cast<CUcontext>(before));
  }

  std::shared_ptr<void> allocate(size_t bytes, StreamHandle stream) override;
  std::shared_ptr<void> allocate_lasting(size_t bytes) override;
  StreamHandle current_stream() const override {
    const DeviceHost& host = device_host();
    return host.current_stream != nullptr ? host.current_stream(index_) : nullptr;
  }
  Status order(StreamHandle earlier, StreamHandle later) override;
  Status synchronize(StreamHandle stream) override;
  bool is_recording(StreamHandle stream) override;
  Status copy(void* to, const void* from, size_t bytes, StreamHandle stream) override;
  Status strided_copy(const void* from, const int64_t* from_strides, void* to,
                      const int64_t* to_strides, const int64_t* dims, int rank,
                      size_t element_bytes, StreamHandle stream) override;
  Status fill(void* to, unsigned char byte, size_t bytes, StreamHandle stream) override;
  Result<std::shared_ptr<DeviceCode>> load_code(const std::vector<KernelDesc>& kernels,
                                                const NativeCode* native) override;
  Status take_fault(DeviceCode& code) override;
  std::unique_ptr<PlanReplay> make_replay(const Plan& plan, const ShapePlan& shape) override {
    return std::make_unique<GraphReplay>(driver_, *this, plan, shape);
  }

 private:
  CudaDevice(const Driver& driver, int index, const DeviceProperties& properties)
      : driver_(driver),
        index_(index),
        sm_(properties.sm),
        code_(driver, properties.sm, static_cast<unsigned>(properties.shared_bytes_per_block)) {}
  Result<CUevent> take_event();
  Result<const KernelCode*> copy_code(const CopyShape& shape);
  void keep_copies(const NativeCode& native);
  bool is_host_memory(const void* pointer) const;

  const Driver& driver_;
  int index_;
  int sm_;
  CUcontext context_ = nullptr;
  bool has_pools_ = false;
  CodeStore code_;
  std::mutex events_mutex_;
  std::vector<CUevent> events_;  // idle
  std::mutex copies_mutex_;
  std::shared_ptr<KernelCode> copies_[2][5][17];  // by width of numbers, of elements, rank
  NativeCode native_copies_;                      // kernels for copies from files
};

Result<std::unique_ptr<CudaDevice>> CudaDevice::open(const Driver& driver, int index) {
  KILN_ASSIGN_OR_RETURN(const DeviceProperties properties, device_properties(index));
  std::unique_ptr<CudaDevice> made(new CudaDevice(driver, index, properties));
  CUdevice device = 0;
  KILN_CUDA_RETURN_IF_ERROR(driver, DeviceGet, &device, index);
  // Never released: CUDA's own runtime does not either.
  KILN_CUDA_RETURN_IF_ERROR(driver, DevicePrimaryCtxRetain, &made->context_, device);
  int pools = 0;
  driver.DeviceGetAttribute(&pools, kAttributeMemoryPools, device);
  made->has_pools_ = pools != 0;
  if (made->has_pools_) {
    // Freed memory stays with the pool instead of going back at the next synchronisation.
    CUmemoryPool pool = nullptr;
    uint64_t threshold = UINT64_MAX;
    KILN_CUDA_RETURN_IF_ERROR(driver, DeviceGetDefaultMemPool, &pool, device);
    KILN_CUDA_RETURN_IF_ERROR(driver, MemPoolSetAttribute, pool, kPoolReleaseThreshold, &threshold);
  }
  return made;
}

std::shared_ptr<void> CudaDevice::allocate(size_t bytes, StreamHandle stream) {
  bytes = std::max<size_t>(bytes, 1);
  if (const DeviceHost& host = device_host(); host.allocate != nullptr) {
    if (auto memory = host.allocate(index_, bytes, stream)) return memory;
  }
  // Memory that the driver gives while a stream is recorded is the recording's.
  if (!has_pools_ || is_recording(stream)) return allocate_lasting(bytes);
  ScopedContext scope(driver_, context_);
  CUdeviceptr address = 0;
  if (driver_.MemAllocAsync(&address, bytes, stream_of(stream)) != 0) return nullptr;
  return {pointer_of(address), [this, stream](void* pointer) {
            ScopedContext scope(driver_, context_);
            if (!is_recording(stream)) {
              driver_.MemFreeAsync(address_of(pointer), stream_of(stream));
              return;
            }
            // The recording would take it for memory of its own.
            ScopedRelaxedCapture relaxed(driver_);
            driver_.MemFree(address_of(pointer));
          }};
}

std::shared_ptr<void> CudaDevice::allocate_lasting(size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  ScopedContext scope(driver_, context_);
  ScopedRelaxedCapture relaxed(driver_);
  const StreamHandle stream = current_stream();
  if (const DeviceHost& host = device_host(); host.allocate != nullptr && !is_recording(stream)) {
    // The host's memory is free for this stream only, and goes back to it alone.
    std::shared_ptr<void> memory = host.allocate(index_, bytes, stream);
    if (memory != nullptr && driver_.StreamSynchronize(stream_of(stream)) == 0) {
      void* const address = memory.get();
      return {address, [this, memory = std::move(memory)](void*) mutable {
                ScopedContext scope(driver_, context_);
                ScopedRelaxedCapture relaxed(driver_);
                driver_.CtxSynchronize();
                memory.reset();
              }};
    }
  }
  CUdeviceptr address = 0;
  if (driver_.MemAlloc(&address, bytes) != 0) return nullptr;
  return {pointer_of(address), [this](void* pointer) {
            ScopedContext scope(driver_, context_);
            ScopedRelaxedCapture relaxed(driver_);
            driver_.MemFree(address_of(pointer));  // waits for the device
          }};
}

Result<CUevent> CudaDevice::take_event() {
  {
    std::lock_guard lock(events_mutex_);
    if (!events_.empty()) {
      CUevent event = events_.back();
      events_.pop_back();
      return event;
    }
  }
  CUevent event = nullptr;
  KILN_CUDA_RETURN_IF_ERROR(driver_, EventCreate, &event, kEventNoTiming);
  return event;
}

Status CudaDevice::order(StreamHandle earlier, StreamHandle later) {
  if (earlier == later) return {};
  ScopedContext scope(driver_, context_);
  KILN_ASSIGN_OR_RETURN(CUevent event, take_event());
  Status status = check(driver_, driver_.EventRecord(event, stream_of(earlier)), "cuEventRecord");
  if (status.ok()) {
    status =
        check(driver_, driver_.StreamWaitEvent(stream_of(later), event, 0), "cuStreamWaitEvent");
  }
  // A wait refers to the event as it was recorded last, so it may be recorded again at once.
  std::lock_guard lock(events_mutex_);
  events_.push_back(event);
  return status;
}

Status CudaDevice::synchronize(StreamHandle stream) {
  ScopedContext scope(driver_, context_);
  return check(driver_, driver_.StreamSynchronize(stream_of(stream)), "cuStreamSynchronize");
}

bool CudaDevice::is_recording(StreamHandle stream) {
  ScopedContext scope(driver_, context_);
  int status = kNotCapturing;
  // An error says that another stream's recording makes this one unusable: nothing may wait either.
  return driver_.StreamIsCapturing(stream_of(stream), &status) != 0 || status != kNotCapturing;
}

bool CudaDevice::is_host_memory(const void* pointer) const {
  int type = 0;  // the driver does not know ordinary memory
  return driver_.PointerGetAttribute(&type, kPointerMemoryType, address_of(pointer)) != 0 ||
         type != 2;
}

Status CudaDevice::copy(void* to, const void* from, size_t bytes, StreamHandle stream) {
  if (bytes == 0) return {};
  ScopedContext scope(driver_, context_);
  KILN_CUDA_RETURN_IF_ERROR(driver_, MemcpyAsync, address_of(to), address_of(from), bytes,
                            stream_of(stream));
  if (!is_host_memory(to) && !is_host_memory(from)) return {};
  return check(driver_, driver_.StreamSynchronize(stream_of(stream)), "cuStreamSynchronize");
}

Status CudaDevice::strided_copy(const void* from, const int64_t* from_strides, void* to,
                                const int64_t* to_strides, const int64_t* dims, int rank,
                                size_t element_bytes, StreamHandle stream) {
  const CopyShape shape =
      CopyShape::make(from, from_strides, to, to_strides, dims, rank, element_bytes);
  if (shape.elements == 0) return {};
  ScopedContext scope(driver_, context_);
  if (shape.is_contiguous()) {
    return check(driver_,
                 driver_.MemcpyAsync(address_of(to), address_of(from),
                                     static_cast<size_t>(shape.elements * shape.element_bytes),
                                     stream_of(stream)),
                 "cuMemcpyAsync");
  }
  KILN_ASSIGN_OR_RETURN(const KernelCode* code, copy_code(shape));
  CopyShape::Arguments arguments;
  shape.fill(from, to, arguments);
  LaunchAttribute attribute;
  const LaunchConfig config = launch_config({shape.blocks(), 1, 1}, {CopyShape::kThreads, 1, 1}, 0,
                                            stream_of(stream), code->overlap, attribute);
  return check(driver_,
               driver_.LaunchKernelEx(&config, code->kernels[0].function, arguments.pointers,
                                      nullptr),
               "cuLaunchKernelEx");
}

// Copies between strides are the device's, and any program may be the first to need one: the code
// of the kernels for them outlives the file that brought it.
void CudaDevice::keep_copies(const NativeCode& native) {
  if (!code_.misfit(native).empty()) return;
  std::lock_guard lock(copies_mutex_);
  native_copies_.isa = native.isa;
  native_copies_.convention = native.convention;
  for (const NativeKernel& kernel : native.kernels) {
    const auto same = [&](const NativeKernel& kept) { return kept.kernel == kernel.kernel; };
    auto& kept = native_copies_.kernels;
    if (kernel.family != kStridedCopyFamily || std::any_of(kept.begin(), kept.end(), same))
      continue;
    const auto image = std::make_shared<const std::string>(kernel.image);
    kept.push_back(kernel);
    kept.back().image = *image;
    kept.back().owner = image;
  }
}

// The kernel of a copy, found or compiled when it is needed first.
Result<const KernelCode*> CudaDevice::copy_code(const CopyShape& shape) {
  const auto width =
      static_cast<size_t>(__builtin_ctzll(static_cast<unsigned long long>(shape.element_bytes)));
  std::lock_guard lock(copies_mutex_);
  std::shared_ptr<KernelCode>& code =
      copies_[shape.fits_32_bits() ? 0 : 1][width][static_cast<size_t>(shape.kernel_rank())];
  if (code == nullptr) {
    ScopedRelaxedCapture relaxed(driver_);
    auto loaded = code_.load({shape.kernel()}, &native_copies_);
    if (!loaded.ok()) return std::move(loaded).status().at("copy between other strides");
    code = std::move(loaded).value();
  }
  return static_cast<const KernelCode*>(code.get());
}

Status CudaDevice::fill(void* to, unsigned char byte, size_t bytes, StreamHandle stream) {
  if (bytes == 0) return {};
  ScopedContext scope(driver_, context_);
  return check(driver_, driver_.MemsetD8Async(address_of(to), byte, bytes, stream_of(stream)),
               "cuMemsetD8Async");
}

Result<std::shared_ptr<DeviceCode>> CudaDevice::load_code(const std::vector<KernelDesc>& kernels,
                                                          const NativeCode* native) {
  ScopedContext scope(driver_, context_);
  ScopedRelaxedCapture relaxed(driver_);
  KILN_ASSIGN_OR_RETURN(std::shared_ptr<KernelCode> code, code_.load(kernels, native));
  if (native != nullptr) keep_copies(*native);
  return std::shared_ptr<DeviceCode>(std::move(code));
}

Status CudaDevice::take_fault(DeviceCode& code) {
  auto& kernels = static_cast<KernelCode&>(code);  // load_code() made it
  if (kernels.fault_on_host == nullptr || *kernels.fault_on_host == 0) return {};
  // A second fault between these two is the same fault to a caller.
  const unsigned fault = *kernels.fault_on_host;
  *kernels.fault_on_host = 0;
  // device/fault.h
  if (fault == 2) {
    return Status::error("K4411", "integer division by zero on the GPU, in this or an earlier run");
  }
  return Status::error("K4410",
                       "an index is out of range on the GPU, in this or an earlier run" +
                           (fault == 1 ? std::string() : ": fault " + std::to_string(fault)));
}

Result<DeviceRuntime*> open_device(int index) {
  // By driver too: tests put in others.
  static auto* devices = new std::map<std::pair<const Driver*, int>, std::unique_ptr<CudaDevice>>;
  static std::mutex mutex;
  KILN_ASSIGN_OR_RETURN(const Driver* table, driver());
  std::lock_guard lock(mutex);
  std::unique_ptr<CudaDevice>& device = (*devices)[{table, index}];
  if (device == nullptr) {
    auto opened = CudaDevice::open(*table, index);
    if (!opened.ok()) return std::move(opened).status();
    device = std::move(opened).value();
  }
  return static_cast<DeviceRuntime*>(device.get());
}

[[maybe_unused]] const bool registered = [] {
  register_device_runtime("cuda", &cuda_device);
  return true;
}();

}  // namespace

Result<DeviceRuntime*> cuda_device(int index) { return open_device(index); }

Result<int> device_count() {
  KILN_ASSIGN_OR_RETURN(const Driver* table, driver());
  int count = 0;
  KILN_CUDA_RETURN_IF_ERROR(*table, DeviceGetCount, &count);
  return count;
}

Result<DeviceProperties> device_properties(int index) {
  KILN_ASSIGN_OR_RETURN(const Driver* table, driver());
  KILN_ASSIGN_OR_RETURN(const int count, device_count());
  if (index < 0 || index >= count) {
    return Status::error("K5302", "no CUDA device of this number: " + std::to_string(index) +
                                      ", there are " + std::to_string(count));
  }
  CUdevice device = 0;
  KILN_CUDA_RETURN_IF_ERROR(*table, DeviceGet, &device, index);
  DeviceProperties properties;
  char name[256] = {};
  KILN_CUDA_RETURN_IF_ERROR(*table, DeviceGetName, name, static_cast<int>(sizeof name) - 1, device);
  properties.name = name;
  Status status;
  auto attribute = [&](int which) {
    int value = 0;
    const CUresult result = table->DeviceGetAttribute(&value, which, device);
    if (result != 0 && status.ok()) status = check(*table, result, "cuDeviceGetAttribute");
    return static_cast<int64_t>(value);
  };
  properties.sm = static_cast<int>(attribute(kAttributeMajor) * 10 + attribute(kAttributeMinor));
  properties.multiprocessors = static_cast<int>(attribute(kAttributeMultiprocessors));
  properties.shared_bytes_per_block = attribute(kAttributeSharedOptin);
  properties.l2_bytes = attribute(kAttributeL2Bytes);
  if (!status.ok()) return status;
  // CUDA 13 has no clocks any more in some drivers: 0 then.
  int kilohertz = 0, bits = 0;
  if (table->DeviceGetAttribute(&kilohertz, kAttributeMemoryClock, device) == 0 &&
      table->DeviceGetAttribute(&bits, kAttributeBusBits, device) == 0) {
    properties.memory_bytes_per_second = int64_t{2} * kilohertz * 1000 * bits / 8;
  }
  return properties;
}

}  // namespace kiln::cuda
