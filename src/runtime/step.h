// The life of a step:
//   1. create: a factory turns a StepDesc into a Step; parameters are checked (K32xx). Immutable,
//      shared by all threads.
//   2. bind: for concrete shapes, a Step makes a BoundStep: everything expensive happens here
//      (primitives, schedules, scratch size) and every access is checked to stay inside its slot,
//      because plans also come from files. Shared by all threads.
//   3. run: BoundStep::run with pointers; allocates nothing, may be called by several threads at
//      once with different pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/dim.h"
#include "runtime/plan.h"

namespace kiln {

class DeviceCode;
class DeviceRuntime;
class Host;
struct HostObject;

// A constant after the init plan has run. `format` is the packer's own description of the bytes
// (a oneDNN memory descriptor, ...); empty for plain tensors.
struct ConstantData {
  void* data = nullptr;
  size_t bytes = 0;
  std::string format;
  std::shared_ptr<void> owner;
};

struct ConcreteView {
  DType dtype = DType::kF32;
  SlotKind kind = SlotKind::kTemp;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
  int64_t offset = 0;         // elements
  int64_t slot_elements = 0;  // size of the slot in elements (0 for packed constants)
  const ConstantData* packed = nullptr;  // set when the slot is a packed constant

  int rank() const { return static_cast<int>(dims.size()); }
  int64_t num_elements() const;  // INT64_MAX when it is larger
  bool is_contiguous() const;
  // True when every element lies inside the slot, computed without overflow.
  bool in_bounds() const;
};

struct BindContext {
  std::vector<ConcreteView> inputs;
  std::vector<ConcreteView> outputs;
  const SymbolValues* symbols = nullptr;
  int threads = 1;  // parallel_for width the step will run with
};

struct RunArgs {
  // Address of the first element of each view (offset applied). For packed constants, of the bytes.
  void* const* inputs = nullptr;
  void* const* outputs = nullptr;
  // 64-byte aligned (256 on a GPU), scratch_bytes() of it
  void* scratch = nullptr;
  void* stream = nullptr;   // of the plan's device (device_runtime.h)
  // Host objects, by view position; only host steps look. A host step stores its results here.
  std::shared_ptr<HostObject>* const* input_objects = nullptr;
  std::shared_ptr<HostObject>* const* output_objects = nullptr;
};

class BoundStep {
 public:
  virtual ~BoundStep() = default;
  virtual size_t scratch_bytes() const { return 0; }
  virtual Status run(const RunArgs& args) = 0;
  // Can run() return an error, for any contents of the operands? When not, an init plan may write
  // its results over the constants in use (constants.h).
  virtual bool can_fail() const { return true; }
  // A step that can be cut runs as parts() independent pieces, so that several steps may share one
  // parallel region. 0: cannot.
  virtual int parts() const { return 0; }
  virtual Status run_part(const RunArgs& args, int part);
  // Whether what run() puts on a stream may be recorded once and replayed (plan_replay.h): never,
  // with the addresses it was recorded with, or with others, which the device knows how to put in.
  enum class Replay : uint8_t { kNever, kSameAddresses, kOtherAddresses };
  virtual Replay replay() const { return Replay::kNever; }
  // "dnnl:brgconv_1x1:avx512_core", "kiln:attention:avx3"; for reports and profiles.
  virtual std::string implementation() const = 0;
  // Packing steps only: size and format of packed output `i`. 0: the step does not pack.
  virtual size_t packed_bytes(int i) const;
  virtual std::string packed_format(int i) const;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const = 0;
};

// What factories may use: the host (PyTorch) when there is one, the plan's device, and the plan's
// kernels with their code.
struct StepEnvironment {
  Host* host = nullptr;
  DeviceRuntime* device = nullptr;
  const std::vector<KernelDesc>* kernels = nullptr;
  std::shared_ptr<DeviceCode> code;
};

using StepFactory = Result<std::unique_ptr<Step>> (*)(const StepDesc&, const StepEnvironment&);

// Factories by kind. Registered by the backends' runtimes at start-up with KILN_STEP.
class StepRegistry {
 public:
  static StepRegistry& global();
  void add(std::string_view kind, StepFactory factory);
  // K3201 when the kind is unknown.
  Result<std::unique_ptr<Step>> create(const StepDesc& desc, const StepEnvironment& env) const;

 private:
  std::map<std::string, StepFactory, std::less<>> factories_;
};

#define KILN_STEP(identifier, kind, factory)                       \
  [[maybe_unused]] static const bool kiln_step_##identifier = [] { \
    ::kiln::StepRegistry::global().add(kind, factory);             \
    return true;                                                   \
  }()

}  // namespace kiln
