// What a front end says of a tensor or a size, in the importer's terms.
#pragma once

#include <kiln/capture.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "core/size_condition.h"
#include "ir/module.h"

namespace kiln {

Result<Type> type_of(const CaptureMeta& meta);
// Dense memory order, outermost first; empty when contiguous or not dense.
Result<std::vector<int>> order_of(const CaptureMeta& meta);
Result<Shape> dims_of(const CaptureMeta& meta);
// Captured strides; empty: contiguous.
Result<Shape> strides_of(const CaptureMeta& meta);
// The symbols that sizes of inputs and inputs that are numbers contain.
std::set<std::string> symbols_of_inputs(Module& module);
// Those of a contiguous tensor.
Shape row_major(const Shape& dims);
// A result that the operator does not give here.
bool is_absent(const Type& type);
// Does the captured result agree with what the rule built?
bool agrees(const Type& built, const Type& captured);
// "gt" and "ge" turned round.
Result<SizeCondition> condition_of(std::string_view relation, const CaptureDim& left,
                                   const CaptureDim& right, std::string_view text);

}  // namespace kiln
