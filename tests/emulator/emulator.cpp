#include "emulator/emulator.h"

#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/check.h"
#include "emulator/async_barriers.h"
#include "emulator/memory.h"
#include "emulator/races.h"

// The handles that the driver's users see as pointers.
namespace kiln::cuda {

struct CUctx_st {
  int device = 0;
};
struct CUmod_st {
  const kiln_emulated::Kernel* kernel = nullptr;
  std::map<std::string, CUfunction, std::less<>> functions;
};
struct CUfunc_st {
  const kiln_emulated::Kernel* kernel = nullptr;
  int64_t max_dynamic_shared = emulator::kMaxStaticShared;
};
struct CUevent_st {};

// An argument by value: up to 8 bytes, or a tensor map.
struct alignas(64) ArgumentBytes {
  uint64_t words[16] = {};
};
// Work as a graph keeps it.
struct CUgraphNode_st {
  enum Type : int { kKernel = 0, kCopy = 1, kFill = 2 } type = kKernel;
  CUfunction function = nullptr;
  emulator::Shape shape{};
  std::vector<ArgumentBytes> arguments{};
  std::vector<emulator::Extent> extents{};  // parallel to the arguments, or empty
  CUdeviceptr to = 0, from = 0;
  size_t bytes = 0;
  unsigned char value = 0;
  // For cuGraphKernelNodeGetParams, which gives pointers.
  std::vector<void*> pointers{};
};
struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};
struct CUgraphExec_st {
  std::map<CUgraphNode, size_t> position;
  std::vector<CUgraphNode_st> nodes;
};
struct CUstream_st {
  std::unique_ptr<CUgraph_st> capture;  // while it is captured
  int mode = 0;
  std::thread::id by;  // who captures
};
struct CUmemPoolHandle_st {};

}  // namespace kiln::cuda

namespace kiln::emulator {

using namespace cuda;  // NOLINT: the driver's own names

namespace {

constexpr CUresult kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kInvalidDevice = 101,
                   kInvalidImage = 200, kInvalidContext = 201, kInvalidHandle = 400,
                   kNotFound = 500, kLaunchFailed = 719, kCaptureUnsupported = 900;

struct ErrorText {
  CUresult error;
  const char *name, *text;
};
constexpr ErrorText kErrors[] = {
    {kSuccess, "CUDA_SUCCESS", "no error"},
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
};

constexpr std::string_view kImageMagic = "KILN-EMULATED\n";

// Numbers of CUdevice_attribute.
const std::map<int, int>& device_attributes() {
  static const std::map<int, int> values = {
      {1, kMaxThreads},       // threads of a block
      {2, 1024},              // its dims
      {3, 1024},
      {4, 64},
      {5, 0x7fffffff},        // the grid's
      {6, 65535},
      {7, 65535},
      {8, static_cast<int>(kMaxStaticShared)},
      {9, 65536},             // constant memory
      {10, 32},               // warp
      {11, 0x7fffffff},       // pitch
      {12, 65536},            // registers of a block
      {13, 1980000},          // clock, kHz
      {16, 132},              // multiprocessors
      {18, 0},                // integrated
      {19, 1},                // maps host memory
      {31, 1},                // concurrent kernels
      {36, 2619000},          // memory clock, kHz
      {37, 5120},             // bus width
      {38, 50 << 20},         // L2
      {39, 2048},             // threads of a multiprocessor
      {41, 1},                // unified addressing
      {75, 9},                // compute capability
      {76, 0},
      {81, 228 << 10},        // shared memory of a multiprocessor
      {82, 65536},            // registers of a multiprocessor
      {95, 1},                // cooperative launch
      {97, static_cast<int>(kMaxShared)},
      {106, 32},              // blocks of a multiprocessor
      {115, 1},               // memory pools
  };
  return values;
}

}  // namespace

struct Emulator::State {
  std::recursive_mutex mutex;
  Memory memory;
  std::map<void*, void*> pinned;  // host memory that kernels may use: what malloc gave
  CUctx_st context;
  CUmemPoolHandle_st pool;
  CUstream_st default_stream;
  std::map<CUstream, std::unique_ptr<CUstream_st>> streams;
  std::map<CUevent, std::unique_ptr<CUevent_st>> events;
  std::map<CUmodule, std::unique_ptr<CUmod_st>> modules;
  std::map<CUfunction, std::unique_ptr<CUfunc_st>> functions;
  std::map<CUgraph, std::unique_ptr<CUgraph_st>> graphs;
  std::map<CUgraphExec, std::unique_ptr<CUgraphExec_st>> graph_execs;
  std::map<std::string, const kiln_emulated::Kernel* const*> libraries;
  std::vector<Extent> extents;  // of the next launch
  std::string report, last_error_text;
};

// The functions of the table.
struct DriverFunctions {
  static thread_local CUcontext current;
  static thread_local int capture_mode;

  static Emulator& emulator() { return Emulator::instance(); }
  static Emulator::State& state() { return *emulator().state_; }
  // Held by every function that touches the state.
  static std::unique_lock<std::recursive_mutex> lock() {
    return std::unique_lock<std::recursive_mutex>(state().mutex);
  }
  // `error` with an explanation.
  static CUresult refuse(CUresult error, std::string why) {
    state().report = std::move(why);
    return error;
  }
  static CUresult need_context() {
    return current == nullptr ? refuse(kInvalidContext, "no context is current in this thread")
                              : kSuccess;
  }
  // Calls that may do more than they say are not allowed while somebody captures.
  static CUresult no_capture() {
    if (capture_mode == 2) return kSuccess;
    const auto forbids = [](const CUstream_st& stream) {
      return stream.capture != nullptr && stream.mode != 2 &&
             (stream.by == std::this_thread::get_id() || (stream.mode == 0 && capture_mode == 0));
    };
    for (const auto& [handle, stream] : state().streams) {
      if (forbids(*stream)) return refuse(kCaptureUnsupported, "a call that a capture forbids");
    }
    return kSuccess;
  }
  static CUstream_st* stream_of(CUstream stream) {
    if (stream == nullptr) return &state().default_stream;
    const auto found = state().streams.find(stream);
    return found == state().streams.end() ? nullptr : found->second.get();
  }

  // ---- process, device, context ---------------------------------------------------------------

  static CUresult Init(unsigned flags) { return flags == 0 ? kSuccess : kInvalidValue; }
  static CUresult DriverGetVersion(int* version) {
    *version = 13000;
    return kSuccess;
  }
  static CUresult GetErrorName(CUresult error, const char** text) {
    for (const ErrorText& known : kErrors) {
      if (known.error != error) continue;
      *text = known.name;
      return kSuccess;
    }
    return kInvalidValue;
  }
  static CUresult GetErrorString(CUresult error, const char** text) {
    const auto held = lock();
    for (const ErrorText& known : kErrors) {
      if (known.error != error) continue;
      std::string& stored = state().last_error_text;
      stored = known.text;
      if (error != kSuccess && !state().report.empty()) stored += ": " + state().report;
      *text = stored.c_str();
      return kSuccess;
    }
    return kInvalidValue;
  }
  static CUresult DeviceGetCount(int* count) {
    *count = 1;
    return kSuccess;
  }
  static CUresult DeviceGet(CUdevice* device, int ordinal) {
    if (ordinal != 0) return kInvalidDevice;
    *device = 0;
    return kSuccess;
  }
  static CUresult DeviceGetName(char* name, int length, CUdevice device) {
    if (device != 0) return kInvalidDevice;
    std::strncpy(name, "Kiln emulated sm_90", static_cast<size_t>(length));
    if (length > 0) name[length - 1] = 0;
    return kSuccess;
  }
  static CUresult DeviceGetAttribute(int* value, int attribute, CUdevice device) {
    if (device != 0) return kInvalidDevice;
    const auto found = device_attributes().find(attribute);
    if (found == device_attributes().end()) {
      return refuse(kInvalidValue,
                    "the emulator does not know device attribute " + std::to_string(attribute));
    }
    *value = found->second;
    return kSuccess;
  }
  static CUresult DevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    if (device != 0) return kInvalidDevice;
    *context = &state().context;
    return kSuccess;
  }
  static CUresult CtxGetCurrent(CUcontext* context) {
    *context = current;
    return kSuccess;
  }
  static CUresult CtxSetCurrent(CUcontext context) {
    if (context != nullptr && context != &state().context) return kInvalidContext;
    current = context;
    return kSuccess;
  }

  static CUresult CtxSynchronize() {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    return no_capture();
  }

  // ---- memory -----------------------------------------------------------------------------------

  static CUresult PointerGetAttribute(void* value, int attribute, CUdeviceptr pointer) {
    const auto held = lock();
    const void* address = reinterpret_cast<const void*>(pointer);
    const Memory::Allocation* in = state().memory.find(address, 0);
    if (attribute != 2 || in == nullptr) return kInvalidValue;
    *static_cast<int*>(value) = state().pinned.contains(in->begin) ? 1 : 2;  // host, device
    return kSuccess;
  }
  static CUresult MemGetInfo(size_t* free_bytes, size_t* total_bytes) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    *total_bytes = size_t{16} << 30;
    *free_bytes = *total_bytes - state().memory.bytes_in_use();
    return kSuccess;
  }
  static CUresult MemAlloc(CUdeviceptr* pointer, size_t bytes) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    if (CUresult bad = no_capture()) return bad;
    return allocate(pointer, bytes);
  }
  static CUresult allocate(CUdeviceptr* pointer, size_t bytes) {
    if (bytes == 0) return refuse(kInvalidValue, "an allocation of 0 bytes");
    void* memory = bytes > size_t{16} << 30 ? nullptr : state().memory.allocate(bytes);
    if (memory == nullptr) return kOutOfMemory;
    *pointer = reinterpret_cast<CUdeviceptr>(memory);
    return kSuccess;
  }
  static CUresult MemFree(CUdeviceptr pointer) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    if (CUresult bad = no_capture()) return bad;
    return release(pointer);
  }
  static CUresult release(CUdeviceptr pointer) {
    if (pointer == 0) return kSuccess;
    void* address = reinterpret_cast<void*>(pointer);
    bool intact = true;
    if (state().pinned.contains(address) || !state().memory.free(address, &intact)) {
      return refuse(kInvalidValue, "freed memory that is not allocated");
    }
    return intact ? kSuccess
                  : refuse(kInvalidValue, "something wrote beside the memory that is freed");
  }
  static CUresult MemAllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream stream) {
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    if (CUresult bad = need_context()) return bad;
    if (on->capture) return refuse(kCaptureUnsupported, "an allocation while capturing");
    return allocate(pointer, bytes);
  }
  static CUresult MemFreeAsync(CUdeviceptr pointer, CUstream stream) {
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    if (CUresult bad = need_context()) return bad;
    if (on->capture) return refuse(kCaptureUnsupported, "a release while capturing");
    return release(pointer);
  }
  static CUresult DeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
    if (device != 0) return kInvalidDevice;
    *pool = &state().pool;
    return kSuccess;
  }
  static CUresult MemPoolSetAttribute(CUmemoryPool pool, int, void* value) {
    return pool == &state().pool && value != nullptr ? kSuccess : kInvalidValue;
  }
  static CUresult MemHostAlloc(void** pointer, size_t bytes, unsigned) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    if (CUresult bad = no_capture()) return bad;
    void* memory = state().memory.allocate(bytes);
    if (memory == nullptr) return kOutOfMemory;
    state().pinned[memory] = memory;
    *pointer = memory;
    return kSuccess;
  }
  static CUresult MemFreeHost(void* pointer) {
    const auto held = lock();
    bool intact = true;
    if (state().pinned.erase(pointer) == 0 || !state().memory.free(pointer, &intact)) {
      return refuse(kInvalidValue, "freed host memory that is not allocated");
    }
    return intact ? kSuccess
                  : refuse(kInvalidValue, "something wrote beside the memory that is freed");
  }
  static CUresult MemHostGetDevicePointer(CUdeviceptr* pointer, void* host, unsigned) {
    const auto held = lock();
    if (!state().pinned.contains(host)) return kInvalidValue;
    *pointer = reinterpret_cast<CUdeviceptr>(host);
    return kSuccess;
  }

  // Whether [address, address + bytes) is of one allocation, or of none (the host's memory).
  static bool whole(CUdeviceptr address, size_t bytes) {
    const void* at = reinterpret_cast<const void*>(address);
    return state().memory.find(at, bytes) != nullptr || state().memory.find(at, 0) == nullptr;
  }
  static CUresult copy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    if (!whole(to, bytes) || !whole(from, bytes)) {
      return refuse(kInvalidValue, "a copy of " + std::to_string(bytes) +
                                       " bytes goes beyond the allocation that it " +
                                       (whole(to, bytes) ? "reads" : "writes"));
    }
    if (bytes != 0) {
      std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    }
    return kSuccess;
  }
  static CUresult fill(CUdeviceptr to, unsigned char value, size_t bytes) {
    if (state().memory.find(reinterpret_cast<void*>(to), bytes) == nullptr) {
      return refuse(kInvalidValue, "a fill goes beyond the allocation that it writes");
    }
    std::memset(reinterpret_cast<void*>(to), value, bytes);
    return kSuccess;
  }
  static CUresult MemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    if (!on->capture) return copy(to, from, bytes);
    CUgraphNode_st node{CUgraphNode_st::kCopy};
    node.to = to;
    node.from = from;
    node.bytes = bytes;
    return append(*on, std::move(node));
  }
  static CUresult MemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes,
                                CUstream stream) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    if (!on->capture) return fill(to, value, bytes);
    CUgraphNode_st node{CUgraphNode_st::kFill};
    node.to = to;
    node.value = value;
    node.bytes = bytes;
    return append(*on, std::move(node));
  }

  // ---- streams and events -----------------------------------------------------------------------

  static CUresult StreamCreate(CUstream* stream, unsigned) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    auto made = std::make_unique<CUstream_st>();
    *stream = made.get();
    state().streams[*stream] = std::move(made);
    return kSuccess;
  }
  static CUresult StreamDestroy(CUstream stream) {
    const auto held = lock();
    return state().streams.erase(stream) == 1 ? kSuccess : kInvalidHandle;
  }
  static CUresult StreamSynchronize(CUstream stream) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    return on->capture ? refuse(kCaptureUnsupported, "waiting for a stream that is captured")
                       : kSuccess;
  }
  static CUresult StreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    const auto held = lock();
    return stream_of(stream) != nullptr && state().events.contains(event) ? kSuccess
                                                                          : kInvalidHandle;
  }
  static CUresult StreamIsCapturing(CUstream stream, int* status) {
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    *status = on->capture ? 1 : 0;
    return kSuccess;
  }
  static CUresult StreamGetCaptureInfo(CUstream stream, int* status, uint64_t* id, CUgraph* graph,
                                       const CUgraphNode** last, size_t* count) {
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    *status = on->capture ? 1 : 0;
    if (!on->capture) return kSuccess;
    if (id != nullptr) *id = reinterpret_cast<uint64_t>(on->capture.get());
    if (graph != nullptr) *graph = on->capture.get();
    if (last != nullptr || count != nullptr) {
      return refuse(kInvalidValue, "the emulator does not tell the nodes of a capture");
    }
    return kSuccess;
  }
  static CUresult ThreadExchangeStreamCaptureMode(int* mode) {
    if (*mode < 0 || *mode > 2) return kInvalidValue;
    std::swap(*mode, capture_mode);
    return kSuccess;
  }
  static CUresult EventCreate(CUevent* event, unsigned) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    auto made = std::make_unique<CUevent_st>();
    *event = made.get();
    state().events[*event] = std::move(made);
    return kSuccess;
  }
  static CUresult EventDestroy(CUevent event) {
    const auto held = lock();
    return state().events.erase(event) == 1 ? kSuccess : kInvalidHandle;
  }
  static CUresult EventRecord(CUevent event, CUstream stream) {
    const auto held = lock();
    return stream_of(stream) != nullptr && state().events.contains(event) ? kSuccess
                                                                          : kInvalidHandle;
  }
  static CUresult EventSynchronize(CUevent event) {
    const auto held = lock();
    return state().events.contains(event) ? kSuccess : kInvalidHandle;
  }
  static CUresult EventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
    const auto held = lock();
    if (!state().events.contains(from) || !state().events.contains(to)) return kInvalidHandle;
    *milliseconds = 0;
    return kSuccess;
  }

  // ---- modules and kernels ----------------------------------------------------------------------

  static CUresult ModuleLoadData(CUmodule* module, const void* image) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    if (CUresult bad = no_capture()) return bad;
    const auto* text = static_cast<const char*>(image);
    if (std::strncmp(text, kImageMagic.data(), kImageMagic.size()) != 0) {
      return refuse(kInvalidImage, "no image of the emulator's compiler");
    }
    const std::string_view rest = text + kImageMagic.size();
    const size_t space = rest.rfind(' ');
    int index = -1;
    std::from_chars(rest.data() + space + 1, rest.data() + rest.size(), index);
    const std::string path(rest.substr(0, space));
    auto found = state().libraries.find(path);
    if (found == state().libraries.end()) {
      void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) return refuse(kInvalidImage, dlerror());
      auto attach = reinterpret_cast<void (*)(kiln_emulated::Machine*)>(
          dlsym(library, "kiln_emulated_attach"));
      auto kernels = static_cast<const kiln_emulated::Kernel* const*>(
          dlsym(library, "kiln_emulated_kernels"));
      KILN_CHECK(attach != nullptr && kernels != nullptr);
      attach(emulator().execution_.machine());
      found = state().libraries.emplace(path, kernels).first;
    }
    auto made = std::make_unique<CUmod_st>();
    made->kernel = found->second[index];
    *module = made.get();
    state().modules[*module] = std::move(made);
    return kSuccess;
  }
  static CUresult ModuleUnload(CUmodule module) {
    const auto held = lock();
    const auto found = state().modules.find(module);
    if (found == state().modules.end()) return kInvalidHandle;
    for (const auto& [name, function] : found->second->functions) {
      state().functions.erase(function);
    }
    state().modules.erase(found);
    return kSuccess;
  }
  static CUresult ModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    const auto held = lock();
    const auto found = state().modules.find(module);
    if (found == state().modules.end()) return kInvalidHandle;
    CUmod_st& of = *found->second;
    if (std::strcmp(of.kernel->name, name) != 0) {
      return refuse(kNotFound, "the module has " + std::string(of.kernel->name));
    }
    CUfunction& known = of.functions[name];
    if (known == nullptr) {
      auto made = std::make_unique<CUfunc_st>();
      made->kernel = of.kernel;
      known = made.get();
      state().functions[known] = std::move(made);
    }
    *function = known;
    return kSuccess;
  }
  static CUresult FuncSetAttribute(CUfunction function, int attribute, int value) {
    const auto held = lock();
    if (!state().functions.contains(function)) return kInvalidHandle;
    if (attribute == 8) {  // dynamic shared memory
      if (value < 0 || value > kMaxShared) return kInvalidValue;
      function->max_dynamic_shared = value;
      return kSuccess;
    }
    return attribute == 9 ? kSuccess : kInvalidValue;  // 9: carve-out, a hint
  }
  static CUresult FuncGetAttribute(int* value, int attribute, CUfunction function) {
    const auto held = lock();
    if (!state().functions.contains(function)) return kInvalidHandle;
    switch (attribute) {
      case 0: *value = function->kernel->max_threads; return kSuccess;
      case 1: *value = 0; return kSuccess;  // static shared memory: known only when it runs
      case 2: case 3: *value = 0; return kSuccess;
      case 4: *value = 32; return kSuccess;
      case 5: case 6: *value = 90; return kSuccess;
      case 8: *value = static_cast<int>(function->max_dynamic_shared); return kSuccess;
      default: return kInvalidValue;
    }
  }

  // Of what there is: matrices of elements of 1 to 8 bytes, boxes with rows of 128 bytes, swizzled.
  static CUresult TensorMapEncodeTiled(void* map, int type, unsigned rank, void* address,
                                       const uint64_t* dims, const uint64_t* strides,
                                       const unsigned* box, const unsigned* steps, int interleave,
                                       int swizzle, int, int fill) {
    constexpr int kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};  // of CUtensorMapDataType
    const auto refused = [](const char* why) { return refuse(kInvalidValue, why); };
    if (reinterpret_cast<uintptr_t>(map) % 64 != 0) return refused("a tensor map not aligned");
    if (type < 0 || type >= static_cast<int>(std::size(kBytes))) return refused("a tensor's type");
    if (rank != 2 || interleave != 0 || swizzle != 3 || fill != 0) {
      return refused("a tensor map of a kind that is not emulated");
    }
    const int bytes = kBytes[type];
    if (reinterpret_cast<uintptr_t>(address) % 16 != 0 || strides[0] % 16 != 0 ||
        strides[0] >= uint64_t{1} << 40) {
      return refused("a tensor whose address or stride is no multiple of 16 bytes");
    }
    for (int i = 0; i < 2; ++i) {
      if (dims[i] < 1 || dims[i] > uint64_t{1} << 32) return refused("the dims of a tensor map");
      if (box[i] < 1 || box[i] > 256 || steps[i] != 1) return refused("the box of a tensor map");
    }
    if (box[0] * static_cast<unsigned>(bytes) != 128) return refused("a box of no 128 bytes");
    TensorBox made;
    made.magic = TensorBox::kMagic;
    made.address = reinterpret_cast<uint64_t>(address);
    made.rows = static_cast<int64_t>(dims[1]);
    made.columns = static_cast<int64_t>(dims[0]);
    made.row_bytes = static_cast<int64_t>(strides[0]);
    made.element_bytes = bytes;
    made.box_rows = static_cast<int32_t>(box[1]);
    made.box_columns = static_cast<int32_t>(box[0]);
    std::memset(map, 0, sizeof(ArgumentBytes));
    std::memcpy(map, static_cast<const void*>(&made), sizeof made);
    return kSuccess;
  }

  static CUresult LaunchKernelEx(const cuda::LaunchConfig* config, CUfunction function,
                                 void** params, void** extra) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    CUstream_st* on = stream_of(config->stream);
    if (on == nullptr || !state().functions.contains(function)) return kInvalidHandle;
    if (extra != nullptr) return refuse(kInvalidValue, "arguments by `extra`");
    CUgraphNode_st node;
    node.function = function;
    for (size_t d = 0; d < 3; ++d) {
      node.shape.grid[d] = config->grid[d];
      node.shape.block[d] = static_cast<int>(config->block[d]);
    }
    node.shape.shared_bytes = config->shared_bytes;
    if (CUresult bad = check_shape(node)) return bad;
    const kiln_emulated::Kernel& kernel = *function->kernel;
    node.arguments = take_arguments(kernel, params);
    node.extents = std::exchange(state().extents, {});
    if (on->capture) return append(*on, std::move(node));
    return launch(node);
  }

  static std::vector<ArgumentBytes> take_arguments(const kiln_emulated::Kernel& kernel,
                                                   void* const* params) {
    std::vector<ArgumentBytes> arguments(static_cast<size_t>(kernel.parameters));
    for (size_t i = 0; i < arguments.size(); ++i) {
      const auto bytes = static_cast<size_t>(kernel.types[i].bytes);
      KILN_CHECK_LE(bytes, sizeof(ArgumentBytes));
      std::memcpy(arguments[i].words, params[i], bytes);
    }
    return arguments;
  }

  static CUresult check_shape(const CUgraphNode_st& node) {
    const Shape& shape = node.shape;
    const int64_t threads = int64_t{shape.block[0]} * shape.block[1] * shape.block[2];
    if (shape.grid[0] < 1 || shape.grid[1] < 1 || shape.grid[2] < 1 || shape.grid[1] > 65535 ||
        shape.grid[2] > 65535 || shape.grid[0] > 0x7fffffff) {
      return refuse(kInvalidValue, "the grid is empty or too large");
    }
    if (threads < 1 || threads > node.function->kernel->max_threads || shape.block[2] > 64) {
      return refuse(kInvalidValue,
                    "a block of " + std::to_string(threads) + " threads; the kernel is made for " +
                        std::to_string(node.function->kernel->max_threads));
    }
    const int cluster = node.function->kernel->cluster_blocks;
    if (shape.grid[0] % cluster != 0) {
      return refuse(kInvalidValue, "a grid of " + std::to_string(shape.grid[0]) +
                                       " blocks in clusters of " + std::to_string(cluster));
    }
    if (shape.shared_bytes > node.function->max_dynamic_shared) {
      return refuse(kInvalidValue, "more dynamic shared memory than the function's attribute");
    }
    return kSuccess;
  }

  static CUresult launch(const CUgraphNode_st& node) {
    const kiln_emulated::Kernel& kernel = *node.function->kernel;
    std::vector<kiln_emulated::Region> regions(node.arguments.size());
    std::vector<kiln_emulated::Parameter> parameters;
    for (size_t i = 0; i < regions.size(); ++i) {
      kiln_emulated::Region& region = regions[i];
      region.space = kiln_emulated::kGlobal;
      region.access = kernel.types[i].access;
      region.argument = static_cast<int>(i);
      if (region.access != kiln_emulated::kValue) {
        auto* address = reinterpret_cast<unsigned char*>(node.arguments[i].words[0]);
        region.begin = region.end = address;
        if (Memory::Allocation* in = state().memory.find(address, 0)) {
          const Extent extent = i < node.extents.size() ? node.extents[i] : Extent{};
          region.begin = address + std::max(extent.begin, in->begin - address);
          region.end = address + std::min(extent.end, in->begin + in->bytes - address);
          if (region.end < region.begin) region.end = region.begin;
          kiln_emulated::Cell* cells = state().memory.cells(*in);
          region.cells = cells == nullptr ? nullptr : cells + (region.begin - in->begin);
        }
      }
      if (kernel.types[i].bytes == sizeof(ArgumentBytes)) {
        TensorBox box;
        std::memcpy(static_cast<void*>(&box), &node.arguments[i], sizeof box);
        if (box.magic != TensorBox::kMagic ||
            state().memory.find(reinterpret_cast<void*>(box.address), box.bytes()) == nullptr) {
          return refuse(kInvalidValue, "argument " + std::to_string(i) +
                                           " is no tensor map, or one of memory that is not there");
        }
      }
      parameters.push_back({&node.arguments[i], &region});
    }
    std::string finding = emulator().execution_.run(kernel, node.shape, parameters);
    return finding.empty() ? kSuccess : refuse(kLaunchFailed, std::move(finding));
  }

  // ---- graphs -----------------------------------------------------------------------------------

  static CUresult append(CUstream_st& stream, CUgraphNode_st node) {
    stream.capture->nodes.push_back(std::make_unique<CUgraphNode_st>(std::move(node)));
    return kSuccess;
  }
  static CUresult StreamBeginCapture(CUstream stream, int mode) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    if (stream == nullptr) return refuse(kCaptureUnsupported, "the default stream");
    if (on->capture || mode < 0 || mode > 2) return kInvalidValue;
    on->capture = std::make_unique<CUgraph_st>();
    on->mode = mode;
    on->by = std::this_thread::get_id();
    return kSuccess;
  }
  static CUresult StreamEndCapture(CUstream stream, CUgraph* graph) {
    const auto held = lock();
    CUstream_st* on = stream_of(stream);
    if (on == nullptr || !on->capture) return kInvalidValue;
    *graph = on->capture.get();
    state().graphs[*graph] = std::move(on->capture);
    return kSuccess;
  }
  static CUresult GraphInstantiate(CUgraphExec* exec, CUgraph graph, unsigned long long) {
    const auto held = lock();
    if (!state().graphs.contains(graph)) return kInvalidHandle;
    auto made = std::make_unique<CUgraphExec_st>();
    for (const auto& node : graph->nodes) {
      made->position[node.get()] = made->nodes.size();
      made->nodes.push_back(*node);
    }
    *exec = made.get();
    state().graph_execs[*exec] = std::move(made);
    return kSuccess;
  }
  static CUresult GraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
    const auto held = lock();
    if (!state().graphs.contains(graph)) return kInvalidHandle;
    if (nodes != nullptr) {
      *count = std::min(*count, graph->nodes.size());
      for (size_t i = 0; i < *count; ++i) nodes[i] = graph->nodes[i].get();
    } else {
      *count = graph->nodes.size();
    }
    return kSuccess;
  }
  static CUresult GraphNodeGetType(CUgraphNode node, int* type) {
    *type = node->type;
    return kSuccess;
  }
  // CUDA_KERNEL_NODE_PARAMS_v2.
  struct KernelNodeParams {
    CUfunction function;
    unsigned grid[3], block[3], shared_bytes;
    void** params;
    void** extra;
    void* kernel;
    CUcontext context;
  };
  static CUresult GraphKernelNodeGetParams(CUgraphNode node, void* params) {
    const auto held = lock();
    if (node->type != CUgraphNode_st::kKernel) return kInvalidValue;
    node->pointers.clear();
    for (ArgumentBytes& argument : node->arguments) node->pointers.push_back(&argument);
    KernelNodeParams result{};
    result.function = node->function;
    for (size_t i = 0; i < 3; ++i) {
      result.grid[i] = static_cast<unsigned>(node->shape.grid[i]);
      result.block[i] = static_cast<unsigned>(node->shape.block[i]);
    }
    result.shared_bytes = static_cast<unsigned>(node->shape.shared_bytes);
    result.params = node->pointers.data();
    std::memcpy(params, &result, sizeof(result));
    return kSuccess;
  }
  static CUresult GraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                               const void* params) {
    const auto held = lock();
    const auto found = state().graph_execs.find(exec);
    if (found == state().graph_execs.end()) return kInvalidHandle;
    const auto position = exec->position.find(node);
    if (position == exec->position.end()) return kInvalidValue;
    KernelNodeParams given;
    std::memcpy(&given, params, sizeof(given));
    if (!state().functions.contains(given.function) || given.extra != nullptr) {
      return kInvalidValue;
    }
    CUgraphNode_st& changed = exec->nodes[position->second];
    changed.function = given.function;
    for (size_t i = 0; i < 3; ++i) {
      changed.shape.grid[i] = given.grid[i];
      changed.shape.block[i] = static_cast<int>(given.block[i]);
    }
    changed.shape.shared_bytes = given.shared_bytes;
    const kiln_emulated::Kernel& kernel = *given.function->kernel;
    changed.arguments = take_arguments(kernel, given.params);
    return check_shape(changed);
  }
  static CUresult GraphLaunch(CUgraphExec exec, CUstream stream) {
    if (CUresult bad = need_context()) return bad;
    const auto held = lock();
    if (!state().graph_execs.contains(exec)) return kInvalidHandle;
    CUstream_st* on = stream_of(stream);
    if (on == nullptr) return kInvalidHandle;
    if (on->capture) return refuse(kCaptureUnsupported, "a graph inside of a capture");
    for (const CUgraphNode_st& node : exec->nodes) {
      CUresult result = kSuccess;
      switch (node.type) {
        case CUgraphNode_st::kKernel: result = launch(node); break;
        case CUgraphNode_st::kCopy: result = copy(node.to, node.from, node.bytes); break;
        case CUgraphNode_st::kFill: result = fill(node.to, node.value, node.bytes); break;
      }
      if (result != kSuccess) return result;
    }
    return kSuccess;
  }
  static CUresult GraphExecDestroy(CUgraphExec exec) {
    const auto held = lock();
    return state().graph_execs.erase(exec) == 1 ? kSuccess : kInvalidHandle;
  }
  static CUresult GraphDestroy(CUgraph graph) {
    const auto held = lock();
    return state().graphs.erase(graph) == 1 ? kSuccess : kInvalidHandle;
  }
};

thread_local CUcontext DriverFunctions::current = nullptr;
thread_local int DriverFunctions::capture_mode = 0;

Emulator::Emulator() : state_(std::make_unique<State>()) {
#define KILN_EMULATED_FUNCTION(name, symbol, params) driver_.name = &DriverFunctions::name;
  KILN_CUDA_DRIVER_FUNCTIONS(KILN_EMULATED_FUNCTION)
#undef KILN_EMULATED_FUNCTION
}

Emulator& Emulator::instance() {
  static Emulator* emulator = new Emulator();  // outlives all that use it
  return *emulator;
}

void Emulator::set_extents(std::vector<Extent> extents) {
  const auto held = DriverFunctions::lock();
  state_->extents = std::move(extents);
}

std::string Emulator::take_report() {
  const auto held = DriverFunctions::lock();
  return std::exchange(state_->report, {});
}

size_t Emulator::allocations() const { return state_->memory.count(); }
size_t Emulator::bytes_in_use() const { return state_->memory.bytes_in_use(); }

std::string module_image(const std::string& library, int index) {
  std::string image(kImageMagic);
  image += library + " " + std::to_string(index);
  image += '\0';
  return image;
}

}  // namespace kiln::emulator
