// A CUDA driver without a GPU, for tests: the table of functions of backends/cuda/runtime/driver.h
// over host memory. Kernels are host code that host_compiler.h made from the same sources that
// NVRTC gets; a launch runs them under execution.h and fails (CUDA_ERROR_LAUNCH_FAILED) with a
// report on whatever is wrong with them. cuGetErrorString gives the report, so that it ends up in
// the Status of the failed call.
//
// The driver is strict where a real one is: no call without a current context, sizes and handles
// are checked, memory is freed once, no work is done while a stream is captured but what a graph
// can hold. Everything happens at once, in the order of the calls.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/runtime/driver.h"
#include "emulator/execution.h"

namespace kiln::emulator {

// What an argument of a launch that is an address may touch, in bytes from there.
struct Extent {
  int64_t begin = INT64_MIN;  // by default no less than the allocation that it points into
  int64_t end = INT64_MAX;
};

class Emulator {
 public:
  // The one of this process; its driver() goes to cuda::set_driver_for_test.
  static Emulator& instance();
  const cuda::Driver& driver() const { return driver_; }

  // Of the next launch, parallel to its arguments.
  void set_extents(std::vector<Extent> extents);

  // The report of the last finding, which is then forgotten; "" for none.
  std::string take_report();
  Counts counts() const { return execution_.counts(); }
  Execution& execution() { return execution_; }
  size_t allocations() const;
  size_t bytes_in_use() const;

 private:
  Emulator();
  friend struct DriverFunctions;
  struct State;

  cuda::Driver driver_;
  Execution execution_;
  std::unique_ptr<State> state_;
};

// The image of a kernel for cuModuleLoadData: number `index` of a library that host_compiler made.
std::string module_image(const std::string& library, int index);

}  // namespace kiln::emulator
