// "pool": max and average pooling, plain and adaptive, over 1 to 3 spatial dims, any strides.
// "resize": interpolation to another spatial size.
//
// Views are [batch, channel, spatial...] or [channel, spatial...].
#pragma once

#include <array>
#include <string>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct PoolKernel {
  static constexpr const char* kFamily = "pool";
  enum class Kind : uint8_t { kMax, kAverage, kAdaptiveMax, kAdaptiveAverage };

  Kind kind = Kind::kMax;
  DType dtype = DType::kF32;
  int64_t spatial = 2;  // dims
  // One entry for each spatial dim; adaptive kinds have none: window o of them is
  // [floor(o * in / out), ceil((o + 1) * in / out)).
  std::vector<int64_t> kernel, stride, padding, dilation;
  bool count_include_pad = true;
  int64_t divisor = 0;     // divide by this instead, unless 0
  bool places = false;     // maxima: a second result, the flat spatial place
  std::vector<int> order;  // of the result's dims
  bool wide = true;
  KernelSizes sizes;

  bool is_max() const { return kind == Kind::kMax || kind == Kind::kAdaptiveMax; }
  bool is_adaptive() const { return kind >= Kind::kAdaptiveMax; }
  Json to_json() const;
  static Result<PoolKernel> from_json(const Json& params);  // K3212
};
const char* pool_kind_name(PoolKernel::Kind kind);

// `places`: null without them.
template <class View>
NamedSizes<SizeOf<View>> pool_sizes(const View& from, const View& to, const View* places) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", to.dims);
  sizes.add_each("m", from.dims);
  sizes.add_each("a", from.strides);
  sizes.add_each("b", to.strides);
  if (places != nullptr) sizes.add_each("c", places->strides);
  return sizes;
}

struct ResizeKernel {
  static constexpr const char* kFamily = "resize";

  std::string mode = "nearest";  // nearest_exact, linear, cubic
  DType dtype = DType::kF32;
  int64_t spatial = 2;
  bool align_corners = false;
  std::vector<double> scales;  // for each spatial dim: 0: from the sizes
  std::vector<int> order;
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<ResizeKernel> from_json(const Json& params);  // K3212
};

}  // namespace kiln::cuda
