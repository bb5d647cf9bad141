// Devices, streams and GPU memory of PyTorch. Goes through torch's interfaces that know no device
// by name, so that one build works with a torch for CUDA and with one for the CPU only.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

#include <kiln/tensor.h>

namespace kiln {

inline c10::Device to_torch_device(const Device& device) {
  return device.kind == DeviceKind::kCpu
             ? c10::Device(c10::DeviceType::CPU)
             : c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device.index));
}

// Empty for devices that Kiln has not (meta, mps, ...).
inline std::optional<Device> from_torch(const c10::Device& device) {
  if (device.is_cpu()) return Device();
  if (!device.is_cuda()) return std::nullopt;
  return Device{DeviceKind::kCuda, device.has_index() ? device.index() : 0};
}

// While it lives, torch's current device is `device` and, when that is a GPU, its current stream is
// `stream` (a cudaStream_t, null for the default one). Does nothing for the CPU.
class ScopedTorchStream {
 public:
  ScopedTorchStream(const Device& device, void* stream);
  ~ScopedTorchStream();
  ScopedTorchStream(const ScopedTorchStream&) = delete;
  ScopedTorchStream& operator=(const ScopedTorchStream&) = delete;

 private:
  std::optional<c10::impl::VirtualGuardImpl> guard_;
  std::optional<c10::Device> device_before_;
  std::optional<c10::Stream> stream_before_;
};

}  // namespace kiln
