// What the runtime needs of the device that a plan runs on: memory, copies, the order of work and
// code. The CPU's is in cpu_device.cpp; a backend's runtime adds its own under the first word of
// the plans' targets ("cuda" of "cuda:sm_90").
//
// Work on a device is ordered by streams. A stream is the device's own handle (a CUstream), null
// its default stream; the CPU has none and does everything at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <kiln/status.h>
#include <kiln/tensor.h>

#include "runtime/native_code.h"
#include "runtime/plan.h"

namespace kiln {

using StreamHandle = void*;

class PlanReplay;  // plan_replay.h
struct ShapePlan;

// The loaded code of a plan's kernels, parallel to EnginePlan::kernels.
class DeviceCode {
 public:
  virtual ~DeviceCode() = default;
};

class DeviceRuntime {
 public:
  virtual ~DeviceRuntime() = default;
  virtual Device device() const = 0;
  // How well a plan for `target`, one of this runtime's kind, suits this device; larger is better,
  // -1: not at all.
  virtual int fitness(std::string_view target) const = 0;
  // Addresses of inputs and outputs that are no multiples of this are staged; those of slots and
  // constants always are multiples of 64. 1: those of the element type are enough.
  virtual size_t alignment() const = 0;
  // The device as the calling thread's current one, until leave(), which takes what enter() gave.
  // The other methods do it by themselves; run() of a step relies on its caller (ScopedDevice).
  virtual void* enter() { return nullptr; }
  virtual void leave(void* /*before*/) {}

  // Uninitialised memory, at least 64-byte aligned; null when there is none. It may be used by work
  // put on `stream` from now on, and is reused only after all work put on it until its release.
  virtual std::shared_ptr<void> allocate(size_t bytes, StreamHandle stream) = 0;
  // The same for memory that lives long and that any stream may use: weights, constants, states. It
  // may be used at once, and its release waits for the device.
  virtual std::shared_ptr<void> allocate_lasting(size_t bytes) = 0;
  // The stream that the calling thread's host works on (torch's current stream); the default one
  // when there is no host.
  virtual StreamHandle current_stream() const = 0;
  // Work put on `later` from now on starts after what is on `earlier` now.
  virtual Status order(StreamHandle earlier, StreamHandle later) = 0;
  virtual Status synchronize(StreamHandle stream) = 0;
  // Is the caller recording work on this stream (a CUDA graph) instead of running it? Then nothing
  // may wait for the device.
  virtual bool is_recording(StreamHandle /*stream*/) { return false; }

  // From or to memory of this device, host memory at the other end or this device at both. What a
  // host's end holds may be read, changed and freed as soon as the call returns.
  virtual Status copy(void* to, const void* from, size_t bytes, StreamHandle stream) = 0;
  // Both on this device; strides in elements. No two elements of `to` may share memory.
  virtual Status strided_copy(const void* from, const int64_t* from_strides, void* to,
                              const int64_t* to_strides, const int64_t* dims, int rank,
                              size_t element_bytes, StreamHandle stream) = 0;
  virtual Status fill(void* to, unsigned char byte, size_t bytes, StreamHandle stream) = 0;

  // Finds the kernels' code, or compiles it, and loads it. `native` is code from a trusted file, or
  // null: what of it fits this device is taken first. K53xx.
  virtual Result<std::shared_ptr<DeviceCode>> load_code(const std::vector<KernelDesc>& kernels,
                                                        const NativeCode* native) = 0;
  // What kernels of `code` found wrong with the data since the last call (an index out of range, a
  // division by zero), as far as they have run by now: K4410, K4411. Does not wait.
  virtual Status take_fault(DeviceCode& code) = 0;

  // Something that runs the steps of one bound plan with less work for the host than starting each
  // of them (CUDA graphs); null where there is no such thing. Both arguments outlive it.
  virtual std::unique_ptr<PlanReplay> make_replay(const Plan& /*plan*/, const ShapePlan& /*shape*/);
};

// What a host that owns memory and streams of GPUs (PyTorch) puts in the place of Kiln's.
struct DeviceHost {
  // Memory for work on `stream` of GPU `index`, in the host's accounts; null: the host has none for
  // that stream, and Kiln asks the driver.
  std::shared_ptr<void> (*allocate)(int index, size_t bytes, StreamHandle stream) = nullptr;
  StreamHandle (*current_stream)(int index) = nullptr;
};
// Once per process, before the first use of a GPU.
void set_device_host(const DeviceHost& host);
const DeviceHost& device_host();

// The device is the calling thread's current one while this lives.
class ScopedDevice {
 public:
  explicit ScopedDevice(DeviceRuntime& device) : device_(device), before_(device.enter()) {}
  ~ScopedDevice() { device_.leave(before_); }
  ScopedDevice(const ScopedDevice&) = delete;
  ScopedDevice& operator=(const ScopedDevice&) = delete;

 private:
  DeviceRuntime& device_;
  void* before_;
};

// The CPU.
DeviceRuntime& cpu_device();

// Runtimes by first word of a target. `make` gives the one of device `index`, the same object each
// time; K5xxx says why there is none.
using DeviceRuntimeFactory = Result<DeviceRuntime*> (*)(int index);
void register_device_runtime(std::string_view kind, DeviceRuntimeFactory make);
// The one of a device; K5001 where nothing here knows its kind.
Result<DeviceRuntime*> device_runtime_of(const Device& device);
// The runtime that a plan for `target` needs; K5001 for an unknown kind.
Result<DeviceRuntime*> device_runtime_for(std::string_view target, int index);

}  // namespace kiln
