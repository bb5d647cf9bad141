// Interpolation to another spatial size, as torch.nn.functional.interpolate (without antialias).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

enum class ResizeMode : uint8_t {
  kNearest,       // torch's "nearest": floor(o * scale)
  kNearestExact,  // floor((o + 0.5) * scale)
  kLinear,        // linear, bilinear, trilinear by spatial rank
  kCubic          // bicubic with a = -0.75, borders repeated
};

struct ResizeParams {
  ResizeMode mode = ResizeMode::kNearest;
  DType dtype = DType::kF32;  // kF32 or kF64
  int spatial_rank = 2;       // 1, 2 or 3; unused entries of the arrays below are ignored
  int64_t batch = 0, channels = 0;
  std::array<int64_t, 3> in_sizes{1, 1, 1}, out_sizes{1, 1, 1};
  bool align_corners = false;  // kLinear and kCubic
  // torch's scale_factor where the caller gave one that is to be used as it is; 0: from the sizes.
  std::array<double, 3> scale_factors{};
  std::array<int64_t, 5> in_strides{}, out_strides{};  // [batch, channel, spatial...], in elements

  Status validate() const;  // K4325
};

size_t resize_scratch_bytes(const ResizeParams& params);

void resize(const ResizeParams& params, const void* in, void* out, void* scratch);

}  // namespace kiln::cpu
