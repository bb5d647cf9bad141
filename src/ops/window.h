// Sliding windows: the spatial arithmetic that convolutions and pools share.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dim.h"
#include "ir/op_def.h"

namespace kiln {

// One entry per spatial axis in each vector.
struct Window {
  std::vector<int64_t> kernel, stride, padding_low, padding_high, dilation;

  int rank() const { return static_cast<int>(kernel.size()); }
  int64_t extent(int axis) const {  // positions from the first tap to the last, inclusive
    const auto i = static_cast<size_t>(axis);
    return dilation[i] * (kernel[i] - 1) + 1;
  }
  bool operator==(const Window&) const = default;
};

// The window of a conv or conv_transpose node (kernel sizes from the weight) or of a pool node,
// with the defaults of empty fields filled in. Precondition: the node verifies.
Window conv_window(Node& node);
Window pool_window(Node& node);

// The same while inferring; K2204 when a kernel size is symbolic, K2205 when a field is malformed.
Result<Window> infer_conv_window(const OpContext& context);
Result<Window> infer_pool_window(const OpContext& context);

// Output size along one axis of a convolution or floor-mode pool:
// floor((input + low + high - extent) / stride) + 1.
DimExpr window_output(const DimExpr& input, const Window& window, int axis);
// Ceil-mode pool: rounds up, then drops a last window that would start past the input and its low
// padding (torch's rule; at most one window, because padding <= kernel / 2).
DimExpr window_output_ceil(const DimExpr& input, const Window& window, int axis);

// Output sizes of all spatial axes of operand 0 (its last window.rank() axes). K2204 when an axis
// is constant and no window fits.
Result<Shape> window_outputs(const OpContext& context, const Window& window, bool ceil_mode);

// The part of a window that lies in the input: taps first, first + dilation, ... below last.
struct TapRange {
  int64_t start = 0;                    // input position of tap 0, may be negative
  int64_t first_tap = 0, last_tap = 0;  // taps in [first_tap, last_tap) are inside
};
TapRange taps_inside(const Window& window, int axis, int64_t output, int64_t input_size);

}  // namespace kiln
