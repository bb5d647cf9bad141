#include "ops/operand_checks.h"

#include <algorithm>

namespace kiln {

namespace {

std::string quoted(const OpContext& context, int i) { return "'" + operand_name(context, i) + "'"; }

}  // namespace

Status refuse(const OpContext& context, std::string_view code, const std::string& text) {
  return Status::error(code, context.op->name + ": " + text);
}

std::string operand_name(const OpContext& context, int i) {
  const auto& names = context.op->operand_names;
  if (names.empty()) return "operand" + std::to_string(i);
  const int last = static_cast<int>(names.size()) - 1;
  if (i < last || (i == last && context.op->max_operands == last + 1)) {
    return names[static_cast<size_t>(i)];
  }
  return names.back() + std::to_string(i - last);
}

Status check_tensor_operands(const OpContext& context) {
  const int count = context.num_operands();
  const OpDef& op = *context.op;
  if (count < op.min_operands || (op.max_operands >= 0 && count > op.max_operands)) {
    return refuse(context, "K2202", "wrong number of operands " + std::to_string(count));
  }
  for (int i = 0; i < count; ++i) {
    if (!context.has(i)) {
      if (i < op.min_operands) {
        return refuse(context, "K2202", "required operand is absent " + quoted(context, i));
      }
    } else if (!context.operands[static_cast<size_t>(i)]->is_tensor()) {
      return refuse(context, "K2202", "operand is not a tensor " + quoted(context, i));
    }
  }
  return {};
}

Status check_rank(const OpContext& context, int i, int min, int max) {
  if (!context.has(i)) return {};
  const int rank = context.tensor(i).rank();
  if (rank >= min && (max < 0 || rank <= max)) return {};
  return refuse(context, "K2202",
                "unsupported rank of operand " + quoted(context, i) + ": " + std::to_string(rank));
}

Status check_index_dtype(const OpContext& context, int i) {
  if (!context.has(i)) return {};
  const DType dtype = context.tensor(i).dtype;
  if (dtype == DType::kI32 || dtype == DType::kI64) return {};
  return refuse(context, "K2203",
                "indices are neither i32 nor i64 " + quoted(context, i) + ": " +
                    std::string(dtype_name(dtype)));
}

Status check_same_dtype(const OpContext& context, int i, int j) {
  if (!context.has(i) || !context.has(j)) return {};
  const DType a = context.tensor(i).dtype;
  const DType b = context.tensor(j).dtype;
  if (a == b) return {};
  return refuse(context, "K2203",
                "operands differ in dtype " + quoted(context, i) + " and " + quoted(context, j) +
                    ": " + std::string(dtype_name(a)) + " and " + std::string(dtype_name(b)));
}

Status check_equal_dims(const OpContext& context, std::string_view what, const DimExpr& a,
                        const DimExpr& b) {
  if (a == b) return {};
  const bool differ = (a - b).is_constant();
  return refuse(context, "K2204",
                std::string(differ ? "sizes differ, " : "sizes may differ, ") + std::string(what) +
                    ": " + a.to_string() + " and " + b.to_string());
}

bool provably_le(const DimExpr& a, const DimExpr& b) { return (b - a).range({}).min >= 0; }

Status check_le_dims(const OpContext& context, std::string_view what, const DimExpr& a,
                     const DimExpr& b) {
  if (provably_le(a, b)) return {};
  return refuse(context, "K2204",
                "size may be too large, " + std::string(what) + ": " + a.to_string() + " and " +
                    b.to_string());
}

Status check_axis(const OpContext& context, std::string_view field, int rank, int* axis) {
  const int64_t value = context.get_int(field);
  if (value < 0 || value >= rank) {
    return refuse(context, "K2205",
                  "axis out of range, rank " + std::to_string(rank) + ", " + std::string(field) +
                      " " + std::to_string(value));
  }
  *axis = static_cast<int>(value);
  return {};
}

Type tensor_like(const OpContext& context, int like, DType dtype, Shape shape) {
  TensorType type{dtype, std::move(shape), {}, {}};
  type.device = context.tensor(like).device;
  return type;
}

}  // namespace kiln
