// Elementwise ops as tile statements.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "fusion/tile_builder.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

const std::map<std::string_view, TileOp>& float_unary() {
  static const std::map<std::string_view, TileOp> table = {
      {"neg", TileOp::kNeg}, {"abs", TileOp::kAbs}, {"sign", TileOp::kSign},
      {"relu", TileOp::kRelu}, {"exp", TileOp::kExp}, {"exp2", TileOp::kExp2},
      {"expm1", TileOp::kExpm1}, {"log", TileOp::kLog}, {"log2", TileOp::kLog2},
      {"log10", TileOp::kLog10}, {"log1p", TileOp::kLog1p}, {"sqrt", TileOp::kSqrt},
      {"rsqrt", TileOp::kRsqrt}, {"reciprocal", TileOp::kReciprocal}, {"sin", TileOp::kSin},
      {"cos", TileOp::kCos}, {"tan", TileOp::kTan}, {"asin", TileOp::kAsin},
      {"acos", TileOp::kAcos}, {"atan", TileOp::kAtan}, {"sinh", TileOp::kSinh},
      {"cosh", TileOp::kCosh}, {"tanh", TileOp::kTanh}, {"asinh", TileOp::kAsinh},
      {"acosh", TileOp::kAcosh}, {"atanh", TileOp::kAtanh}, {"erf", TileOp::kErf},
      {"erfc", TileOp::kErfc}, {"sigmoid", TileOp::kSigmoid}, {"silu", TileOp::kSilu},
      {"hardswish", TileOp::kHardswish}, {"hardsigmoid", TileOp::kHardsigmoid},
      {"mish", TileOp::kMish}, {"floor", TileOp::kFloor}, {"ceil", TileOp::kCeil},
      {"round", TileOp::kRound}, {"trunc", TileOp::kTrunc}, {"isnan", TileOp::kIsNan},
      {"isinf", TileOp::kIsInf}, {"isfinite", TileOp::kIsFinite}};
  return table;
}

const std::map<std::string_view, TileOp>& plain_binary() {
  static const std::map<std::string_view, TileOp> table = {
      {"add", TileOp::kAdd}, {"sub", TileOp::kSub}, {"mul", TileOp::kMul}, {"div", TileOp::kDiv},
      {"floor_div", TileOp::kFloorDiv}, {"trunc_div", TileOp::kTruncDiv},
      {"remainder", TileOp::kRemainder}, {"fmod", TileOp::kFmod}, {"pow", TileOp::kPow},
      {"atan2", TileOp::kAtan2}, {"maximum", TileOp::kMax}, {"minimum", TileOp::kMin},
      {"eq", TileOp::kEq}, {"ne", TileOp::kNe}, {"lt", TileOp::kLt}, {"le", TileOp::kLe},
      {"gt", TileOp::kGt}, {"ge", TileOp::kGe}, {"bitwise_and", TileOp::kAnd},
      {"bitwise_or", TileOp::kOr}, {"bitwise_xor", TileOp::kXor}, {"shift_left", TileOp::kShl},
      {"shift_right", TileOp::kShr}};
  return table;
}

bool is_int_lane(LaneType type) { return type == LaneType::kI64; }
bool is_float_lane(LaneType type) { return type == LaneType::kF32 || type == LaneType::kF64; }

// Rounding ops and tests for special values, which have no statement for integers and bool.
bool emit_exact_unary(TileEmitter& e, std::string_view op, int x, int* out) {
  if (op == "floor" || op == "ceil" || op == "round" || op == "trunc") {
    *out = x;
    return true;
  }
  if (op == "isnan" || op == "isinf") {
    *out = e.integer(0, LaneType::kBool);
    return true;
  }
  if (op == "isfinite") {
    *out = e.integer(1, LaneType::kBool);
    return true;
  }
  return false;
}

int emit_gelu(TileEmitter& e, Node& node, int x) {
  const bool tanh = node.get_string("approximate") == "tanh";
  return e.unary(tanh ? TileOp::kGeluTanh : TileOp::kGeluErf, x);
}

int emit_clamp(TileEmitter& e, Node& node, int x) {
  const bool has_min = node.get_bool("has_min"), has_max = node.get_bool("has_max");
  const double low = node.get_float("min"), high = node.get_float("max");
  if (!is_int_lane(e.type(x))) {
    const double inf = std::numeric_limits<double>::infinity();
    return e.unary(TileOp::kClamp, x, {has_min ? low : -inf, has_max ? high : inf, 0});
  }
  if (has_min) x = e.binary(TileOp::kMax, x, e.integer(static_cast<int64_t>(low), LaneType::kI64));
  if (has_max) x = e.binary(TileOp::kMin, x, e.integer(static_cast<int64_t>(high), LaneType::kI64));
  return x;
}

int emit_cast(TileEmitter& e, Node& node, int x) {
  const DType to = node.result()->dtype();
  return e.round_to(e.cast(x, lane_type_of(to)), to);
}

int emit_log_sigmoid(TileEmitter& e, int x) {
  const LaneType type = e.type(x);
  const int small = e.binary(TileOp::kMin, x, e.constant(0, type));
  const int decay = e.unary(TileOp::kExp, e.unary(TileOp::kNeg, e.unary(TileOp::kAbs, x)));
  return e.binary(TileOp::kSub, small, e.unary(TileOp::kLog1p, decay));
}

int emit_hypot(TileEmitter& e, int x, int y) {
  const LaneType type = e.type(x);
  if (type == LaneType::kF32) {
    // Squares of fp32 values neither overflow nor vanish in fp64.
    const int a = e.cast(x, LaneType::kF64), b = e.cast(y, LaneType::kF64);
    const int sum =
        e.binary(TileOp::kAdd, e.binary(TileOp::kMul, a, a), e.binary(TileOp::kMul, b, b));
    return e.cast(e.unary(TileOp::kSqrt, sum), type);
  }
  // large * sqrt(1 + (small / large)^2); infinite when either is, even beside a NaN.
  const int a = e.unary(TileOp::kAbs, x), b = e.unary(TileOp::kAbs, y);
  const int large = e.binary(TileOp::kMax, a, b), small = e.binary(TileOp::kMin, a, b);
  const int ratio = e.binary(TileOp::kDiv, small, large);
  const int square = e.binary(TileOp::kMul, ratio, ratio);
  const int root = e.unary(TileOp::kSqrt, e.binary(TileOp::kAdd, square, e.constant(1, type)));
  const int length = e.select(e.binary(TileOp::kEq, large, e.constant(0, type)), large,
                              e.binary(TileOp::kMul, large, root));
  const int infinite =
      e.binary(TileOp::kOr, e.unary(TileOp::kIsInf, x), e.unary(TileOp::kIsInf, y));
  return e.select(infinite, e.constant(std::numeric_limits<double>::infinity(), type), length);
}

int emit_round(TileEmitter& e, Node& node, int x) {
  const int64_t decimals = node.get_int("decimals");
  if (decimals == 0) return e.unary(TileOp::kRound, x);
  const double power = std::pow(10.0, std::abs(static_cast<double>(decimals)));
  const int scale = e.constant(power, e.type(x));
  const TileOp there = decimals > 0 ? TileOp::kMul : TileOp::kDiv;
  const TileOp back = decimals > 0 ? TileOp::kDiv : TileOp::kMul;
  return e.binary(back, e.unary(TileOp::kRound, e.binary(there, x, scale)), scale);
}

int emit_copysign(TileEmitter& e, int x, int y) {
  const LaneType type = e.type(x);
  const int zero = e.constant(0, type);
  // The sign of a zero shows in its reciprocal.
  const int negative =
      e.binary(TileOp::kOr, e.binary(TileOp::kLt, y, zero),
               e.binary(TileOp::kAnd, e.binary(TileOp::kEq, y, zero),
                        e.binary(TileOp::kLt, e.unary(TileOp::kReciprocal, y), zero)));
  const int magnitude = e.unary(TileOp::kAbs, x);
  return e.select(negative, e.unary(TileOp::kNeg, magnitude), magnitude);
}

int emit_xlogy(TileEmitter& e, int x, int y) {
  const LaneType type = e.type(x);
  const int product = e.binary(TileOp::kMul, x, e.unary(TileOp::kLog, y));
  const int zero = e.constant(0, type);
  const int kept = e.binary(TileOp::kOr, e.unary(TileOp::kIsNan, y),
                            e.binary(TileOp::kNe, x, zero));
  return e.select(kept, product, zero);
}

int to_bool(TileEmitter& e, int x) { return e.cast(x, LaneType::kBool); }

}  // namespace

bool is_tileable_elementwise(Node& node) {
  const std::string_view op = node.op_name();
  static const char* const kOthers[] = {
      "gelu", "clamp", "cast", "where", "square", "elu", "leaky_relu", "softplus", "log_sigmoid",
      "logical_not", "bitwise_not", "logical_and", "logical_or", "logical_xor", "copysign",
      "xlogy"};
  if (op == "hypot") return true;
  if (float_unary().contains(op) || plain_binary().contains(op)) return true;
  return std::find(std::begin(kOthers), std::end(kOthers), op) != std::end(kOthers);
}

bool emit_elementwise(TileEmitter& e, Node& node, const std::vector<int>& operands, int* out) {
  const std::string_view op = node.op_name();
  const DType dtype = node.result()->dtype();
  int a = operands[0];
  int b = operands.size() > 1 ? operands[1] : -1;
  auto done = [&](int reg) {
    *out = e.finish(node, reg);
    return true;
  };
  if (op == "cast") {
    *out = emit_cast(e, node, a);
    return true;
  }
  if (op == "where") {
    *out = e.select(to_bool(e, a), operands[1], operands[2]);
    return true;
  }
  if (op == "logical_not") {
    *out = e.unary(TileOp::kLogicalNot, to_bool(e, a));
    return true;
  }
  if (op == "bitwise_not" && e.type(a) == LaneType::kBool) {
    *out = e.unary(TileOp::kLogicalNot, a);
    return true;
  }
  if (op == "bitwise_not") return done(e.unary(TileOp::kBitwiseNot, a));
  if (op == "logical_and" || op == "logical_or" || op == "logical_xor") {
    const TileOp code = op == "logical_and" ? TileOp::kAnd
                        : op == "logical_or" ? TileOp::kOr
                                             : TileOp::kXor;
    *out = e.binary(code, to_bool(e, a), to_bool(e, b));
    return true;
  }
  if (op == "gelu") return done(emit_gelu(e, node, a));
  if (op == "clamp") return done(emit_clamp(e, node, a));
  if (op == "square") return done(e.binary(TileOp::kMul, a, a));
  if (op == "log_sigmoid") return done(emit_log_sigmoid(e, a));
  if (op == "elu") {
    return done(e.unary(TileOp::kElu, a, {node.get_float("alpha"), node.get_float("scale"),
                                          node.get_float("input_scale")}));
  }
  if (op == "leaky_relu") return done(e.unary(TileOp::kLeakyRelu, a, {node.get_float("slope")}));
  if (op == "softplus") {
    return done(
        e.unary(TileOp::kSoftplus, a, {node.get_float("beta"), node.get_float("threshold")}));
  }
  if (op == "hypot") return done(emit_hypot(e, a, b));
  if (op == "copysign") return done(emit_copysign(e, a, b));
  if (op == "xlogy") return done(emit_xlogy(e, a, b));
  if (auto found = float_unary().find(op); found != float_unary().end()) {
    if (!is_float_lane(e.type(a)) && emit_exact_unary(e, op, a, out)) return true;
    return done(op == "round" ? emit_round(e, node, a) : e.unary(found->second, a));
  }
  auto found = plain_binary().find(op);
  if (found == plain_binary().end()) return false;
  const bool comparison = dtype == DType::kBool;
  if (e.type(a) == LaneType::kBool) {
    // Sums and products of truth values are truth values.
    if (op == "add" || op == "maximum") return done(e.binary(TileOp::kOr, a, b));
    if (op == "mul" || op == "minimum") return done(e.binary(TileOp::kAnd, a, b));
  }
  const int result = e.binary(found->second, a, b);
  return comparison ? (*out = result, true) : done(result);
}

}  // namespace kiln
