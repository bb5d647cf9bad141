// Convolution and transposed convolution of any kind: 1 to 3 spatial dims, groups, strides,
// dilation, any padding, any tensor strides, f32 and f64. For what the library refuses.
//
// An implicit matrix product: rows are output positions, their inputs are gathered block by block
// (im2col of 48 rows, never of the image), columns are output channels. A transposed convolution is
// cut into phases, the output positions that are equal modulo the stride, because only these share
// the kernel positions that reach them; so no multiplication with inserted zeros is done.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

struct ConvParams {
  DType dtype = DType::kF32;  // kF32 or kF64, of everything
  int spatial_rank = 2;       // 1, 2 or 3; unused entries of the arrays below are ignored
  bool transposed = false;
  int64_t batch = 0, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of all groups together
  std::array<int64_t, 3> in_sizes{1, 1, 1}, kernel{1, 1, 1}, out_sizes{1, 1, 1};
  // Padding at the low end of the input (of the output when transposed). The high end follows from
  // out_sizes, so that uneven padding and output_padding need nothing else.
  std::array<int64_t, 3> padding{};
  std::array<int64_t, 3> stride{1, 1, 1}, dilation{1, 1, 1};
  // In elements: [batch, channel, spatial...], and [out, in of a group, spatial...] for weights; of
  // a transposed convolution's weights the first is the stride of out within a group, the second
  // that of in over all groups (torch stores [in, out / groups, ...]).
  std::array<int64_t, 5> in_strides{}, weight_strides{}, out_strides{};
  bool has_bias = false;  // out_channels contiguous values

  Status validate() const;  // K4323
};

class ConvPlan {
 public:
  ConvPlan() = default;
  ConvPlan(const ConvParams& params, int threads);  // requires params.validate().ok(); threads >= 1

  size_t scratch_bytes() const;
  // `scratch` is 64-byte aligned. `out` must not overlap anything else.
  void run(const void* in, const void* weight, const void* bias, void* out, void* scratch) const;

  // Private to conv_direct.cpp, whose code for each SIMD target is not a member:
  ConvParams params;
  std::array<int64_t, 3> phase_step{1, 1, 1};  // output positions of a phase are this far apart
  int64_t phases = 1, kernel_positions = 1;
  int64_t group_in = 0, group_out = 0;
  int64_t parts = 1;
  int64_t column_block = 0;  // output channels of which sums are kept at a time
  // Scratch, in elements of dtype:
  int64_t weights_offset = 0, group_weights = 0, a_offset = 0, sums_offset = 0;
  int64_t own_offset = 0, part_size = 0, total_size = 0;
};

}  // namespace kiln::cpu
