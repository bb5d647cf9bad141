// One GPU as the runtime sees it: memory, streams, copies, code. Registered as "cuda".
//
// Works in the device's primary context, as CUDA's own runtime and PyTorch do, and leaves the
// calling thread's current context as it was. All methods may be called by any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/runtime/driver.h"
#include "backends/cuda/runtime/kernel_compiler.h"
#include "backends/cuda/runtime/launch.h"
#include "base/hash.h"
#include "runtime/device_runtime.h"

namespace kiln::cuda {

// Device `index`; the same object each time. K5301..K5304.
Result<DeviceRuntime*> cuda_device(int index);

struct DeviceProperties {
  std::string name;
  int sm = 0;  // 90
  int multiprocessors = 0;
  int64_t shared_bytes_per_block = 0;  // with opt-in
  int64_t l2_bytes = 0;
  int64_t memory_bytes_per_second = 0;  // by clock and width of the bus; 0: the driver does not say
};
Result<int> device_count();
Result<DeviceProperties> device_properties(int index);

// Kernels' code that is loaded on a device: what the programs of a process have in common is loaded
// once. Thread-safe.
class CodeStore {
 public:
  CodeStore(const Driver& driver, int sm, unsigned max_shared)
      : driver_(driver), sm_(sm), max_shared_(max_shared) {}
  // Takes the code from `native`, which may be null, as far as it fits, and the rest from the
  // compiler; of kernels that this device has too little shared memory for, that of their stand-ins
  // (fitted_kernel.h). The context must be current. K5309 with the reason when there is neither.
  Result<std::shared_ptr<KernelCode>> load(const std::vector<KernelDesc>& kernels,
                                           const NativeCode* native);
  // Why code of a file does not fit this device or this build; "" when it does.
  std::string misfit(const NativeCode& native) const;

 private:
  struct Module;
  class FaultWords;
  Result<std::shared_ptr<Module>> load_image(const void* image, const std::string& entry);
  Result<std::vector<CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                              const std::string& misfit);
  Status give_fault_word(KernelCode& code);

  const Driver& driver_;
  int sm_;
  unsigned max_shared_;
  std::mutex mutex_;
  std::map<Hash128, std::weak_ptr<Module>> modules_;  // by kernel description, or by code and entry
  std::shared_ptr<FaultWords> fault_words_;
};

// What one strided copy comes to: neighbouring dims merged, in the order of the target, elements as
// wide as everything allows.
struct CopyShape {
  int64_t element_bytes = 1;
  int rank = 0;  // 0: one element
  int64_t dims[16], from[16], to[16];
  int64_t elements = 1;  // 0: nothing to copy

  static CopyShape make(const void* from, const int64_t* from_strides, const void* to,
                        const int64_t* to_strides, const int64_t* dims, int rank,
                        size_t element_bytes);
  bool is_contiguous() const { return rank == 0 || (rank == 1 && from[0] == 1 && to[0] == 1); }
  // Do the kernel's numbers fit 32 bits?
  bool fits_32_bits() const;
  // The kernel for it; family "strided_copy". It takes kernel_rank() dims, the outermost of one
  // element where the copy has fewer, so that few kernels do for all copies.
  int kernel_rank() const;
  KernelDesc kernel() const;
  // Its launch, without allocating.
  struct Arguments {
    uint64_t values[3 + 3 * 16];
    void* pointers[3 + 3 * 16];
  };
  static constexpr unsigned kThreads = 256;
  unsigned blocks() const;
  void fill(const void* from_address, const void* to_address, Arguments& arguments) const;
};

inline constexpr std::string_view kStridedCopyFamily = "strided_copy";
// The kernels that copies of the plan's inputs, outputs and states to and from other strides may
// need: which of them depends on addresses and strides that only a run brings.
std::vector<KernelDesc> copy_kernels(const EnginePlan& plan);

}  // namespace kiln::cuda
