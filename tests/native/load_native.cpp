// Loads a program for a GPU and runs it once with libkiln_runtime alone, on the null driver: what a
// machine without a compiler does with a file that brings machine code.
//
//   kiln_load_native MODEL.kiln [--trust]
//
// Symbolic sizes are the least of their ranges. Prints the names that the loaded code has in the
// file, one a line; on an error its text, and 1 is returned.
#include <kiln/program.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "backends/cuda/runtime/cuda_device.h"
#include "base/hash.h"
#include "core/dtype.h"
#include "cuda/null_driver.h"
#include "runtime/native_code.h"

namespace {

using kiln::test::NullDriver;

// A tensor on the device, with the least sizes.
struct Tensor {
  Tensor(kiln::DeviceRuntime& device, const kiln::TensorInfo& info) {
    int64_t elements = 1;
    for (const kiln::DimInfo& dim : info.dims) shape.push_back(dim.min);
    strides.resize(shape.size());
    for (size_t i = shape.size(); i-- > 0;) {
      strides[i] = elements;
      elements *= shape[i];
    }
    memory = device.allocate_lasting(static_cast<size_t>(std::max<int64_t>(elements, 1)) *
                                     kiln::dtype_bytes(info.dtype));
    view = {memory.get(), info.dtype,    device.device(), static_cast<int>(shape.size()),
            shape.data(), strides.data()};
  }
  std::vector<int64_t> shape, strides;
  std::shared_ptr<void> memory;
  kiln::TensorView view;
};

kiln::Status run(const char* path, bool trust) {
  kiln::LoadOptions options;
  options.trust = trust;
  auto program = kiln::Program::load(path, options);
  if (!program.ok()) return program.status();
  kiln::DeviceRuntime& device = **kiln::cuda::cuda_device(0);
  std::vector<Tensor> tensors;
  std::vector<kiln::TensorView> inputs, outputs;
  for (const auto& info : (*program)->inputs())
    inputs.push_back(tensors.emplace_back(device, info).view);
  for (const auto& info : (*program)->outputs())
    outputs.push_back(tensors.emplace_back(device, info).view);
  return (*program)->create_context()->run(inputs, outputs);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  NullDriver::get().reset();
  const kiln::Status status = run(argv[1], argc > 2 && std::strcmp(argv[2], "--trust") == 0);
  for (const std::string& cubin : NullDriver::get().cubins()) {
    std::puts(kiln::native_entry_name(kiln::hash128(cubin)).c_str());
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
