// Groups of element types that ops accept, and the checks that ops with such a rule share.
#pragma once

#include <string_view>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

enum class DTypeClass : uint8_t { kFloat, kNumeric, kIntegral, kIntegralOrBool, kAny };

bool in_class(DType dtype, DTypeClass dtypes);
std::string_view dtype_class_name(DTypeClass dtypes);  // "float", "float or integer", ...
std::vector<DType> dtypes_of(DTypeClass dtypes);       // in the order of the enum

// K2203 unless operand i, when present, has a dtype of the class.
Status check_dtype(const OpContext& ctx, int i, DTypeClass dtypes);

}  // namespace kiln
