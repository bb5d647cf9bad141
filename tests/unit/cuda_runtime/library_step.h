// Binds and runs single steps on host memory, on a device that is none: what tests of library steps
// share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/runtime/driver.h"
#include "base/status.h"
#include "core/dtype.h"
#include "runtime/device_runtime.h"
#include "runtime/step.h"

namespace kiln::cuda_test {

// A CUDA device whose memory is the host's.
class HostMemoryDevice : public DeviceRuntime {
 public:
  Device device() const override { return {DeviceKind::kCuda, 0}; }
  int fitness(std::string_view) const override { return 1; }
  size_t alignment() const override { return 16; }
  std::shared_ptr<void> allocate(size_t bytes, StreamHandle stream) override {
    return host().allocate(bytes, stream);
  }
  std::shared_ptr<void> allocate_lasting(size_t bytes) override {
    return host().allocate_lasting(bytes);
  }
  StreamHandle current_stream() const override { return nullptr; }
  Status order(StreamHandle, StreamHandle) override { return {}; }
  Status synchronize(StreamHandle) override { return {}; }
  Status copy(void* to, const void* from, size_t bytes, StreamHandle stream) override {
    return host().copy(to, from, bytes, stream);
  }
  Status strided_copy(const void* from, const int64_t* from_strides, void* to,
                      const int64_t* to_strides, const int64_t* dims, int rank,
                      size_t element_bytes, StreamHandle stream) override {
    return host().strided_copy(from, from_strides, to, to_strides, dims, rank, element_bytes,
                               stream);
  }
  Status fill(void* to, unsigned char byte, size_t bytes, StreamHandle stream) override {
    return host().fill(to, byte, bytes, stream);
  }
  Result<std::shared_ptr<DeviceCode>> load_code(const std::vector<KernelDesc>& kernels,
                                                const NativeCode* native) override {
    return host().load_code(kernels, native);
  }
  Status take_fault(DeviceCode&) override { return {}; }

 private:
  static DeviceRuntime& host() { return cpu_device(); }
};

inline HostMemoryDevice& host_memory_device() {
  static HostMemoryDevice device;
  return device;
}
// For plans whose target begins with "hostcuda".
inline void register_host_memory_device() {
  register_device_runtime("hostcuda",
                          [](int) -> Result<DeviceRuntime*> { return &host_memory_device(); });
}

// A strided operand in host memory of its own, filled with small numbers.
struct Operand {
  ConcreteView view;
  std::vector<double> slot;   // what is stored
  std::vector<char> bytes;

  Operand(DType dtype, std::vector<int64_t> dims, std::vector<int64_t> strides = {},
          int64_t offset = 0, SlotKind kind = SlotKind::kTemp) {
    view.dtype = dtype;
    view.kind = kind;
    view.dims = std::move(dims);
    if (strides.empty()) {
      strides.assign(view.dims.size(), 1);
      for (size_t i = view.dims.size(); i-- > 1;) strides[i - 1] = strides[i] * view.dims[i];
    }
    view.strides = std::move(strides);
    view.offset = offset;
    int64_t elements = 1 + offset;
    for (size_t i = 0; i < view.dims.size(); ++i) {
      if (view.dims[i] == 0) elements = offset;
      else elements += (view.dims[i] - 1) * view.strides[i];
    }
    view.slot_elements = elements;
    slot.assign(static_cast<size_t>(elements), 0);
    bytes.assign(slot.size() * dtype_bytes(dtype) + 64, 0);
  }
  void fill(int seed) {
    uint32_t state = static_cast<uint32_t>(seed) * 2654435761u + 1;
    for (size_t i = 0; i < slot.size(); ++i) {
      state = state * 1664525u + 1013904223u;
      set(i, static_cast<double>(static_cast<int>(state >> 24) % 9 - 4) / 2);
    }
  }
  void set(size_t i, double value) {
    slot[i] = value;
    char* to = base() + i * dtype_bytes(view.dtype);
    switch (view.dtype) {
      case DType::kF32: *reinterpret_cast<float*>(to) = static_cast<float>(value); break;
      case DType::kF64: *reinterpret_cast<double*>(to) = value; break;
      case DType::kF16:
        *reinterpret_cast<uint16_t*>(to) = f32_to_f16(static_cast<float>(value));
        break;
      default: *reinterpret_cast<uint16_t*>(to) = f32_to_bf16(static_cast<float>(value));
    }
  }
  double stored(size_t i) {
    const char* at = base() + i * dtype_bytes(view.dtype);
    switch (view.dtype) {
      case DType::kF32: return *reinterpret_cast<const float*>(at);
      case DType::kF64: return *reinterpret_cast<const double*>(at);
      case DType::kF16: return f16_to_f32(*reinterpret_cast<const uint16_t*>(at));
      default: return bf16_to_f32(*reinterpret_cast<const uint16_t*>(at));
    }
  }
  char* base() {
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    return bytes.data() + (64 - address % 64) % 64;
  }
  void* data() { return base() + static_cast<size_t>(view.offset) * dtype_bytes(view.dtype); }
  int64_t index(const std::vector<int64_t>& at) const {  // broadcast where a dim is 1
    int64_t i = view.offset;
    for (size_t d = 0; d < at.size(); ++d) i += (view.dims[d] == 1 ? 0 : at[d]) * view.strides[d];
    return i;
  }
  double at(const std::vector<int64_t>& where) const {
    return slot[static_cast<size_t>(index(where))];
  }
};

inline Result<std::unique_ptr<BoundStep>> bind_step(const std::string& kind, const Json& params,
                                                    const std::vector<Operand*>& inputs,
                                                    Operand& output) {
  StepDesc desc{kind, {}, {}, params, "", ""};
  desc.inputs.resize(inputs.size());
  desc.outputs.resize(1);
  StepEnvironment environment;
  environment.device = &host_memory_device();
  KILN_ASSIGN_OR_RETURN(const std::unique_ptr<Step> step,
                        StepRegistry::global().create(desc, environment));
  BindContext context;
  for (const Operand* input : inputs) context.inputs.push_back(input->view);
  context.outputs.push_back(output.view);
  return step->bind(context);
}

inline Status run_step(BoundStep& bound, const std::vector<Operand*>& inputs, Operand& output) {
  std::vector<void*> in, out{output.data()};
  for (Operand* input : inputs) in.push_back(input->data());
  const std::shared_ptr<void> scratch =
      host_memory_device().allocate(bound.scratch_bytes() + 64, nullptr);
  RunArgs args;
  args.inputs = in.data();
  args.outputs = out.data();
  args.scratch = scratch.get();
  return bound.run(args);
}

}  // namespace kiln::cuda_test
