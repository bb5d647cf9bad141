#include "backends/cuda/compile/tile_expression.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace kiln::cuda {
namespace {

// Functions of device/math.h that have another name than the statement.
std::string_view function_name(TileOp op) {
  switch (op) {
    case TileOp::kIsNan: return "is_nan";
    case TileOp::kIsInf: return "is_inf";
    case TileOp::kIsFinite: return "is_finite";
    case TileOp::kShl: return "shift_left";
    case TileOp::kShr: return "shift_right";
    default: return tile_op_info(op).name;
  }
}

std::string_view infix(const TileInstr& instr) {
  const bool is_bool = instr.type == LaneType::kBool;
  const bool wraps = instr.type == LaneType::kI64;  // signed arithmetic of C++ must not overflow
  switch (instr.op) {
    case TileOp::kAdd: return wraps ? "" : " + ";
    case TileOp::kSub: return wraps ? "" : " - ";
    case TileOp::kMul: return wraps ? "" : " * ";
    case TileOp::kDiv: return " / ";
    case TileOp::kEq: return " == ";
    case TileOp::kNe: return " != ";
    case TileOp::kLt: return " < ";
    case TileOp::kLe: return " <= ";
    case TileOp::kGt: return " > ";
    case TileOp::kGe: return " >= ";
    case TileOp::kAnd: return is_bool ? " && " : " & ";
    case TileOp::kOr: return is_bool ? " || " : " | ";
    case TileOp::kXor: return is_bool ? " != " : " ^ ";
    default: return "";
  }
}

bool is_checked_division(const TileInstr& instr) {
  return instr.type == LaneType::kI64 && instr.op >= TileOp::kFloorDiv && instr.op <= TileOp::kFmod;
}

std::string call(std::string_view name, const std::vector<std::string>& arguments) {
  std::string text = "fn::" + std::string(name) + "(";
  for (size_t i = 0; i < arguments.size(); ++i) text += (i == 0 ? "" : ", ") + arguments[i];
  return text + ")";
}

}  // namespace

std::string_view lane_c_type(LaneType type) {
  constexpr std::string_view names[] = {"float", "double", "int64", "bool"};
  return names[static_cast<int>(type)];
}

std::string_view stored_c_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "float";
    case DType::kF64: return "double";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI8: return "int8";
    case DType::kU8: return "uint8";
    case DType::kI16: return "int16";
    case DType::kI32: return "int32";
    case DType::kI64: return "int64";
    case DType::kBool: return "uint8";
  }
  return "";
}

std::string int_literal(int64_t value) {
  if (value == std::numeric_limits<int64_t>::min()) return "kInt64Min";
  const bool wide =
      value > std::numeric_limits<int32_t>::max() || value < -std::numeric_limits<int32_t>::max();
  const std::string text = std::to_string(value) + (wide ? "ll" : "");
  return value < 0 ? "(" + text + ")" : text;
}

std::string literal(LaneType type, double value, int64_t integer) {
  if (type == LaneType::kBool) return integer != 0 ? "true" : "false";
  if (type == LaneType::kI64) {
    return "int64(" + int_literal(integer) + ")";
  }
  const std::string limits = "Extremes<" + std::string(lane_c_type(type)) + ">::";
  if (type == LaneType::kF32) value = static_cast<double>(static_cast<float>(value));
  if (std::isnan(value)) return limits + "nan()";
  if (std::isinf(value)) return limits + (value > 0 ? "highest()" : "lowest()");
  char buffer[40];
  const auto end = type == LaneType::kF32
                       ? std::to_chars(buffer, buffer + sizeof(buffer), static_cast<float>(value))
                       : std::to_chars(buffer, buffer + sizeof(buffer), value);
  std::string text(buffer, end.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  if (type == LaneType::kF32) text += "f";
  return std::signbit(value) ? "(" + text + ")" : text;
}

std::string lane_of(LaneType type, DType stored, const std::string& text) {
  const std::string to = "Lane<" + std::string(lane_c_type(type)) + ">::of(";
  if (stored == DType::kBool && type != LaneType::kBool)
    return to + "Lane<bool>::of(" + text + "))";
  return to + text + ")";
}

std::string stored_of(DType stored, LaneType type, const std::string& text) {
  const std::string to = "Stored<" + std::string(stored_c_type(stored)) + ">::of(";
  if (stored == DType::kBool && type != LaneType::kBool)
    return to + "Lane<bool>::of(" + text + "))";
  return to + text + ")";
}

std::string expression(const TileInstr& instr, LaneType result,
                       const std::vector<std::string>& operands) {
  const auto param = [&](double value) { return literal(instr.type, value, 0); };
  std::vector<std::string> arguments = operands;
  switch (instr.op) {
    case TileOp::kConst: return literal(instr.type, instr.params[0], instr.integer);
    case TileOp::kCast:
      return "Lane<" + std::string(lane_c_type(result)) + ">::of(" + operands[0] + ")";
    case TileOp::kRoundTo:
      return "round_to<" + std::string(stored_c_type(instr.storage)) + ">(" + operands[0] + ")";
    case TileOp::kLogicalNot: return "!" + operands[0];
    case TileOp::kBitwiseNot: return "~" + operands[0];
    case TileOp::kSelect: return operands[0] + " ? " + operands[1] + " : " + operands[2];
    case TileOp::kSoftplus:
    case TileOp::kClamp:
      arguments.push_back(param(instr.params[0]));
      arguments.push_back(param(instr.params[1]));
      break;
    case TileOp::kElu:
      arguments.push_back(param(instr.params[0] * instr.params[1]));
      arguments.push_back(param(instr.params[1]));
      arguments.push_back(param(instr.params[2]));
      break;
    case TileOp::kLeakyRelu: arguments.push_back(param(instr.params[0])); break;
    default: break;
  }
  if (const std::string_view sign = infix(instr); !sign.empty()) {
    return operands[0] + std::string(sign) + operands[1];
  }
  if (is_checked_division(instr)) arguments.push_back("fault");
  return call(function_name(instr.op), arguments);
}

bool is_arg_reduction(TileOp op) {
  return op == TileOp::kReduceArgMax || op == TileOp::kReduceArgMin;
}

std::string reduction_op(const TileInstr& instr) {
  const std::string of = "<" + std::string(lane_c_type(instr.type)) + ">";
  switch (instr.op) {
    case TileOp::kReduceSum: return "Sum" + of;
    case TileOp::kReduceProd: return "Product" + of;
    case TileOp::kReduceMax: return "Max" + of;
    case TileOp::kReduceMin: return "Min" + of;
    case TileOp::kReduceArgMax: return "ArgMax" + of;
    case TileOp::kReduceArgMin: return "ArgMin" + of;
    case TileOp::kReduceAny: return "Any";
    default: KILN_CHECK(instr.op == TileOp::kReduceAll); return "All";
  }
}

std::string reduction_type(const TileInstr& instr) {
  const std::string type(lane_c_type(instr.type));
  return is_arg_reduction(instr.op) ? "Found<" + type + ">" : type;
}

int statement_cost(const TileInstr& instr) {
  const TileOpInfo& info = tile_op_info(instr.op);
  if (info.kind == TileOpKind::kMemory || info.kind == TileOpKind::kSource) return 0;
  if (instr.type == LaneType::kF64) return 8;
  switch (instr.op) {
    case TileOp::kFloorDiv:
    case TileOp::kTruncDiv:
    case TileOp::kRemainder:
    case TileOp::kFmod:
    case TileOp::kPow: return 40;
    case TileOp::kDiv:
    case TileOp::kSqrt:
    case TileOp::kRsqrt:
    case TileOp::kReciprocal: return 8;
    default: break;
  }
  const bool function =
      (instr.op >= TileOp::kExp && instr.op <= TileOp::kElu) || instr.op == TileOp::kAtan2;
  return function ? 20 : 1;
}

}  // namespace kiln::cuda
