// The operands of matrix products and attention as kernels that take strides want them, whatever
// the backend: few dims, read where they lie.
#pragma once

#include <vector>

#include "fusion/engine_lowering.h"

namespace kiln {

// a[..., m, k] * b[..., k, n] = c[..., m, n]; outer dims of one matrix are merged into its rows
// where strides allow it. Allocates the node's result.
struct ProductViews {
  PlanView a, b, c;
};
ProductViews linear_views(Node& node, EngineLowering& lowering);  // without the bias
ProductViews matmul_views(Node& node, EngineLowering& lowering);

// q, k, v and the mask, if there is one, as [batch, heads, length, dim], and what is computed.
// Where the result is part of a larger buffer and cannot be seen so, it is computed in `beside`,
// which is to be copied to `result` afterwards. Allocates the node's result.
struct AttentionViews {
  std::vector<PlanView> inputs;
  PlanView out;
  PlanView beside, result;
  bool copies = false;
};
AttentionViews attention_views(Node& node, EngineLowering& lowering);

}  // namespace kiln
