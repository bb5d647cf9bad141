// Which tilings of warpgroup_gemm a product may get, and how long it would take in each: by the
// copies or the matrix instructions of the fullest multiprocessor, whatever is slower, and what is
// done behind the sums, which overlaps with them but for the last tile, or does not. The constants
// are measured ones of an H200.
#pragma once

#include <string_view>
#include <vector>

#include "backends/cuda/compile/gemm_choice.h"
#include "backends/cuda/runtime/warpgroup_gemm.h"

namespace kiln::cuda {

// Microseconds.
double warpgroup_gemm_time(const GemmProblem& problem, const WarpgroupTiling& tiling,
                           const DeviceSpec& device);
// Whether those kernels can compute it: on GPUs of compute capability 9.0 and no others.
bool takes_warpgroups(const GemmProblem& problem, const DeviceSpec& device);
// The tilings worth trying, best first.
std::vector<WarpgroupTiling> warpgroup_gemm_tilings(const GemmProblem& problem,
                                                    const DeviceSpec& device);
// "w128x192": the first of the list with such a tile, "w128x192s": without overlap of tiles. `add`:
// something is added to each result. K1002 for what is none.
Result<WarpgroupTiling> parse_warpgroup_tiling(std::string_view text, bool add);

}  // namespace kiln::cuda
