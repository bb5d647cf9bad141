#include "torch/torch_device.h"

#include <ATen/Context.h>
#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>

#include <memory>

#include "runtime/device_runtime.h"

namespace kiln {
namespace {

// torch's ids of streams that it did not make are their handles (c10/cuda/CUDAStream.cpp).
c10::Stream external_stream(const c10::Device& device, void* stream) {
  return c10::Stream(c10::Stream::UNSAFE, device, reinterpret_cast<c10::StreamId>(stream));
}

// Has torch a GPU? Starts its part of CUDA at the first call.
bool has_gpu() {
  static const bool result = [] {
    if (!at::hasCUDA()) return false;
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return true;
  }();
  return result;
}

void* current_stream(int index) {
  if (!has_gpu()) return nullptr;
  const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
  return guard.getStreamNativeHandle(
      guard.getStream(to_torch_device(Device{DeviceKind::kCuda, index})));
}

// From the caching allocator, which knows the current stream only.
std::shared_ptr<void> allocate(int index, size_t bytes, void* stream) {
  try {
    if (!has_gpu() || current_stream(index) != stream) return nullptr;
    const c10::DeviceGuard guard(to_torch_device(Device{DeviceKind::kCuda, index}));
    auto memory =
        std::make_shared<c10::DataPtr>(c10::GetAllocator(c10::DeviceType::CUDA)->allocate(bytes));
    void* address = memory->get();
    return {std::move(memory), address};
  } catch (const std::exception&) {
    return nullptr;  // out of memory: the driver may have some that torch has not
  }
}

[[maybe_unused]] const bool registered = [] {
  set_device_host({allocate, current_stream});
  return true;
}();

}  // namespace

ScopedTorchStream::ScopedTorchStream(const Device& device, void* stream) {
  if (device.kind == DeviceKind::kCpu) return;
  const c10::Device here = to_torch_device(device);
  guard_.emplace(c10::DeviceType::CUDA);
  if (const c10::Device before = guard_->getDevice(); before != here) {
    device_before_ = guard_->exchangeDevice(here);
  }
  if (guard_->getStreamNativeHandle(guard_->getStream(here)) != stream) {
    stream_before_ = guard_->exchangeStream(external_stream(here, stream));
  }
}

ScopedTorchStream::~ScopedTorchStream() {
  if (stream_before_) guard_->exchangeStream(*stream_before_);
  if (device_before_) guard_->uncheckedSetDevice(*device_before_);
}

}  // namespace kiln
