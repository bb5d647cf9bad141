// Which kernels attention by matrix instructions gets.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/attention_kernel.h"
#include "tuning/device_spec.h"

namespace kiln::cuda {

struct AttentionProblem {
  int64_t rows = 0, columns = 0;  // 0: not known
  int64_t head_dim = 0, value_dim = 0;
  bool mask_of_rows = false;  // a mask that differs between rows
  bool all_eight = false;     // all operands are read and written by eights
};

// The tilings worth trying, best first; one of them at least is for every GPU.
std::vector<AttentionTiling> attention_tilings(const AttentionProblem& problem,
                                               const DeviceSpec& device);

// With how many keys, and fewer, the tiling is expected to be faster than cuDNN's kernel, which is
// followed by nothing that overlaps it and wants its workspace cleared.
int64_t preferred_attention_keys(const AttentionProblem& problem, const AttentionTiling& tiling);

// "w128x64"; K1002 for what is no tiling.
Result<AttentionTiling> parse_attention_tiling(std::string_view text);

}  // namespace kiln::cuda
