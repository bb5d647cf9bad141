// A CUDA driver without a GPU: "device" memory is host memory, work is done at once, and what was
// asked for is written down. Kernels are names; those with a body run it, on the host.
//
// Images are texts that NullCompiler makes, or cubins: of these it checks what a driver checks
// first (format, architecture, names of functions), and does not read launches' parameters.
//
// NullDriver::get() is one per process; reset() at the beginning of each test. NullCompiler makes
// "code" for it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "backends/cuda/runtime/driver.h"
#include "backends/cuda/runtime/kernel_compiler.h"

namespace kiln::test {

// The parameters of a launch, by value: 8 bytes each, filled up with zeros.
struct NullLaunch {
  std::string kernel;
  unsigned grid[3], block[3];
  unsigned shared_bytes = 0;
  void* stream = nullptr;
  std::vector<uint64_t> params;
  bool overlaps = false;  // may begin before what is before it has ended

  template <class T>
  T* pointer(size_t i) const {
    return reinterpret_cast<T*>(static_cast<uintptr_t>(params[i]));
  }
};

using NullKernel = std::function<void(const NullLaunch&)>;

class NullDriver {
 public:
  static NullDriver& get();
  static const cuda::Driver& table();
  // Puts the table in the place of the real driver and forgets what was recorded and set.
  void reset();

  // What happened, in order: "launch NAME", "memcpy", "memset", "record", "wait", "synchronize",
  // "alloc", "free", "graph launch", ...; launches inside a graph follow their "graph launch".
  std::vector<std::string> log();
  // Launches that ran, those of graphs included.
  std::vector<NullLaunch> launches();
  void clear_log();
  size_t count(const std::string& entry);
  // Cubins that were loaded, whole, in order.
  std::vector<std::string> cubins();
  // Bytes of device memory that is allocated, and blocks.
  size_t live_bytes();
  size_t live_blocks();
  // Does the address lie in device memory?
  bool is_device(const void* pointer);
  // The next call of this function ("cuLaunchKernel") fails with `result`.
  void fail_next(const std::string& function, int result);

  // Settings of a test; reset() takes them back.
  int devices = 2;
  int major = 9, minor = 0;
  bool memory_pools = true;
  int max_threads = 1024;
  std::map<std::string, NullKernel> bodies;  // by entry
  bool foreign_capture = false;              // every stream says that it is being recorded

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  NullDriver();
  Impl* impl_;
};

// Makes an image that NullDriver loads: the sizes of the parameters, then the entry, which is the
// family. Other families than those in `parameters` and strided_copy are refused (K2610).
class NullCompiler : public cuda::KernelCompiler {
 public:
  Result<std::vector<cuda::CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                                    int sm) override;
  std::map<std::string, std::vector<int>> parameters;  // family -> bytes of each parameter
  int compiled = 0;
  int last_sm = 0;
};

// "sizes" for a kernel of the family strided_copy, and its body.
std::vector<int> strided_copy_parameters(const Json& params);

}  // namespace kiln::test
