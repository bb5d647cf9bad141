// Which kernels a product of 16-bit matrices may get: how long Kiln's own would take in each tiling
// and how long the library's, by a model of the device.
//
// The model: blocks are spread evenly, and the fullest multiprocessor has as many as there are
// waves. They take as long as what keeps them longest of
//   - the multiprocessor's shared memory, which stages are written to and fragments read from, or
//     its matrix instructions;
//   - the latency of memory: a stage that was not under way from the beginning comes one latency
//     after it was asked for, and as many are asked for together as a block holds;
//   - the operands from memory, once, and those of all tiles from the L2 cache.
// Then what every kernel takes; where the depth is split, the exchange of sums; and for activations
// of many instructions these. The library's time is fitted to sizes. The constants
// (gemm_choice.cpp) are of an H200 (tests/gpu/gemm_bench.py; mean error 12 %), scaled by
// multiprocessors and bandwidth.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cuda/runtime/multistage_gemm.h"
#include "tuning/device_spec.h"

namespace kiln::cuda {

struct GemmProblem {
  int64_t m = 0, n = 0, k = 0;
  bool add = false;     // another operand of the result's size
  bool costly = false;  // an activation of many instructions
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
