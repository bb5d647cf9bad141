#include "cuda/null_driver.h"

#include <elf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>

namespace kiln::test {
namespace {

using namespace kiln::cuda;

constexpr CUresult kInvalidValue = 1, kInvalidImage = 200, kNoBinaryForGpu = 209, kNotFound = 500,
                   kCaptureUnsupported = 900;

// Pages of the host. The runtime keeps those of its fault words for the life of the process; here
// they can be found, so that they are no leaks.
class HostPages {
 public:
  void add(void* page) {
    std::lock_guard lock(mutex_);
    pages_.insert(page);
  }
  void remove(void* page) {
    std::lock_guard lock(mutex_);
    pages_.erase(page);
  }

 private:
  std::mutex mutex_;
  std::set<void*> pages_;
};
HostPages& host_pages() {
  static HostPages* const pages = new HostPages();  // longer than the check for leaks
  return *pages;
}

}  // namespace

class NullDriver::Impl {
 public:
  struct Kernel {
    std::string entry;
    std::vector<int> sizes;
    uint64_t last = 0;
  };
  struct Module {
    Kernel kernel;
    std::string cubin;  // "" when the image is a text
  };
  struct Node {
    enum class Kind { kLaunch, kCopy, kFill } kind = Kind::kLaunch;
    NullLaunch launch;
    const Kernel* kernel = nullptr;
    CUdeviceptr to = 0, from = 0;
    size_t bytes = 0;
    unsigned char byte = 0;
  };
  struct Graph {
    std::vector<std::unique_ptr<Node>> nodes;
  };
  struct Exec {
    Graph* graph = nullptr;
    std::map<const Node*, Node> nodes;
  };
  struct Stream {
    Graph* recording = nullptr;
    std::vector<CUgraphNode> last;
  };

  std::mutex mutex;
  std::vector<std::string> log;
  std::vector<NullLaunch> launches;
  std::vector<std::string> cubins;
  std::map<uintptr_t, size_t> blocks;
  std::set<Stream*> streams;
  std::map<std::string, int> failures;

  int take_failure(const char* function) {
    std::lock_guard lock(mutex);
    const auto found = failures.find(function);
    if (found == failures.end()) return 0;
    const int result = found->second;
    failures.erase(found);
    return result;
  }
  void note(std::string entry) {
    std::lock_guard lock(mutex);
    log.push_back(std::move(entry));
  }
  Stream* recording(CUstream stream) {
    auto* mine = reinterpret_cast<Stream*>(stream);
    std::lock_guard lock(mutex);
    return streams.contains(mine) && mine->recording != nullptr ? mine : nullptr;
  }
  // Now, or into the graph that the stream is recording.
  void put(CUstream stream, Node node) {
    if (Stream* to = recording(stream)) {
      to->recording->nodes.push_back(std::make_unique<Node>(std::move(node)));
      to->last = {reinterpret_cast<CUgraphNode>(to->recording->nodes.back().get())};
      return;
    }
    run(node);
  }
  void run(const Node& node) {
    auto pointer = [](CUdeviceptr address) {
      return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
    };
    switch (node.kind) {
      case Node::Kind::kCopy:
        std::memmove(pointer(node.to), pointer(node.from), node.bytes);
        return note("memcpy");
      case Node::Kind::kFill:
        std::memset(pointer(node.to), node.byte, node.bytes);
        return note("memset");
      case Node::Kind::kLaunch: break;
    }
    note("launch " + node.launch.kernel);
    {
      std::lock_guard lock(mutex);
      launches.push_back(node.launch);
    }
    const auto& bodies = NullDriver::get().bodies;
    if (const auto body = bodies.find(node.launch.kernel); body != bodies.end()) {
      body->second(node.launch);
    }
  }
};

namespace {

using Impl = NullDriver::Impl;

Impl& state() { return NullDriver::get().impl(); }
int failure(const char* function) { return state().take_failure(function); }

thread_local CUcontext current = nullptr;

CUcontext context_of(int device) {
  return reinterpret_cast<CUcontext>(static_cast<uintptr_t>(0x1000 + device));
}

CUresult allocate(CUdeviceptr* pointer, size_t bytes) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  void* memory = std::aligned_alloc(256, rounded);
  if (memory == nullptr) return kCudaOutOfMemory;
  *pointer = reinterpret_cast<uintptr_t>(memory);
  std::lock_guard lock(state().mutex);
  state().blocks[*pointer] = bytes;
  state().log.push_back("alloc");
  return 0;
}

CUresult release(CUdeviceptr pointer) {
  std::lock_guard lock(state().mutex);
  if (state().blocks.erase(pointer) == 0) return kInvalidValue;
  std::free(reinterpret_cast<void*>(static_cast<uintptr_t>(pointer)));
  state().log.push_back("free");
  return 0;
}

std::vector<uint64_t> read_params(const Impl::Kernel& kernel, void** params) {
  std::vector<uint64_t> values;
  for (size_t i = 0; i < kernel.sizes.size(); ++i) {
    uint64_t value = 0;
    std::memcpy(&value, params[i], static_cast<size_t>(kernel.sizes[i]));
    values.push_back(value);
  }
  return values;
}

bool is_elf(const void* image) {
  return std::memcmp(image,
                     "\x7f"
                     "ELF",
                     4) == 0;
}

// A whole ELF file for CUDA (ABI version 8: bits 8 to 15 of its flags are the architecture) that
// fits the device. Its size is not given; the table of sections stands last.
CUresult read_cubin(const char* image, std::string& cubin) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  constexpr unsigned kMachineCuda = 190;
  if (header.e_machine != kMachineCuda || header.e_shentsize != sizeof(Elf64_Shdr)) {
    return kInvalidImage;
  }
  const unsigned sm = header.e_flags >> 8 & 0xff;
  const NullDriver& driver = NullDriver::get();
  if (sm / 10 != static_cast<unsigned>(driver.major) ||
      sm % 10 > static_cast<unsigned>(driver.minor)) {
    return kNoBinaryForGpu;
  }
  const size_t sections = header.e_shoff + size_t{header.e_shnum} * sizeof(Elf64_Shdr);
  const size_t segments = header.e_phoff + size_t{header.e_phnum} * sizeof(Elf64_Phdr);
  cubin.assign(image, std::max(sections, segments));
  return 0;
}

Driver make_table() {
  Driver t;
  t.Init = [](unsigned) -> CUresult { return failure("cuInit"); };
  t.DriverGetVersion = [](int* version) -> CUresult { return *version = 13000, 0; };
  t.GetErrorName = [](CUresult error, const char** text) -> CUresult {
    *text = error == kCudaOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_A_TEST";
    return 0;
  };
  t.GetErrorString = [](CUresult, const char** text) -> CUresult { return *text = "a test", 0; };
  t.DeviceGetCount = [](int* count) -> CUresult { return *count = NullDriver::get().devices, 0; };
  t.DeviceGet = [](CUdevice* device, int ordinal) -> CUresult { return *device = ordinal, 0; };
  t.DeviceGetName = [](char* name, int length, CUdevice) -> CUresult {
    std::strncpy(name, "null device", static_cast<size_t>(length));
    return 0;
  };
  t.DeviceGetAttribute = [](int* value, int attribute, CUdevice) -> CUresult {
    const NullDriver& driver = NullDriver::get();
    switch (attribute) {
      case kAttributeMajor: *value = driver.major; break;
      case kAttributeMinor: *value = driver.minor; break;
      case kAttributeMultiprocessors: *value = 132; break;
      case kAttributeSharedOptin: *value = 227 << 10; break;
      case kAttributeL2Bytes: *value = 50 << 20; break;
      case kAttributeMemoryPools: *value = driver.memory_pools ? 1 : 0; break;
      default: *value = 0; break;
    }
    return 0;
  };
  t.DevicePrimaryCtxRetain = [](CUcontext* context, CUdevice device) -> CUresult {
    return *context = context_of(device), 0;
  };
  t.CtxGetCurrent = [](CUcontext* context) -> CUresult { return *context = current, 0; };
  t.CtxSetCurrent = [](CUcontext context) -> CUresult { return current = context, 0; };
  t.CtxSynchronize = []() -> CUresult { return state().note("synchronize"), 0; };
  t.PointerGetAttribute = [](void* value, int, CUdeviceptr pointer) -> CUresult {
    const auto address = reinterpret_cast<const void*>(static_cast<uintptr_t>(pointer));
    if (!NullDriver::get().is_device(address)) return kInvalidValue;
    return *static_cast<int*>(value) = 2, 0;
  };
  t.MemGetInfo = [](size_t* free_bytes, size_t* total) -> CUresult {
    *free_bytes = size_t{70} << 30;
    return *total = size_t{80} << 30, 0;
  };
  t.MemAlloc = [](CUdeviceptr* pointer, size_t bytes) -> CUresult {
    if (const int result = failure("cuMemAlloc")) return result;
    return allocate(pointer, bytes);
  };
  t.MemFree = [](CUdeviceptr pointer) -> CUresult {
    state().note("synchronize");
    return release(pointer);
  };
  t.MemAllocAsync = [](CUdeviceptr* pointer, size_t bytes, CUstream) -> CUresult {
    if (const int result = failure("cuMemAllocAsync")) return result;
    return allocate(pointer, bytes);
  };
  t.MemFreeAsync = [](CUdeviceptr pointer, CUstream) -> CUresult { return release(pointer); };
  t.DeviceGetDefaultMemPool = [](CUmemoryPool* pool, CUdevice) -> CUresult {
    return *pool = nullptr, 0;
  };
  t.MemPoolSetAttribute = [](CUmemoryPool, int, void*) -> CUresult { return 0; };
  t.MemHostAlloc = [](void** pointer, size_t bytes, unsigned) -> CUresult {
    *pointer = std::calloc(1, bytes);
    host_pages().add(*pointer);
    return *pointer != nullptr ? 0 : kCudaOutOfMemory;
  };
  t.MemFreeHost = [](void* pointer) -> CUresult {
    host_pages().remove(pointer);
    return std::free(pointer), 0;
  };
  t.MemHostGetDevicePointer = [](CUdeviceptr* pointer, void* host, unsigned) -> CUresult {
    return *pointer = reinterpret_cast<uintptr_t>(host), 0;
  };
  t.MemcpyAsync = [](CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream s) -> CUresult {
    if (const int result = failure("cuMemcpyAsync")) return result;
    Impl::Node node;
    node.kind = Impl::Node::Kind::kCopy;
    node.to = to;
    node.from = from;
    node.bytes = bytes;
    return state().put(s, std::move(node)), 0;
  };
  t.MemsetD8Async = [](CUdeviceptr to, unsigned char value, size_t n, CUstream s) -> CUresult {
    Impl::Node node;
    node.kind = Impl::Node::Kind::kFill;
    node.to = to;
    node.bytes = n;
    node.byte = value;
    return state().put(s, std::move(node)), 0;
  };
  t.StreamCreate = [](CUstream* stream, unsigned) -> CUresult {
    auto* made = new Impl::Stream;
    std::lock_guard lock(state().mutex);
    state().streams.insert(made);
    return *stream = reinterpret_cast<CUstream>(made), 0;
  };
  t.StreamDestroy = [](CUstream stream) -> CUresult {
    auto* mine = reinterpret_cast<Impl::Stream*>(stream);
    std::lock_guard lock(state().mutex);
    if (state().streams.erase(mine) == 0) return kInvalidValue;
    delete mine;
    return 0;
  };
  t.StreamSynchronize = [](CUstream stream) -> CUresult {
    if (state().recording(stream) != nullptr) return kCaptureUnsupported;
    return state().note("synchronize"), 0;
  };
  t.StreamWaitEvent = [](CUstream, CUevent, unsigned) -> CUresult {
    return state().note("wait"), 0;
  };
  t.StreamIsCapturing = [](CUstream stream, int* status) -> CUresult {
    *status = NullDriver::get().foreign_capture || state().recording(stream) != nullptr ? 1 : 0;
    return 0;
  };
  t.StreamBeginCapture = [](CUstream stream, int) -> CUresult {
    if (const int result = failure("cuStreamBeginCapture")) return result;
    auto* mine = reinterpret_cast<Impl::Stream*>(stream);
    {
      std::lock_guard lock(state().mutex);
      if (!state().streams.contains(mine)) return kCaptureUnsupported;  // the default stream
      mine->recording = new Impl::Graph;
      mine->last.clear();
    }
    return state().note("record"), 0;
  };
  t.StreamEndCapture = [](CUstream stream, CUgraph* graph) -> CUresult {
    Impl::Stream* mine = state().recording(stream);
    if (mine == nullptr) return kInvalidValue;
    *graph = reinterpret_cast<CUgraph>(mine->recording);
    mine->recording = nullptr;
    return failure("cuStreamEndCapture");
  };
  t.StreamGetCaptureInfo = [](CUstream stream, int* status, uint64_t* id, CUgraph* graph,
                              const CUgraphNode** last, size_t* count) -> CUresult {
    Impl::Stream* mine = state().recording(stream);
    *status = mine != nullptr ? 1 : 0;
    if (mine == nullptr) return 0;
    *id = 1;
    *graph = reinterpret_cast<CUgraph>(mine->recording);
    *last = mine->last.data();
    *count = mine->last.size();
    return 0;
  };
  t.ThreadExchangeStreamCaptureMode = [](int* mode) -> CUresult {
    static thread_local int now = 0;
    return std::swap(now, *mode), 0;
  };
  t.EventCreate = [](CUevent* event, unsigned) -> CUresult {
    return *event = reinterpret_cast<CUevent>(new int(0)), 0;
  };
  t.EventDestroy = [](CUevent event) -> CUresult {
    return delete reinterpret_cast<int*>(event), 0;
  };
  t.EventRecord = [](CUevent, CUstream) -> CUresult { return state().note("event"), 0; };
  t.EventSynchronize = [](CUevent) -> CUresult { return state().note("synchronize"), 0; };
  t.EventElapsedTime = [](float* milliseconds, CUevent, CUevent) -> CUresult {
    return *milliseconds = 1, 0;
  };
  t.ModuleLoadData = [](CUmodule* module, const void* image) -> CUresult {
    if (const int result = failure("cuModuleLoadData")) return result;
    auto made = std::make_unique<Impl::Module>();
    if (is_elf(image)) {
      if (const CUresult result = read_cubin(static_cast<const char*>(image), made->cubin)) {
        return result;
      }
      std::lock_guard lock(state().mutex);
      state().cubins.push_back(made->cubin);
      return *module = reinterpret_cast<CUmodule>(made.release()), 0;
    }
    std::istringstream words(static_cast<const char*>(image));
    size_t count = 0;
    if (!(words >> made->kernel.entry >> count)) return kInvalidValue;
    made->kernel.sizes.resize(count);
    for (int& size : made->kernel.sizes) words >> size;
    state().note("load " + made->kernel.entry);
    return *module = reinterpret_cast<CUmodule>(made.release()), 0;
  };
  t.ModuleUnload = [](CUmodule module) -> CUresult {
    auto* mine = reinterpret_cast<Impl::Module*>(module);
    state().note("unload " + mine->kernel.entry);
    return delete mine, 0;
  };
  t.ModuleGetFunction = [](CUfunction* function, CUmodule module, const char* name) -> CUresult {
    auto* mine = reinterpret_cast<Impl::Module*>(module);
    if (!mine->cubin.empty()) {
      // In the table of names.
      const std::string entry = std::string("\0", 1) + name + std::string("\0", 1);
      if (mine->cubin.find(entry) == std::string::npos) return kNotFound;
      mine->kernel.entry = name;
    }
    if (mine->kernel.entry != name) return kNotFound;
    return *function = reinterpret_cast<CUfunction>(&mine->kernel), 0;
  };
  t.FuncSetAttribute = [](CUfunction, int, int) -> CUresult { return 0; };
  t.FuncGetAttribute = [](int* value, int attribute, CUfunction) -> CUresult {
    *value = attribute == kFunctionMaxThreads ? NullDriver::get().max_threads : 0;
    return 0;
  };
  t.LaunchKernelEx = [](const LaunchConfig* config, CUfunction function, void** params,
                        void**) -> CUresult {
    if (const int result = failure("cuLaunchKernelEx")) return result;
    if (current == nullptr) return 201;  // no context
    const auto& kernel = *reinterpret_cast<Impl::Kernel*>(function);
    const LaunchConfig& c = *config;
    Impl::Node node;
    node.kernel = &kernel;
    node.launch = {kernel.entry,
                   {c.grid[0], c.grid[1], c.grid[2]},
                   {c.block[0], c.block[1], c.block[2]},
                   c.shared_bytes,
                   c.stream,
                   read_params(kernel, params),
                   c.attribute_count == 1 &&
                       c.attributes[0].id == kLaunchProgrammaticSerialization};
    return state().put(c.stream, std::move(node)), 0;
  };
  t.TensorMapEncodeTiled = [](void* map, int, unsigned, void*, const uint64_t*, const uint64_t*,
                              const unsigned*, const unsigned*, int, int, int, int) -> CUresult {
    if (const int result = failure("cuTensorMapEncodeTiled")) return result;
    std::memset(map, 0, 128);
    return 0;
  };
  t.GraphInstantiate = [](CUgraphExec* exec, CUgraph graph, unsigned long long) -> CUresult {
    if (const int result = failure("cuGraphInstantiateWithFlags")) return result;
    auto* made = new Impl::Exec;
    made->graph = reinterpret_cast<Impl::Graph*>(graph);
    for (const auto& node : made->graph->nodes) made->nodes.emplace(node.get(), *node);
    state().note("instantiate");
    return *exec = reinterpret_cast<CUgraphExec>(made), 0;
  };
  t.GraphGetNodes = [](CUgraph graph, CUgraphNode* nodes, size_t* count) -> CUresult {
    const auto& mine = *reinterpret_cast<Impl::Graph*>(graph);
    if (nodes != nullptr) {
      for (size_t i = 0; i < mine.nodes.size(); ++i) {
        nodes[i] = reinterpret_cast<CUgraphNode>(mine.nodes[i].get());
      }
    }
    return *count = mine.nodes.size(), 0;
  };
  t.GraphNodeGetType = [](CUgraphNode node, int* type) -> CUresult {
    const auto& mine = *reinterpret_cast<Impl::Node*>(node);
    return *type = static_cast<int>(mine.kind), 0;
  };
  t.GraphKernelNodeGetParams = [](CUgraphNode, void*) -> CUresult { return kInvalidValue; };
  t.GraphExecKernelNodeSetParams = [](CUgraphExec exec, CUgraphNode node,
                                      const void* params) -> CUresult {
    if (const int result = failure("cuGraphExecKernelNodeSetParams")) return result;
    auto& mine = *reinterpret_cast<Impl::Exec*>(exec);
    const auto found = mine.nodes.find(reinterpret_cast<Impl::Node*>(node));
    if (found == mine.nodes.end() || found->second.kernel == nullptr) return kInvalidValue;
    const auto& given = *static_cast<const KernelNodeParams*>(params);
    NullLaunch& launch = found->second.launch;
    for (size_t d = 0; d < 3; ++d) {
      launch.grid[d] = given.grid[d];
      launch.block[d] = given.block[d];
    }
    launch.shared_bytes = given.shared_bytes;
    launch.params = read_params(*reinterpret_cast<Impl::Kernel*>(given.function), given.params);
    return 0;
  };
  t.GraphLaunch = [](CUgraphExec exec, CUstream) -> CUresult {
    if (const int result = failure("cuGraphLaunch")) return result;
    state().note("graph launch");
    const auto& mine = *reinterpret_cast<Impl::Exec*>(exec);
    for (const auto& node : mine.graph->nodes) state().run(mine.nodes.at(node.get()));
    return 0;
  };
  t.GraphExecDestroy = [](CUgraphExec exec) -> CUresult {
    return delete reinterpret_cast<Impl::Exec*>(exec), 0;
  };
  t.GraphDestroy = [](CUgraph graph) -> CUresult {
    return delete reinterpret_cast<Impl::Graph*>(graph), 0;
  };
  return t;
}

// Copies as device/strided_copy.h does: for CopyShape's arguments.
void strided_copy_body(const NullLaunch& launch, int64_t element, bool wide) {
  auto number = [&](size_t i) {
    return wide ? static_cast<int64_t>(launch.params[i])
                : static_cast<int64_t>(static_cast<int32_t>(launch.params[i]));
  };
  const auto* from = launch.pointer<const char>(0);
  auto* to = launch.pointer<char>(1);
  for (int64_t i = 0; i < number(2); ++i) {
    int64_t rest = i, source = 0, target = 0;
    for (size_t d = 3; d + 2 < launch.params.size(); d += 3) {
      source += rest % number(d) * number(d + 1);
      target += rest % number(d) * number(d + 2);
      rest /= number(d);
    }
    std::memcpy(to + target * element, from + source * element, static_cast<size_t>(element));
  }
}

}  // namespace

NullDriver::NullDriver() : impl_(new Impl) {}

NullDriver& NullDriver::get() {
  static auto* driver = new NullDriver;
  return *driver;
}

const Driver& NullDriver::table() {
  static const Driver table = make_table();
  return table;
}

void NullDriver::reset() {
  set_driver_for_test(&table());
  devices = 2;
  major = 9;
  minor = 0;
  memory_pools = true;
  max_threads = 1024;
  std::erase_if(bodies, [](const auto& body) {
    return !body.first.starts_with("strided_copy");  // devices keep its kernels
  });
  foreign_capture = false;
  std::lock_guard lock(impl_->mutex);
  impl_->log.clear();
  impl_->launches.clear();
  impl_->cubins.clear();
  impl_->failures.clear();
}

std::vector<std::string> NullDriver::log() {
  std::lock_guard lock(impl_->mutex);
  return impl_->log;
}

std::vector<NullLaunch> NullDriver::launches() {
  std::lock_guard lock(impl_->mutex);
  return impl_->launches;
}

void NullDriver::clear_log() {
  std::lock_guard lock(impl_->mutex);
  impl_->log.clear();
  impl_->launches.clear();
}

size_t NullDriver::count(const std::string& entry) {
  std::lock_guard lock(impl_->mutex);
  size_t count = 0;
  for (const std::string& line : impl_->log) count += line == entry ? 1 : 0;
  return count;
}

std::vector<std::string> NullDriver::cubins() {
  std::lock_guard lock(impl_->mutex);
  return impl_->cubins;
}

size_t NullDriver::live_bytes() {
  std::lock_guard lock(impl_->mutex);
  size_t total = 0;
  for (const auto& [address, bytes] : impl_->blocks) total += bytes;
  return total;
}

size_t NullDriver::live_blocks() {
  std::lock_guard lock(impl_->mutex);
  return impl_->blocks.size();
}

bool NullDriver::is_device(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  std::lock_guard lock(impl_->mutex);
  auto after = impl_->blocks.upper_bound(address);
  if (after == impl_->blocks.begin()) return false;
  --after;
  return address < after->first + std::max<size_t>(after->second, 1);
}

void NullDriver::fail_next(const std::string& function, int result) {
  std::lock_guard lock(impl_->mutex);
  impl_->failures[function] = result;
}

std::vector<int> strided_copy_parameters(const Json& params) {
  const int number = params.bool_at("wide").value() ? 8 : 4;
  std::vector<int> sizes = {8, 8, number};
  const int64_t rank = params.int_at("rank").value();
  for (int64_t i = 0; i < 3 * rank; ++i) sizes.push_back(number);
  return sizes;
}

Result<std::vector<CompiledKernel>> NullCompiler::compile(const std::vector<KernelDesc>& kernels,
                                                          int sm) {
  last_sm = sm;
  std::vector<CompiledKernel> result;
  for (const KernelDesc& kernel : kernels) {
    ++compiled;
    std::string entry = kernel.family;
    std::vector<int> sizes;
    if (kernel.family == "strided_copy") {
      const int64_t element = kernel.params.int_at("element_bytes").value();
      const bool wide = kernel.params.bool_at("wide").value();
      sizes = strided_copy_parameters(kernel.params);
      entry += "_" + std::to_string(element) + "_" + std::to_string(sizes.size()) +
               (wide ? "_wide" : "");
      NullDriver::get().bodies[entry] = [element, wide](const NullLaunch& launch) {
        strided_copy_body(launch, element, wide);
      };
    } else if (const auto found = parameters.find(kernel.family); found != parameters.end()) {
      sizes = found->second;
    } else {
      return Status::error("K2610", "unknown family of kernels: " + kernel.family);
    }
    std::string image = entry + " " + std::to_string(sizes.size());
    for (int size : sizes) image += " " + std::to_string(size);
    result.push_back({std::move(image), std::move(entry)});
  }
  return result;
}

}  // namespace kiln::test
