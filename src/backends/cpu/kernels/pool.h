// Max and average pooling, plain and adaptive, over 1 to 3 spatial dims, f32 and f64.
//
// Any strides; vectors over channels when channels are innermost in both tensors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

enum class PoolKind : uint8_t { kMax, kAverage, kAdaptiveMax, kAdaptiveAverage };

struct PoolParams {
  PoolKind kind = PoolKind::kMax;
  DType dtype = DType::kF32;  // kF32 or kF64
  int spatial_rank = 2;       // 1, 2 or 3; unused entries of the arrays below are ignored
  int64_t batch = 0, channels = 0;
  // out_sizes are the caller's, so ceil_mode is in them. Adaptive kinds use nothing else: window o
  // is [floor(o * in / out), ceil((o + 1) * in / out)).
  std::array<int64_t, 3> in_sizes{1, 1, 1}, out_sizes{1, 1, 1};
  std::array<int64_t, 3> kernel{1, 1, 1}, stride{1, 1, 1}, padding{};
  std::array<int64_t, 3> dilation{1, 1, 1};  // kMax only
  bool count_include_pad = true;             // kAverage: padding counts in the divisor
  int64_t divisor = 0;                       // kAverage: divide by this instead, unless 0
  // [batch, channel, spatial...], in elements.
  std::array<int64_t, 5> in_strides{}, out_strides{}, index_strides{};

  Status validate() const;  // K4324
};

// Max kinds: a NaN in a window is its maximum. `indices`, which may be null, gets the flat spatial
// position of the maximum, the first of equal ones.
void pool(const PoolParams& params, const void* in, void* out, int64_t* indices);

}  // namespace kiln::cpu
