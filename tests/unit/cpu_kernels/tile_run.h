// Runs test programs on the tile virtual machine.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/kernels/tile_vm.h"
#include "unit/cpu_kernels/tile_oracle.h"

namespace kiln::tile_test {

struct Pointers {
  Pointers(const std::vector<Operand>& from, std::vector<Operand>* to) {
    for (const Operand& operand : from) inputs.push_back(operand.bytes.data());
    for (Operand& operand : *to) outputs.push_back(operand.bytes.data());
  }
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
};

struct Scratch {
  explicit Scratch(size_t bytes) : memory(bytes + 64) {}
  void* get() {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  }
  std::vector<char> memory;
};

inline Status run_kernel(const cpu::TileKernel& kernel, const std::vector<Operand>& inputs,
                         std::vector<Operand>* outputs, int threads = 2) {
  Pointers pointers(inputs, outputs);
  Scratch scratch(kernel.scratch_bytes(threads));
  return kernel.run(pointers.inputs.data(), pointers.outputs.data(), scratch.get(), threads);
}

inline Result<std::vector<Operand>> run_case(const Case& test, const cpu::TileLimits& limits = {}) {
  KILN_ASSIGN_OR_RETURN(auto kernel, cpu::TileKernel::bind(test.code, test.binding, limits));
  std::vector<Operand> outputs = test.outputs;
  KILN_RETURN_IF_ERROR(run_kernel(*kernel, test.inputs, &outputs));
  return outputs;
}

// A case whose operands are all contiguous over the whole domain; data are zero.
inline Case contiguous_case(const TileCode& code, std::vector<int64_t> extents) {
  Case test;
  test.code = code;
  std::vector<int64_t> strides(extents.size());
  int64_t points = 1;
  for (size_t d = extents.size(); d-- > 0;) {
    strides[d] = points;
    points *= extents[d];
  }
  test.binding.extents = std::move(extents);
  test.binding.accesses.assign(static_cast<size_t>(code.memory_instr_count()), {0, strides, {}});
  for (DType dtype : code.inputs) test.inputs.push_back(make_operand(dtype, points));
  for (DType dtype : code.outputs) test.outputs.push_back(make_operand(dtype, points));
  test.binding.input_elements.assign(code.inputs.size(), points);
  test.binding.output_elements.assign(code.outputs.size(), points);
  return test;
}

}  // namespace kiln::tile_test
