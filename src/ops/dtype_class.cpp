#include "ops/dtype_class.h"

#include <string>

#include "ops/operand_checks.h"

namespace kiln {

bool in_class(DType dtype, DTypeClass dtypes) {
  switch (dtypes) {
    case DTypeClass::kFloat: return is_float(dtype);
    case DTypeClass::kNumeric: return dtype != DType::kBool;
    case DTypeClass::kIntegral: return is_integer(dtype);
    case DTypeClass::kIntegralOrBool: return !is_float(dtype);
    case DTypeClass::kAny: return true;
  }
  return false;
}

std::string_view dtype_class_name(DTypeClass dtypes) {
  switch (dtypes) {
    case DTypeClass::kFloat: return "float";
    case DTypeClass::kNumeric: return "float or integer";
    case DTypeClass::kIntegral: return "integer";
    case DTypeClass::kIntegralOrBool: return "integer or bool";
    case DTypeClass::kAny: return "any";
  }
  return "";
}

std::vector<DType> dtypes_of(DTypeClass dtypes) {
  std::vector<DType> list;
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8, DType::kU8,
                      DType::kI16, DType::kI32, DType::kI64, DType::kBool}) {
    if (in_class(dtype, dtypes)) list.push_back(dtype);
  }
  return list;
}

Status check_dtype(const OpContext& ctx, int i, DTypeClass dtypes) {
  if (!ctx.has(i) || in_class(ctx.tensor(i).dtype, dtypes)) return {};
  return refuse(ctx, "K2203",
                "dtype of " + operand_name(ctx, i) + " must be " +
                    std::string(dtype_class_name(dtypes)) + ", is " +
                    std::string(dtype_name(ctx.tensor(i).dtype)));
}

}  // namespace kiln
