// Pointwise operators that are several ops, or one op with conditions.
#include <cmath>
#include <limits>
#include <numbers>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

Value* binary(ImportCall& call, std::string_view op, Value* a, Value* b) {
  return call.emit(op, {a, b});
}
Value* with_number(ImportCall& call, std::string_view op, Value* a, double number) {
  return call.emit(op, {a, call.scalar(number, a->dtype())});
}
Value* choose(ImportCall& call, Value* condition, Value* yes, Value* no) {
  return call.emit("where", {condition, yes, no});
}
bool is_one(ImportCall& call, int i) {
  const auto* integer = call.arg(i).get<DimExpr>();
  if (integer != nullptr) return integer->is_value(1);
  return call.number(i) == 1;
}
Value* float_operand(ImportCall& call, int i) { return call.operand(i, call.promoted_float({i})); }

// ---- sums with a factor

// x op (factor * y), rounded once.
void with_factor(ImportCall& call, std::string_view op, int x, int y) {
  const DType stored = call.promoted({0, 1});
  const bool plain = is_one(call, 2);
  const DType dtype = plain ? stored : computing_dtype(stored);
  Value *left = call.operand(x, dtype), *right = call.operand(y, dtype);
  if (!plain) right = binary(call, "mul", right, call.operand(2, dtype));
  call.result(call.cast(binary(call, op, left, right), stored));
}
void add(ImportCall& call) { with_factor(call, "add", 0, 1); }
void sub(ImportCall& call) { with_factor(call, "sub", 0, 1); }
void rsub(ImportCall& call) { with_factor(call, "sub", 1, 0); }
KILN_ATEN_RULE(add, "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(add, "aten::add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(sub, "aten::sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(sub, "aten::sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(sub,
               "aten::subtract.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(sub, "aten::subtract.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(rsub, "aten::rsub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor");
KILN_ATEN_RULE(rsub, "aten::rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor");

// x + value * (a op b), rounded once.
void add_combined(ImportCall& call, std::string_view op) {
  const DType stored = call.captured_dtype(), dtype = computing_dtype(stored);
  if (op == "div" && !is_float(dtype)) call.refuse("integer addcdiv");
  Value* y = binary(call, op, call.cast(call.tensor(1), dtype), call.cast(call.tensor(2), dtype));
  if (!is_one(call, 3)) y = binary(call, "mul", y, call.operand(3, dtype));
  call.result(call.cast(binary(call, "add", call.cast(call.tensor(0), dtype), y), stored));
}
void addcmul(ImportCall& call) { add_combined(call, "mul"); }
void addcdiv(ImportCall& call) { add_combined(call, "div"); }
KILN_ATEN_RULE(addcmul,
               "aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> "
               "Tensor");
KILN_ATEN_RULE(addcdiv,
               "aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> "
               "Tensor");

// start + weight * (end - start), from the nearer end as torch does it, which rounds 16-bit floats
// once.
void lerp(ImportCall& call) {
  const DType stored = call.captured_dtype();
  const DType dtype = computing_dtype(stored);
  Value *start = call.cast(call.tensor(0), dtype), *end = call.cast(call.tensor(1), dtype);
  Value* gap = binary(call, "sub", end, start);
  Value* result = nullptr;
  if (!call.is_tensor(2)) {
    const double weight = call.number(2);
    result = std::fabs(weight) < 0.5
                 ? binary(call, "add", start, with_number(call, "mul", gap, weight))
                 : binary(call, "sub", end, with_number(call, "mul", gap, 1 - weight));
  } else {
    Value* weight = call.cast(call.tensor(2), dtype);
    Value* near = with_number(call, "lt", call.emit("abs", {weight}), 0.5);
    Value* from_start = binary(call, "add", start, binary(call, "mul", gap, weight));
    Value* rest = binary(call, "sub", call.scalar(1, dtype), weight);
    result =
        choose(call, near, from_start, binary(call, "sub", end, binary(call, "mul", gap, rest)));
  }
  call.result(call.cast(result, stored));
}
KILN_ATEN_RULE(lerp, "aten::lerp.Scalar(Tensor self, Tensor end, Scalar weight) -> Tensor");
KILN_ATEN_RULE(lerp, "aten::lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor");

// ---- quotients

void div_mode(ImportCall& call) {
  const std::string mode = call.is_none(2) ? "" : call.text(2);
  const DType dtype = mode.empty() ? call.promoted_float({0, 1}) : call.promoted({0, 1});
  if (!mode.empty() && mode != "floor" && mode != "trunc") call.refuse("unknown rounding: " + mode);
  Value* x = call.operand(0, dtype);
  call.result(binary(call,
                     mode.empty()      ? "div"
                     : mode == "floor" ? "floor_div"
                                       : "trunc_div",
                     x, call.operand(1, dtype)));
}
KILN_ATEN_RULE(div_mode,
               "aten::div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor");
KILN_ATEN_RULE(div_mode,
               "aten::div.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor");
KILN_ATEN_RULE(div_mode,
               "aten::divide.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> "
               "Tensor");
KILN_ATEN_RULE(div_mode,
               "aten::divide.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> "
               "Tensor");

// ---- powers

void pow(ImportCall& call) {
  const DType dtype = call.promoted({0, 1});
  Value* x = call.operand(0, dtype);
  call.result(binary(call, "pow", x, call.operand(1, dtype)));
}
KILN_ATEN_RULE(pow, "aten::pow.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor");
KILN_ATEN_RULE(pow, "aten::pow.Scalar(Scalar self, Tensor exponent) -> Tensor");

// The exponents that torch computes by products and roots.
void pow_scalar(ImportCall& call) {
  const DType dtype = call.promoted({0, 1});
  Value* x = call.operand(0, dtype);
  const double exponent = call.number(1);
  if (!is_float(dtype)) {
    if (exponent < 0) call.refuse("integers to a negative power");
    call.result(exponent == 2 && dtype != DType::kBool
                    ? call.emit("square", {x})
                    : binary(call, "pow", x, call.operand(1, dtype)));
    return;
  }
  if (exponent == 1) {
    call.fresh_result(x);
  } else if (exponent == 2) {
    call.result(call.emit("square", {x}));
  } else if (exponent == 3) {
    call.result(binary(call, "mul", call.emit("square", {x}), x));
  } else if (exponent == 0.5) {
    call.result(call.emit("sqrt", {x}));
  } else if (exponent == -0.5) {
    call.result(call.emit("rsqrt", {x}));
  } else if (exponent == -1) {
    call.result(call.emit("reciprocal", {x}));
  } else if (exponent == -2) {
    call.result(call.emit("reciprocal", {call.emit("square", {x})}));
  } else {
    call.result(with_number(call, "pow", x, exponent));
  }
}
KILN_ATEN_RULE(pow_scalar, "aten::pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor");

void float_power(ImportCall& call) {
  Value* x = call.operand(0, DType::kF64);
  call.result(binary(call, "pow", x, call.operand(1, DType::kF64)));
}
KILN_ATEN_RULE(float_power,
               "aten::float_power.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor");
KILN_ATEN_RULE(float_power,
               "aten::float_power.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor");
KILN_ATEN_RULE(float_power, "aten::float_power.Scalar(Scalar self, Tensor exponent) -> Tensor");

// ---- bounds

// Arguments 1 and 2, either may be None. Bounds that are numbers are fields of the op.
void clamp(ImportCall& call) {
  const DType dtype = call.promoted({0, 1, 2});
  if (dtype == DType::kBool) call.refuse("clamp of bool");
  Value* x = call.operand(0, dtype);
  AttrList attrs;
  const char* const kHas[] = {"has_min", "has_max"};
  const char* const kBound[] = {"min", "max"};
  const char* const kOp[] = {"maximum", "minimum"};
  bool in_fields = true;
  for (int i = 0; i < 2; ++i) {
    if (i + 1 >= static_cast<int>(call.schema().arguments.size()) || call.is_none(i + 1)) continue;
    const auto* integer = call.arg(i + 1).get<DimExpr>();
    in_fields = in_fields && !call.is_tensor(i + 1) &&
                (integer == nullptr ||
                 (integer->is_constant() && std::abs(integer->value()) < (int64_t{1} << 53)));
  }
  for (int i = 0; i < 2; ++i) {
    if (i + 1 >= static_cast<int>(call.schema().arguments.size()) || call.is_none(i + 1)) continue;
    if (in_fields) {
      attrs.emplace_back(kHas[i], true);
      attrs.emplace_back(kBound[i], call.number(i + 1));
    } else {
      x = binary(call, kOp[i], x, call.operand(i + 1, dtype));
    }
  }
  if (in_fields && attrs.empty()) call.refuse("clamp without bounds");
  call.result(in_fields ? call.emit("clamp", {x}, std::move(attrs)) : x);
}
KILN_ATEN_RULE(clamp, "aten::clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor");
KILN_ATEN_RULE(clamp,
               "aten::clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor");
KILN_ATEN_RULE(clamp, "aten::clip(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor");
KILN_ATEN_RULE(clamp,
               "aten::clip.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor");

void clamp_min(ImportCall& call) {
  const DType dtype = call.promoted({0, 1});
  Value* x = call.operand(0, dtype);
  call.result(binary(call, "maximum", x, call.operand(1, dtype)));
}
void clamp_max(ImportCall& call) {
  const DType dtype = call.promoted({0, 1});
  Value* x = call.operand(0, dtype);
  call.result(binary(call, "minimum", x, call.operand(1, dtype)));
}
KILN_ATEN_RULE(clamp_min, "aten::clamp_min(Tensor self, Scalar min) -> Tensor");
KILN_ATEN_RULE(clamp_min, "aten::clamp_min.Tensor(Tensor self, Tensor min) -> Tensor");
KILN_ATEN_RULE(clamp_max, "aten::clamp_max(Tensor self, Scalar max) -> Tensor");
KILN_ATEN_RULE(clamp_max, "aten::clamp_max.Tensor(Tensor self, Tensor max) -> Tensor");

Value* clamped(ImportCall& call, Value* x, double min, double max) {
  return call.emit("clamp", {x},
                   {{"has_min", true}, {"has_max", true}, {"min", min}, {"max", max}});
}
void hardtanh(ImportCall& call) {
  call.result(clamped(call, call.tensor(0), call.number(1), call.number(2)));
}
void relu6(ImportCall& call) { call.result(clamped(call, call.tensor(0), 0, 6)); }
KILN_ATEN_RULE(hardtanh,
               "aten::hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor");
KILN_ATEN_RULE(relu6, "aten::relu6(Tensor self) -> Tensor");

// NaN loses against a number.
void ignore_nan(ImportCall& call, std::string_view op) {
  const DType dtype = call.promoted({0, 1});
  Value *x = call.operand(0, dtype), *y = call.operand(1, dtype);
  Value* both = binary(call, op, x, y);
  if (is_float(dtype)) {
    both = choose(call, call.emit("isnan", {x}), y, choose(call, call.emit("isnan", {y}), x, both));
  }
  call.result(both);
}
void fmax(ImportCall& call) { ignore_nan(call, "maximum"); }
void fmin(ImportCall& call) { ignore_nan(call, "minimum"); }
KILN_ATEN_RULE(fmax, "aten::fmax(Tensor self, Tensor other) -> Tensor");
KILN_ATEN_RULE(fmin, "aten::fmin(Tensor self, Tensor other) -> Tensor");

void nan_to_num(ImportCall& call) {
  Value* x = call.tensor(0);
  const DType dtype = x->dtype();
  if (!is_float(dtype)) {
    call.fresh_result(x);
    return;
  }
  const double largest = dtype == DType::kF64   ? std::numeric_limits<double>::max()
                         : dtype == DType::kF32 ? std::numeric_limits<float>::max()
                         : dtype == DType::kF16 ? 65504.0
                                                : 3.3895313892515355e38;
  auto number = [&](int i, double otherwise) {
    return call.scalar(call.is_none(i) ? otherwise : call.number(i), dtype);
  };
  Value* y = choose(call, call.emit("isnan", {x}), number(1, 0), x);
  y = choose(call, with_number(call, "eq", x, kInf), number(2, largest), y);
  call.result(choose(call, with_number(call, "eq", x, -kInf), number(3, -largest), y));
}
KILN_ATEN_RULE(nan_to_num,
               "aten::nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? "
               "neginf=None) -> Tensor");

// ---- activations

void gelu(ImportCall& call) {
  call.result(call.emit("gelu", {call.tensor(0)}, {{"approximate", call.text(1)}}));
}
KILN_ATEN_RULE(gelu, "aten::gelu(Tensor self, *, str approximate=\"none\") -> Tensor");

Value* emit_elu(ImportCall& call, double alpha, double scale, double input_scale) {
  return call.emit("elu", {call.tensor(0)},
                   {{"alpha", alpha}, {"scale", scale}, {"input_scale", input_scale}});
}
void selu(ImportCall& call) {
  call.result(
      emit_elu(call, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1));
}
void celu(ImportCall& call) {
  const double alpha = call.number(1);
  if (alpha == 0) call.refuse("celu with alpha 0");
  call.result(emit_elu(call, alpha, 1, 1 / alpha));
}
KILN_ATEN_RULE(selu, "aten::selu(Tensor self) -> Tensor");
KILN_ATEN_RULE(celu, "aten::celu(Tensor self, Scalar alpha=1.) -> Tensor");

// One slope, or one per channel (axis 1).
void prelu(ImportCall& call) {
  Value *x = call.tensor(0), *slope = call.tensor(1);
  if (rank_of(slope) == 1 && !slope->shape()[0].is_value(1) && rank_of(x) > 1) {
    Shape shape(x->shape().size(), DimExpr(1));
    shape[1] = slope->shape()[0];
    slope = call.reshape(slope, shape);
  } else if (rank_of(slope) == 1 && slope->shape()[0].is_value(1)) {
    slope = call.reshape(slope, {});
  }
  call.result(choose(call, with_number(call, "gt", x, 0), x, binary(call, "mul", x, slope)));
}
KILN_ATEN_RULE(prelu, "aten::prelu(Tensor self, Tensor weight) -> Tensor");
KILN_ATEN_RULE(prelu, "aten::_prelu_kernel(Tensor self, Tensor weight) -> Tensor");

void rrelu(ImportCall& call) {
  if (call.boolean(3)) call.refuse("rrelu in training mode");
  call.result(call.emit("leaky_relu", {call.tensor(0)},
                        {{"slope", (call.number(1) + call.number(2)) / 2}}));
}
KILN_ATEN_RULE(rrelu,
               "aten::rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, "
               "bool training=False, Generator? generator=None) -> Tensor");

void threshold(ImportCall& call) {
  Value* x = call.tensor(0);
  // Written so that NaN passes, as in torch.
  Value* low = call.emit("le", {x, call.operand(1, x->dtype())});
  call.result(choose(call, low, call.operand(2, x->dtype()), x));
}
KILN_ATEN_RULE(threshold, "aten::threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor");

void hardshrink(ImportCall& call) {
  Value* x = call.tensor(0);
  const double lambda = call.number(1);
  Value* low = binary(call, "logical_and", with_number(call, "ge", x, -lambda),
                      with_number(call, "le", x, lambda));
  call.result(choose(call, low, call.scalar(0, x->dtype()), x));
}
KILN_ATEN_RULE(hardshrink, "aten::hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor");

void softshrink(ImportCall& call) {
  Value* x = call.tensor(0);
  const double lambda = call.number(1);
  Value* negative = choose(call, with_number(call, "lt", x, -lambda),
                           with_number(call, "add", x, lambda), with_number(call, "mul", x, 0));
  call.result(choose(call, with_number(call, "gt", x, lambda), with_number(call, "sub", x, lambda),
                     negative));
}
KILN_ATEN_RULE(softshrink, "aten::softshrink(Tensor self, Scalar lambd=0.5) -> Tensor");

void glu(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  const DimExpr& size = size_of(call, x, axis);
  DimExpr half;
  if (!DimExpr::divide_exactly(size, 2, &half)) call.refuse("glu of an odd size");
  Value* gate = call.emit("sigmoid", {emit_slice(call, x, axis, half, size)});
  call.result(binary(call, "mul", emit_slice(call, x, axis, 0, half), gate));
}
KILN_ATEN_RULE(glu, "aten::glu(Tensor self, int dim=-1) -> Tensor");

// log_sigmoid_forward's second result is a scratch buffer of the backward pass, empty on CUDA.
void log_sigmoid_forward(ImportCall& call) {
  call.result(call.emit("log_sigmoid", {call.tensor(0)}));
  call.result(nullptr);
}
KILN_ATEN_RULE(log_sigmoid_forward,
               "aten::log_sigmoid_forward(Tensor self) -> (Tensor output, Tensor buffer)");

// ---- functions

void round_decimals(ImportCall& call) {
  call.result(call.emit("round", {call.tensor(0)}, {{"decimals", call.integer(1)}}));
}
KILN_ATEN_RULE(round_decimals, "aten::round.decimals(Tensor self, *, int decimals) -> Tensor");

void frac(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(binary(call, "sub", x, call.emit("trunc", {x})));
}
KILN_ATEN_RULE(frac, "aten::frac(Tensor self) -> Tensor");

void logit(ImportCall& call) {
  Value* x = float_operand(call, 0);
  if (!call.is_none(1)) x = clamped(call, x, call.number(1), 1 - call.number(1));
  Value* rest = binary(call, "sub", call.scalar(1, x->dtype()), x);
  call.result(call.emit("log", {binary(call, "div", x, rest)}));
}
KILN_ATEN_RULE(logit, "aten::logit(Tensor self, float? eps=None) -> Tensor");
KILN_ATEN_RULE(logit, "aten::special_logit(Tensor self, float? eps=None) -> Tensor");

void sinc(ImportCall& call) {
  Value* x = float_operand(call, 0);
  Value* angle = with_number(call, "mul", x, std::numbers::pi);
  Value* zero = with_number(call, "eq", x, 0);
  call.result(choose(call, zero, call.scalar(1, x->dtype()),
                     binary(call, "div", call.emit("sin", {angle}), angle)));
}
KILN_ATEN_RULE(sinc, "aten::sinc(Tensor self) -> Tensor");
KILN_ATEN_RULE(sinc, "aten::special_sinc(Tensor self) -> Tensor");

void deg2rad(ImportCall& call) {
  call.result(with_number(call, "mul", float_operand(call, 0), std::numbers::pi / 180));
}
void rad2deg(ImportCall& call) {
  call.result(with_number(call, "mul", float_operand(call, 0), 180 / std::numbers::pi));
}
KILN_ATEN_RULE(deg2rad, "aten::deg2rad(Tensor self) -> Tensor");
KILN_ATEN_RULE(rad2deg, "aten::rad2deg(Tensor self) -> Tensor");

// max + log(1 + base^-|x - y|); equal infinities give themselves.
void log_add_exp(ImportCall& call, std::string_view exp, bool base_two) {
  const DType dtype = call.promoted_float({0, 1});
  Value *x = call.operand(0, dtype), *y = call.operand(1, dtype);
  Value* top = binary(call, "maximum", x, y);
  Value* gap = call.emit("neg", {call.emit("abs", {binary(call, "sub", x, y)})});
  Value* tail = call.emit("log1p", {call.emit(exp, {gap})});
  if (base_two) tail = with_number(call, "mul", tail, std::numbers::log2e);
  Value* same = binary(call, "logical_and", call.emit("isinf", {x}), binary(call, "eq", x, y));
  call.result(choose(call, same, x, binary(call, "add", top, tail)));
}
void logaddexp(ImportCall& call) { log_add_exp(call, "exp", false); }
void logaddexp2(ImportCall& call) { log_add_exp(call, "exp2", true); }
KILN_ATEN_RULE(logaddexp, "aten::logaddexp(Tensor self, Tensor other) -> Tensor");
KILN_ATEN_RULE(logaddexp2, "aten::logaddexp2(Tensor self, Tensor other) -> Tensor");

void ldexp(ImportCall& call) {
  const DType dtype = call.promoted_float({0, 1});
  Value* x = call.operand(0, dtype);
  call.result(binary(call, "mul", x, call.emit("exp2", {call.operand(1, dtype)})));
}
KILN_ATEN_RULE(ldexp, "aten::ldexp.Tensor(Tensor self, Tensor other) -> Tensor");

void heaviside(ImportCall& call) {
  Value *x = call.tensor(0), *at_zero = call.tensor(1);
  if (x->dtype() != at_zero->dtype()) call.refuse("heaviside of two dtypes");
  Value* step = call.cast(call.emit("gt", {x, call.scalar(0, x->dtype())}), x->dtype());
  Value* zero = call.emit("eq", {x, call.scalar(0, x->dtype())});
  call.result(choose(call, zero, at_zero, step));
}
KILN_ATEN_RULE(heaviside, "aten::heaviside(Tensor self, Tensor values) -> Tensor");

void is_infinity(ImportCall& call, double infinity) {
  Value* x = call.tensor(0);
  call.result(is_float(x->dtype()) ? with_number(call, "eq", x, infinity)
                                   : emit_full(call, x->shape(), DType::kBool, 0));
}
void isposinf(ImportCall& call) { is_infinity(call, kInf); }
void isneginf(ImportCall& call) { is_infinity(call, -kInf); }
KILN_ATEN_RULE(isposinf, "aten::isposinf(Tensor self) -> Tensor");
KILN_ATEN_RULE(isneginf, "aten::isneginf(Tensor self) -> Tensor");

// Of zeros too: the sign that x gives to a one.
void signbit(ImportCall& call) {
  Value* x = call.tensor(0);
  Value* signed_one =
      is_float(x->dtype()) ? call.emit("copysign", {call.scalar(1, x->dtype()), x}) : x;
  call.result(call.emit("lt", {signed_one, call.scalar(0, x->dtype())}));
}
KILN_ATEN_RULE(signbit, "aten::signbit(Tensor self) -> Tensor");

// |x - y| <= atol + rtol * |y|; infinities are close when equal.
void isclose(ImportCall& call) {
  const DType dtype = call.promoted_float({0, 1});
  if (call.tensor(0)->dtype() != call.tensor(1)->dtype()) call.refuse("isclose of two dtypes");
  Value *x = call.operand(0, dtype), *y = call.operand(1, dtype);
  Value* close = binary(call, "eq", x, y);
  if (call.boolean(4)) {
    close = binary(call, "logical_or", close,
                   binary(call, "logical_and", call.emit("isnan", {x}), call.emit("isnan", {y})));
  }
  Value* allowed = with_number(
      call, "add", with_number(call, "mul", call.emit("abs", {y}), call.number(2)), call.number(3));
  Value* gap = call.emit("abs", {binary(call, "sub", x, y)});
  Value* near =
      binary(call, "logical_and", call.emit("isfinite", {gap}), binary(call, "le", gap, allowed));
  call.result(binary(call, "logical_or", close, near));
}
KILN_ATEN_RULE(isclose,
               "aten::isclose(Tensor self, Tensor other, float rtol=1.0000000000000001e-05, "
               "float atol=1e-08, bool equal_nan=False) -> Tensor");

// ---- choice

void where(ImportCall& call) {
  const DType dtype = call.promoted({1, 2});
  Value* x = call.operand(1, dtype);
  call.result(choose(call, call.cast(call.tensor(0), DType::kBool), x, call.operand(2, dtype)));
}
KILN_ATEN_RULE(where, "aten::where.self(Tensor condition, Tensor self, Tensor other) -> Tensor");
KILN_ATEN_RULE(where, "aten::where.Scalar(Tensor condition, Scalar self, Scalar other) -> Tensor");
KILN_ATEN_RULE(where,
               "aten::where.ScalarSelf(Tensor condition, Scalar self, Tensor other) -> Tensor");
KILN_ATEN_RULE(where,
               "aten::where.ScalarOther(Tensor condition, Tensor self, Scalar other) -> Tensor");

void masked_fill(ImportCall& call) {
  Value* x = call.tensor(0);
  Value* value = call.operand(2, x->dtype());
  call.result(choose(call, call.cast(call.tensor(1), DType::kBool), value, x));
}
KILN_ATEN_RULE(masked_fill,
               "aten::masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor");
KILN_ATEN_RULE(masked_fill,
               "aten::masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor");

// ---- dropout, which does nothing outside training

void dropout(ImportCall& call) {
  if (call.boolean(2) && call.number(1) != 0) call.refuse("dropout in training mode");
  call.result(call.tensor(0));
}
KILN_ATEN_RULE(dropout, "aten::dropout(Tensor input, float p, bool train) -> Tensor");
KILN_ATEN_RULE(dropout, "aten::feature_dropout(Tensor input, float p, bool train) -> Tensor");
KILN_ATEN_RULE(dropout, "aten::alpha_dropout(Tensor input, float p, bool train) -> Tensor");
KILN_ATEN_RULE(dropout, "aten::feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor");

void native_dropout(ImportCall& call) {
  if (call.is_none(2) || call.boolean(2)) call.refuse("dropout in training mode");
  Value* x = call.tensor(0);
  call.fresh_result(x);
  call.result(emit_full(call, x->shape(), DType::kBool, 1));
}
KILN_ATEN_RULE(native_dropout,
               "aten::native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)");

}  // namespace
}  // namespace kiln
