// The windows of adaptive pooling: output i of n covers inputs floor(i*size/n) up to, and not with,
// ceil((i+1)*size/n). Neighbouring windows may share an element.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

struct AdaptiveWindow {
  int64_t first = 0, last = 0;  // inputs [first, last)
};
inline AdaptiveWindow adaptive_window(int64_t output, int64_t outputs, int64_t inputs) {
  return {output * inputs / outputs, ((output + 1) * inputs + outputs - 1) / outputs};
}

// Shape of the result: the last axes of operand 0 become `output_size`; K2202, K2203, K2205.
Result<Shape> adaptive_pool_shape(const OpContext& context);

}  // namespace kiln
