// What strides say about memory: in which order a tensor is dense, and whether a result of an
// operator is a view of its operand.
#pragma once

#include <vector>

#include "aten/schema.h"
#include "core/call_arg.h"
#include "core/dim.h"
#include "ir/graph.h"

namespace kiln {

// The order in which the dims are dense, outermost first. Empty: contiguous, or no such order.
std::vector<int> dense_order(const Shape& dims, const Shape& strides);

// Operators that give their operand back, or a view of it, when they can, and a copy otherwise.
// Schemas of composites do not say so.
bool may_share(const Schema& schema);

// Of a native call of such an operator: does it share, and because of the strides of its operand?
struct Sharing {
  bool shares = true;
  bool by_strides = false;
};
Sharing sharing(const Schema& schema, const CallArg::List& args, const Shape& strides_before,
                Value* before, Value* after, const Shape& strides_after);
// Are there tensors of this shape with other strides?
bool may_have_strides(const Shape& dims);

// Would torch's reshape of a tensor with these strides (empty: contiguous) be a view?
bool reshape_is_view(const Shape& from, const Shape& strides, const Shape& to);
// Of a tensor with any strides?
bool reshape_is_always_view(const Shape& from, const Shape& to);

}  // namespace kiln
