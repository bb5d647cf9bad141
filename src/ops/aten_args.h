// Arguments for AtenEmitter::call, in the forms that schemas ask for.
#pragma once

#include <vector>

#include "ir/op_def.h"

namespace kiln {

inline CallArg none_arg() { return CallArg(CallArg::None{}); }

inline CallArg ints_arg(const std::vector<int64_t>& values) {  // int[]
  CallArg::List list;
  for (int64_t value : values) list.push_back(CallArg(value));
  return CallArg(std::move(list));
}

inline CallArg dims_arg(const std::vector<DimExpr>& dims) {  // SymInt[]
  CallArg::List list;
  for (const DimExpr& dim : dims) list.push_back(CallArg(dim));
  return CallArg(std::move(list));
}

// An optional tensor operand: the value, or None when it is absent.
inline AtenEmitter::Arg optional_arg(Node& node, int operand) {
  Value* value = operand < node.num_operands() ? node.operand(operand) : nullptr;
  if (value == nullptr) return AtenEmitter::Arg(none_arg());
  return AtenEmitter::Arg(value);
}

// A Scalar for a tensor of `dtype`: an integer where the dtype holds none but integers, so that
// torch's promotion cannot widen the result.
inline CallArg scalar_arg(DType dtype, double value) {
  if (is_float(dtype)) return CallArg(value);
  return CallArg(static_cast<int64_t>(value));
}

// The refusal of a node that no ATen call computes.
inline Status no_aten_form(Node& node, const std::string& reason) {
  return Status::error("K2206", std::string(node.op_name()) + ": no aten form: " + reason);
}

}  // namespace kiln
