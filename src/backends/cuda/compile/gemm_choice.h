// Which kernels a product of 16-bit matrices may get: how long Kiln's own would take in each tiling
// and how long the library's, by a model of the device.
//
// The model: all blocks of a tiling run at once, as many on the fullest multiprocessor as
// there are waves, and take as long as what keeps them longest of
//   - the matrix instructions of that multiprocessor, at the rate that mma.sync reaches there;
//   - the operands of all tiles from the L2 cache, and of its own tiles into that multiprocessor,
//     which brings in no more per latency of memory than its stages hold;
//   - the weights from memory, once.
// Then the kernel's start and end, the latency of its first loads, and, where the depth is split,
// the barriers and the exchange of sums. The library is a fixed time and the same with its
// larger tiles. The constants (gemm_choice.cpp) are measured ones of an H200, scaled by
// multiprocessors and bandwidths.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cuda/runtime/multistage_gemm.h"
#include "tuning/device_spec.h"

namespace kiln::cuda {

struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  bool add = false;  // another operand of the result's size
};

// Microseconds.
double own_gemm_time(const GemmProblem& problem, const GemmTiling& tiling,
                     const DeviceSpec& device);
double library_gemm_time(const GemmProblem& problem, const DeviceSpec& device);
// Of one more kernel that reads and writes the result elementwise.
double elementwise_time(const GemmProblem& problem, const DeviceSpec& device);

// The tilings worth trying, best first by the model.
std::vector<GemmTiling> gemm_tilings(const GemmProblem& problem, const DeviceSpec& device);

// "64x64x64/4/2"; K1002 for what is no tiling.
Result<GemmTiling> parse_gemm_tiling(std::string_view text);

}  // namespace kiln::cuda
