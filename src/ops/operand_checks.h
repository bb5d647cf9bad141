// What infer() of the ops asks of operands, and how it refuses.
//
// Codes: K2202 wrong kind or rank of an operand, K2203 wrong dtype, K2204 shapes disagree (or are
// symbolic and not provably right: such a call stays with PyTorch), K2205 bad value of a field.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

// "OP: TEXT" with the given code.
Status refuse(const OpContext& context, std::string_view code, const std::string& text);

// Name of operand i as the op declares it ("x"; the last name repeats with a number, "index1").
std::string operand_name(const OpContext& context, int i);

// K2202 unless the operand count is in range, the required ones are there and all are tensors.
Status check_tensor_operands(const OpContext& context);
// K2202 unless min <= rank <= max; max < 0: no upper bound. An absent operand passes.
Status check_rank(const OpContext& context, int i, int min, int max);
// K2203 unless the operand is i32 or i64; unless it is of operand j's type.
Status check_index_dtype(const OpContext& context, int i);
Status check_same_dtype(const OpContext& context, int i, int j);
// K2204 unless the two dims are provably equal; `what` says which ones ("channels of x and
// weight").
Status check_equal_dims(const OpContext& context, std::string_view what, const DimExpr& a,
                        const DimExpr& b);
// K2204 unless a <= b for every value of the symbols.
Status check_le_dims(const OpContext& context, std::string_view what, const DimExpr& a,
                     const DimExpr& b);
bool provably_le(const DimExpr& a, const DimExpr& b);
// K2205 unless 0 <= field < rank; writes the axis.
Status check_axis(const OpContext& context, std::string_view field, int rank, int* axis);

// A tensor type on the device of operand `like`, layout still open.
Type tensor_like(const OpContext& context, int like, DType dtype, Shape shape);

}  // namespace kiln
