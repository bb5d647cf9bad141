#include "emulator/kernel_run.h"

#include "base/check.h"

namespace kiln::emulator {
namespace {

const cuda::Driver& driver() { return Emulator::instance().driver(); }

std::string error_text(cuda::CUresult result) {
  if (result == 0) return {};
  const char* text = nullptr;
  driver().GetErrorString(result, &text);
  return text;
}

}  // namespace

void use_device() {
  cuda::CUcontext context = nullptr;
  driver().DevicePrimaryCtxRetain(&context, 0);
  driver().CtxSetCurrent(context);
}

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  use_device();
  KILN_CHECK_EQ(driver().MemAlloc(&address_, bytes == 0 ? 1 : bytes), 0);
}

Buffer::~Buffer() { driver().MemFree(address_); }

Result<std::unique_ptr<LoadedKernel>> LoadedKernel::load(const cuda::CompiledKernel& kernel) {
  use_device();
  std::unique_ptr<LoadedKernel> loaded(new LoadedKernel());
  cuda::CUresult result = driver().ModuleLoadData(&loaded->module_, kernel.image.data());
  if (result == 0) {
    result = driver().ModuleGetFunction(&loaded->function_, loaded->module_, kernel.entry.c_str());
  }
  if (result == 0) result = driver().FuncSetAttribute(loaded->function_, 8, kMaxShared);
  if (result != 0) return Status::error("K5304", error_text(result));
  return loaded;
}

Result<std::unique_ptr<LoadedKernel>> LoadedKernel::load(const cuda::KernelSource& source) {
  static HostCompiler compiler;
  KILN_ASSIGN_OR_RETURN(std::vector<cuda::CompiledKernel> compiled, compiler.compile({source}));
  return load(compiled[0]);
}

LoadedKernel::~LoadedKernel() {
  if (module_ != nullptr) driver().ModuleUnload(module_);
}

std::string LoadedKernel::launch(const Shape& shape, std::vector<uint64_t> arguments) {
  std::vector<void*> pointers;
  for (uint64_t& argument : arguments) pointers.push_back(&argument);
  return launch_with(shape, pointers);
}

std::string LoadedKernel::launch_with(const Shape& shape, const std::vector<void*>& arguments) {
  std::vector<void*> pointers(arguments);
  cuda::LaunchConfig config{};
  for (size_t d = 0; d < 3; ++d) {
    config.grid[d] = static_cast<unsigned>(shape.grid[d]);
    config.block[d] = static_cast<unsigned>(shape.block[d]);
  }
  config.shared_bytes = static_cast<unsigned>(shape.shared_bytes);
  return error_text(driver().LaunchKernelEx(&config, function_, pointers.data(), nullptr));
}

}  // namespace kiln::emulator
