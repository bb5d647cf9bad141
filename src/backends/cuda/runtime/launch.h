// Kernel launches of steps: what a step of the CUDA backend binds to.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backends/cuda/runtime/driver.h"
#include "core/dtype.h"
#include "runtime/device_runtime.h"
#include "runtime/plan.h"
#include "runtime/step.h"

namespace kiln::cuda {

// The loaded kernels of a plan; made by the runtime's load_code, found in StepEnvironment::code.
class KernelCode : public DeviceCode {
 public:
  struct Kernel {
    CUfunction function = nullptr;
    std::string name;             // of the entry in the source
    unsigned max_threads = 1024;  // a block of it may have
    unsigned max_shared = 0;      // bytes of dynamic shared memory that a block may ask for
  };
  const Driver* driver = nullptr;
  std::vector<Kernel> kernels;        // parallel to EnginePlan::kernels
  // Descriptions of those that are other ones than the plan's (fitted_kernel.h), by position.
  std::map<int64_t, KernelDesc> fitted;
  // Whether a kernel may be launched while the one before it on the stream runs (from sm_90 on);
  // each waits for that one itself (device/platform.h, wait_for_previous).
  bool overlap = false;
  unsigned* fault = nullptr;          // device address of the fault word; see Argument::fault()
  volatile unsigned* fault_on_host = nullptr;  // the same word as the host sees it
  std::shared_ptr<void> owner;        // of modules and of the fault word
};

// One kernel argument, by value as the ABI passes it.
struct Argument {
  enum class Kind : uint8_t { kValue, kInput, kOutput, kScratch } kind = Kind::kValue;
  int view = 0;         // kInput, kOutput: which view; its address is filled in at each run
  int64_t offset = 0;   // bytes added to an address
  uint64_t value = 0;   // kValue: the bytes, lowest first
  uint32_t bytes = 8;   // size of the parameter
  int matrix = -1;      // of Launch::matrices: the kernel gets a map of it instead of its address

  static Argument input(int view, int64_t byte_offset = 0);
  static Argument output(int view, int64_t byte_offset = 0);
  static Argument scratch(int64_t byte_offset = 0);
  static Argument i32(int32_t value);
  static Argument i64(int64_t value);
  static Argument f32(float value);
  static Argument f64(double value);
  // Address of the fault word: kernels that find a bad index or divisor store a code there
  // (device/fault.h), with any write winning, and go on with a harmless value.
  static Argument fault(const KernelCode& code);
};

// A matrix whose boxes a kernel copies (device/tensor_copy.h). Its address and `row_bytes` are
// multiples of 16.
struct MatrixMap {
  DType dtype = DType::kF16;
  int64_t rows = 0, columns = 0, row_bytes = 0;  // the last: from one row to the next
  int64_t box_rows = 0, box_columns = 0;         // a box's row is 128 bytes
};

struct Launch {
  int kernel = 0;  // in EnginePlan::kernels
  std::array<int64_t, 3> grid{1, 1, 1};
  std::array<int64_t, 3> block{1, 1, 1};
  int64_t shared_bytes = 0;  // dynamic
  std::vector<Argument> arguments;
  std::vector<MatrixMap> matrices;
};

// What a launch's argument that is an address may touch, in bytes from there: its view, or the
// step's scratch memory. Everything for addresses that are passed by value.
struct AddressRange {
  int64_t begin = INT64_MIN;
  int64_t end = INT64_MAX;
};
// For drivers that check accesses: called before each launch of a step that is bound from now on,
// with a range for each argument. Null: nobody is.
using LaunchObserver = void (*)(const std::vector<AddressRange>& ranges);
void set_launch_observer_for_test(LaunchObserver observer);

// A step that is one or more launches in a row. Everything is checked here, once per shape: the
// kernel exists, the grid and the block are within the device's limits, views named by arguments
// exist. A launch with an empty grid is left out. K5310.
class BoundLaunches : public BoundStep {
 public:
  static Result<std::unique_ptr<BoundStep>> make(std::shared_ptr<const KernelCode> code,
                                                 std::vector<Launch> launches,
                                                 const BindContext& context,
                                                 std::string implementation,
                                                 size_t scratch_bytes = 0);
  Status run(const RunArgs& args) override;
  size_t scratch_bytes() const override { return scratch_bytes_; }
  std::string implementation() const override { return implementation_; }
  Replay replay() const override { return Replay::kOtherAddresses; }
  // For graph capture, which patches addresses: the launches with their arguments.
  const std::vector<Launch>& launches() const { return launches_; }
  const KernelCode& code() const { return *code_; }
  // Only launch `i`.
  Status run_launch(const RunArgs& args, size_t i);
  // The arguments of one launch as the driver wants them: values, and pointers to these.
  static constexpr size_t kMaxArguments = 64, kMaxMatrices = 2;
  struct Parameters {
    alignas(64) uint64_t maps[kMaxMatrices][16];
    uint64_t values[kMaxArguments];
    void* pointers[kMaxArguments];
  };
  Status fill(const Launch& launch, const RunArgs& args, Parameters& parameters) const;

 private:
  BoundLaunches() = default;
  std::shared_ptr<const KernelCode> code_;
  std::vector<Launch> launches_;
  std::string implementation_;
  size_t scratch_bytes_ = 0;
  std::vector<std::vector<AddressRange>> ranges_;  // of each launch, when there is an observer
};

// The configuration of a launch; `attribute` is a place for what it needs of one.
LaunchConfig launch_config(const std::array<int64_t, 3>& grid, const std::array<int64_t, 3>& block,
                           int64_t shared_bytes, CUstream stream, bool overlap,
                           LaunchAttribute& attribute);

// A CUdevice_attribute of device number `device`.
Result<int> device_attribute(const KernelCode& code, int device, int attribute);
// 90 for 9.0.
Result<int> compute_capability(const KernelCode& code, int device);

// For factories of steps: the code that their kernels are in, or K5311 when the plan's device is no
// CUDA device; the parameters of kernel `index` of family `family`, as it was loaded, or K3212.
Result<std::shared_ptr<const KernelCode>> kernel_code(const StepEnvironment& environment);
Result<const Json*> kernel_params(const StepEnvironment& environment, int64_t index,
                                  std::string_view family);

}  // namespace kiln::cuda
