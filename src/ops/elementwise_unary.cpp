// Elementwise functions of one operand. Float forms are evaluated in fp64.
#include <cmath>
#include <limits>

#include "ops/elementwise.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;
using S = ScalarContext;
constexpr auto kFloat = DTypeClass::kFloat;
constexpr auto kNumeric = DTypeClass::kNumeric;
constexpr auto kIntegralOrBool = DTypeClass::kIntegralOrBool;
constexpr auto kAny = DTypeClass::kAny;

constexpr double kSqrt2 = 1.41421356237309504880;
constexpr double kSqrt2OverPi = 0.79788456080286535588;

double clamp_keeping_nan(double x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

double log_sigmoid(double x) { return std::fmin(x, 0.0) - std::log1p(std::exp(-std::fabs(x))); }

double softplus(double x, double beta, double threshold) {
  return x * beta > threshold ? x : std::log1p(std::exp(x * beta)) / beta;
}

double gelu(double x, bool tanh_form) {
  if (!tanh_form) return 0.5 * x * (1 + std::erf(x / kSqrt2));
  return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

// Torch scales in the dtype, so that ties fall as they do there.
double round_decimals(double x, double decimals, DType dtype) {
  if (decimals == 0) return std::nearbyint(x);
  const double scale = std::pow(10.0, std::fabs(decimals));
  if (dtype == DType::kF64)
    return decimals > 0 ? std::nearbyint(x * scale) / scale : std::nearbyint(x / scale) * scale;
  const float x32 = static_cast<float>(x), scale32 = static_cast<float>(scale);
  return decimals > 0 ? std::nearbyint(x32 * scale32) / scale32
                      : std::nearbyint(x32 / scale32) * scale32;
}

int64_t wrap_negate(int64_t x) { return static_cast<int64_t>(0 - static_cast<uint64_t>(x)); }
int64_t wrap_multiply(int64_t x, int64_t y) {
  return static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
}

std::vector<FieldDef> gelu_fields() {
  return {string_field("approximate", "none",
                       "\"none\": 0.5 x (1 + erf(x / sqrt 2)); \"tanh\": the tanh form")};
}
Status gelu_verify(const OpContext& ctx) {
  const std::string& form = ctx.get_string("approximate");
  if (form == "none" || form == "tanh") return {};
  return refuse(ctx, "K2205", "approximate must be none or tanh, is " + form);
}
std::vector<AttrList> gelu_variants() { return {{{"approximate", std::string("tanh")}}}; }
std::vector<FieldDef> elu_fields() {
  return {float_field("alpha", 1, "value that the negative side tends to, before scale"),
          float_field("scale", 1, "factor of both sides"),
          float_field("input_scale", 1, "factor of x in the exponential")};
}
std::vector<AttrList> elu_variants() {
  return {{{"alpha", 1.5}, {"scale", 1.25}, {"input_scale", 0.5}}};
}
std::vector<FieldDef> leaky_relu_fields() {
  return {float_field("slope", 0.01, "factor of negative x")};
}
std::vector<AttrList> leaky_relu_variants() { return {{{"slope", 0.2}}, {{"slope", -1.5}}}; }
std::vector<FieldDef> softplus_fields() {
  return {float_field("beta", 1, "sharpness; not zero"),
          float_field("threshold", 20, "y = x where x * beta is above")};
}
Status softplus_verify(const OpContext& ctx) {
  if (ctx.get_float("beta") != 0) return {};
  return refuse(ctx, "K2205", "beta must not be zero");
}
std::vector<AttrList> softplus_variants() { return {{{"beta", 2.0}, {"threshold", 1.0}}}; }
std::vector<FieldDef> round_fields() {
  return {int_field("decimals", 0, "decimal places kept; negative: to tens, hundreds, ...")};
}
Status round_verify(const OpContext& ctx) {
  if (ctx.get_int("decimals") == 0 || is_float(ctx.tensor(0).dtype)) return {};
  return refuse(ctx, "K2205", "decimals need a float operand");
}

std::vector<AttrList> round_variants() {
  return {{{"decimals", int64_t{2}}}, {{"decimals", int64_t{-1}}}};
}

// clang-format off
#define F64(expression) \
  [](double x, [[maybe_unused]] double y, [[maybe_unused]] const S& s) -> double { \
    return expression;                                                             \
  }
#define I64(expression)                                                                          \
  []([[maybe_unused]] int64_t x, [[maybe_unused]] int64_t y,                                     \
     [[maybe_unused]] const S& s) -> int64_t { return expression; }
// Name, formula, ATen name, dtypes, traits, exact, domain of the samples, scalar functions.
#define UNARY(name, formula, aten, accepts, traits, exact, fill, f, i) \
  {name, formula, 1, aten, "", accepts, false, traits, exact, false, {fill, fill}, f, i, \
   nullptr, nullptr, nullptr, nullptr}
#define WITH_FIELDS(name, formula, aten, overload, accepts, traits, exact, f, i, fields, verify, \
                    variants)                                                                   \
  {name, formula, 1, aten, overload, accepts, false, traits, exact, false,                      \
   {Fill::kNormal, Fill::kNormal}, f, i, fields, verify, variants, nullptr}
#define TEST(name, formula, aten, accepts, fill, f, i) \
  {name, formula, 1, aten, "", accepts, true, kCheap, true, false, {fill, fill}, f, i, \
   nullptr, nullptr, nullptr, nullptr}
#define FLOAT(name, formula, fill, expression) \
  UNARY(name, formula, name, kFloat, kNoTraits, false, fill, F64(expression), nullptr)
#define SENSITIVE(name, formula, fill, expression) \
  UNARY(name, formula, name, kFloat, kSensitive, false, fill, F64(expression), nullptr)

constexpr ElementwiseRow kUnary[] = {
    // Signs and rounding.
    UNARY("neg", "y = -x", "neg", kNumeric, kCheap, true, Fill::kNormal, F64(-x),
          I64(wrap_negate(x))),
    UNARY("abs", "y = |x|", "abs", kNumeric, kCheap | kIdempotent, true, Fill::kNormal,
          F64(std::fabs(x)), I64(x < 0 ? wrap_negate(x) : x)),
    UNARY("sign", "y = (x > 0) - (x < 0)", "sign", kNumeric, kCheap | kIdempotent, true,
          Fill::kNormal, F64((x > 0) - (x < 0)), I64((x > 0) - (x < 0))),
    UNARY("floor", "y = largest integer <= x", "floor", kNumeric, kCheap | kIdempotent, true,
          Fill::kNormal, F64(std::floor(x)), I64(x)),
    UNARY("ceil", "y = smallest integer >= x", "ceil", kNumeric, kCheap | kIdempotent, true,
          Fill::kNormal, F64(std::ceil(x)), I64(x)),
    UNARY("trunc", "y = x without its fraction", "trunc", kNumeric, kCheap | kIdempotent, true,
          Fill::kNormal, F64(std::trunc(x)), I64(x)),
    WITH_FIELDS("round", "y = nearest multiple of 10^-decimals, ties to even", "round", "decimals",
                kNumeric, kCheap, true, F64(round_decimals(x, s.fields[0], s.dtype)), I64(x),
                round_fields, round_verify,
                round_variants),
    // Powers and roots.
    UNARY("square", "y = x * x", "square", kNumeric, kCheap | kSensitive, true, Fill::kNormal,
          F64(x * x), I64(wrap_multiply(x, x))),
    FLOAT("sqrt", "y = sqrt(x)", Fill::kPositive, std::sqrt(x)),
    SENSITIVE("rsqrt", "y = 1 / sqrt(x)", Fill::kPositive, 1 / std::sqrt(x)),
    UNARY("reciprocal", "y = 1 / x", "reciprocal", kFloat, kCheap | kSensitive, false,
          Fill::kPositive, F64(1 / x), nullptr),
    // Exponentials and logarithms.
    SENSITIVE("exp", "y = e^x", Fill::kNormal, std::exp(x)),
    SENSITIVE("exp2", "y = 2^x", Fill::kNormal, std::exp2(x)),
    SENSITIVE("expm1", "y = e^x - 1, exact near 0", Fill::kNormal, std::expm1(x)),
    SENSITIVE("log", "y = ln(x)", Fill::kPositive, std::log(x)),
    SENSITIVE("log2", "y = log2(x)", Fill::kPositive, std::log2(x)),
    SENSITIVE("log10", "y = log10(x)", Fill::kPositive, std::log10(x)),
    SENSITIVE("log1p", "y = ln(1 + x), exact near 0", Fill::kPositive, std::log1p(x)),
    // Trigonometry, angles in radians.
    SENSITIVE("sin", "y = sin(x)", Fill::kNormal, std::sin(x)),
    SENSITIVE("cos", "y = cos(x)", Fill::kNormal, std::cos(x)),
    SENSITIVE("tan", "y = tan(x)", Fill::kUnit, std::tan(x)),
    SENSITIVE("asin", "y = arcsin(x)", Fill::kUnit, std::asin(x)),
    SENSITIVE("acos", "y = arccos(x)", Fill::kUnit, std::acos(x)),
    SENSITIVE("atan", "y = arctan(x)", Fill::kNormal, std::atan(x)),
    SENSITIVE("sinh", "y = sinh(x)", Fill::kNormal, std::sinh(x)),
    SENSITIVE("cosh", "y = cosh(x)", Fill::kNormal, std::cosh(x)),
    FLOAT("tanh", "y = tanh(x)", Fill::kNormal, std::tanh(x)),
    SENSITIVE("asinh", "y = arsinh(x)", Fill::kNormal, std::asinh(x)),
    SENSITIVE("acosh", "y = arcosh(x), NaN below 1", Fill::kPositive, std::acosh(x)),
    SENSITIVE("atanh", "y = artanh(x)", Fill::kUnit, std::atanh(x)),
    FLOAT("erf", "y = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x", Fill::kNormal, std::erf(x)),
    FLOAT("erfc", "y = 1 - erf(x)", Fill::kNormal, std::erfc(x)),
    // Activations.
    UNARY("relu", "y = max(x, 0)", "relu", kNumeric, kCheap | kIdempotent, true, Fill::kNormal,
          F64(x < 0 ? 0.0 : x), I64(x < 0 ? 0 : x)),
    FLOAT("sigmoid", "y = 1 / (1 + exp(-x))", Fill::kNormal, 1 / (1 + std::exp(-x))),
    FLOAT("log_sigmoid", "y = ln(sigmoid(x))", Fill::kNormal, log_sigmoid(x)),
    FLOAT("silu", "y = x * sigmoid(x)", Fill::kNormal, x / (1 + std::exp(-x))),
    FLOAT("mish", "y = x * tanh(ln(1 + exp(x)))", Fill::kNormal,
          x * std::tanh(softplus(x, 1, std::numeric_limits<double>::infinity()))),
    UNARY("hardswish", "y = x * clamp(x + 3, 0, 6) / 6", "hardswish", kFloat, kCheap, false,
          Fill::kNormal, F64(x * clamp_keeping_nan(x + 3, 0, 6) / 6), nullptr),
    UNARY("hardsigmoid", "y = clamp(x + 3, 0, 6) / 6", "hardsigmoid", kFloat, kCheap, false,
          Fill::kNormal, F64(clamp_keeping_nan(x + 3, 0, 6) / 6), nullptr),
    WITH_FIELDS("gelu", "y = x * P(Z <= x), Z standard normal", "gelu", "", kFloat, kNoTraits,
                false, F64(gelu(x, s.fields[0] != 0)), nullptr, gelu_fields, gelu_verify,
                gelu_variants),
    WITH_FIELDS("elu", "y = scale * (x > 0 ? x : alpha * (exp(input_scale * x) - 1))", "elu", "",
                kFloat, kNoTraits, false,
                F64(x < 0 ? s.fields[1] * s.fields[0] * std::expm1(s.fields[2] * x)
                          : s.fields[1] * x),
                nullptr, elu_fields, nullptr, elu_variants),
    WITH_FIELDS("leaky_relu", "y = x > 0 ? x : slope * x", "leaky_relu", "", kFloat, kCheap, false,
                F64(x > 0 ? x : s.fields[0] * x), nullptr, leaky_relu_fields, nullptr,
                leaky_relu_variants),
    WITH_FIELDS("softplus", "y = x * beta > threshold ? x : ln(1 + exp(beta * x)) / beta",
                "softplus", "", kFloat, kNoTraits, false,
                F64(softplus(x, s.fields[0], s.fields[1])), nullptr, softplus_fields,
                softplus_verify, softplus_variants),
    // Logic and tests.
    UNARY("bitwise_not", "y = ~x; of bool: not x", "bitwise_not", kIntegralOrBool, kCheap, true,
          Fill::kSmallIntegers, nullptr, I64(s.dtype == DType::kBool ? !x : ~x)),
    TEST("logical_not", "y = (x == 0)", "logical_not", kAny, Fill::kSmallIntegers, F64(x == 0),
         I64(x == 0)),
    TEST("isnan", "y = x is NaN", "isnan", kAny, Fill::kNormal, F64(std::isnan(x)), I64(0)),
    TEST("isinf", "y = x is infinite", "isinf", kAny, Fill::kNormal, F64(std::isinf(x)), I64(0)),
    TEST("isfinite", "y = x is neither infinite nor NaN", "isfinite", kAny, Fill::kNormal,
         F64(std::isfinite(x)), I64(1)),
};

// clang-format on

#undef F64
#undef I64
#undef UNARY
#undef WITH_FIELDS
#undef TEST
#undef FLOAT
#undef SENSITIVE

[[maybe_unused]] const bool kRegistered = register_elementwise_table<kUnary>();

}  // namespace
}  // namespace kiln
