// One kernel's source, compiled and launched on the emulated driver, for tests that need no engine.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "emulator/emulator.h"
#include "emulator/host_compiler.h"

namespace kiln::emulator {

// Device memory with its content; freed with the object.
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  template <class T>
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size() * sizeof(T)) {
    if (!values.empty()) std::memcpy(data(), values.data(), values.size() * sizeof(T));
  }
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint64_t address() const { return address_; }
  void* data() const { return reinterpret_cast<void*>(address_); }
  template <class T>
  std::vector<T> values() const {
    std::vector<T> result(bytes_ / sizeof(T));
    if (!result.empty()) std::memcpy(result.data(), data(), result.size() * sizeof(T));
    return result;
  }

 private:
  uint64_t address_ = 0;
  size_t bytes_ = 0;
};

class LoadedKernel {
 public:
  static Result<std::unique_ptr<LoadedKernel>> load(const cuda::CompiledKernel& kernel);
  // Compiles first, with a compiler of the process.
  static Result<std::unique_ptr<LoadedKernel>> load(const cuda::KernelSource& source);
  ~LoadedKernel();

  // `arguments`: the bytes of each, lowest first. "" or the driver's report.
  std::string launch(const Shape& shape, std::vector<uint64_t> arguments);
  // The same by addresses of the arguments.
  std::string launch_with(const Shape& shape, const std::vector<void*>& arguments);

 private:
  LoadedKernel() = default;
  cuda::CUmodule module_ = nullptr;
  cuda::CUfunction function_ = nullptr;
};

// The calling thread gets the emulated device's context.
void use_device();

}  // namespace kiln::emulator
