// NumPy's advanced indexing with integer tensors, shared by `index` and `index_put`.
//
// The index tensors broadcast against each other; their joint axes stand where the first indexed
// axis was if the indexed axes are neighbours, and in front of everything otherwise.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

// Shape of x[indices], where operand 0 is x, operands `first_index`... are the index tensors and
// the field `axes` says, ascending, which axis of x each one indexes. K2203 to K2205.
Result<Shape> advanced_index_shape(const OpContext& context, int first_index);

// For each element of x[indices], row-major, its flat position in x; writes the shape too. Negative
// indices count from the end. K4210 when one is out of range.
Result<std::vector<int64_t>> advanced_index_positions(const ReferenceContext& context,
                                                      int first_index,
                                                      std::vector<int64_t>* shape);

// The Tensor?[] argument of ATen's index functions: a null for each axis that is not indexed.
std::vector<Value*> advanced_index_list(Node& node, int first_index);

}  // namespace kiln
