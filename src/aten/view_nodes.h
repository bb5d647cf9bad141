// Nodes that many import rules emit: views in their normal form (nothing for a view that changes
// nothing), constants of a shape, reductions over axes. All refuse the call where an op refuses.
#pragma once

#include <string_view>
#include <vector>

#include "aten/import_rule.h"

namespace kiln {

int rank_of(Value* value);
// Size of an axis; negative axes count from the end. Out of range is a refusal.
const DimExpr& size_of(ImportCall& call, Value* value, int64_t axis);

// min(a, b) and max(a, b), decided by the ranges of the symbols where they can be.
DimExpr smaller(ImportCall& call, const DimExpr& a, const DimExpr& b);
DimExpr larger(ImportCall& call, const DimExpr& a, const DimExpr& b);
// Python's index into an axis of `size`: negative ones count from the end. Refuses a symbolic index
// whose sign is open.
DimExpr wrap_index(ImportCall& call, const DimExpr& index, const DimExpr& size);

// x[start:end:step] along an axis; 0 <= start <= end <= size holds already.
Value* emit_slice(ImportCall& call, Value* x, int64_t axis, const DimExpr& start,
                  const DimExpr& end, const DimExpr& step = 1);
// x[index] along an axis, which goes away; 0 <= index < size holds already.
Value* emit_select(ImportCall& call, Value* x, int64_t axis, const DimExpr& index);
Value* emit_permute(ImportCall& call, Value* x, const std::vector<int64_t>& order);
Value* emit_transpose(ImportCall& call, Value* x, int64_t a, int64_t b);
Value* emit_expand(ImportCall& call, Value* x, const Shape& shape);
Value* emit_unsqueeze(ImportCall& call, Value* x, int64_t axis);  // axis of the result
Value* emit_flatten(ImportCall& call, Value* x);                  // to rank 1

// A tensor full of argument i, or of a number.
Value* emit_full_of(ImportCall& call, const Shape& shape, DType dtype, int argument);
Value* emit_full(ImportCall& call, const Shape& shape, DType dtype, double value);
// first, first + 1, ... of `length` elements.
Value* emit_iota(ImportCall& call, const DimExpr& length, DType dtype, const DimExpr& first = 0);
Value* emit_concat(ImportCall& call, const std::vector<Value*>& parts, int64_t axis);

// Reductions of any rank; of a rank 0 tensor too.
Value* emit_reduce(ImportCall& call, std::string_view op, Value* x,
                   const std::vector<int64_t>& axes, bool keepdim, AttrList more = {});
std::vector<int64_t> all_axes(Value* x);
// The number of elements along axes.
DimExpr count_along(Value* x, const std::vector<int64_t>& axes);

// Argument i, a Device, asks for nothing but the device that the program is on.
void require_same_device(ImportCall& call, int device);
void require_strided(ImportCall& call, int layout);

}  // namespace kiln
