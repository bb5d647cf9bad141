// Elementwise functions of two operands of one dtype, shapes broadcast.
#include <cmath>
#include <limits>

#include "ops/elementwise.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;
using S = ScalarContext;
constexpr auto kFloat = DTypeClass::kFloat;
constexpr auto kNumeric = DTypeClass::kNumeric;
constexpr auto kIntegral = DTypeClass::kIntegral;
constexpr auto kIntegralOrBool = DTypeClass::kIntegralOrBool;
constexpr auto kAny = DTypeClass::kAny;

uint64_t bits(int64_t x) { return static_cast<uint64_t>(x); }
int64_t wrap(uint64_t x) { return static_cast<int64_t>(x); }

// Integer quotients; division by -1 wraps instead of trapping. Zero divisors are refused before.
int64_t divide_trunc(int64_t x, int64_t y) { return y == -1 ? wrap(0 - bits(x)) : x / y; }
int64_t modulo_trunc(int64_t x, int64_t y) { return y == -1 ? 0 : x % y; }
int64_t modulo_floor(int64_t x, int64_t y) {
  const int64_t r = modulo_trunc(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
int64_t divide_floor(int64_t x, int64_t y) {
  const int64_t q = divide_trunc(x, y);
  return modulo_trunc(x, y) != 0 && (x < 0) != (y < 0) ? q - 1 : q;
}

// Python's: the remainder has the divisor's sign.
double modulo_floor(double x, double y) {
  const double r = std::fmod(x, y);
  return r != 0 && (y < 0) != (r < 0) ? r + y : r;
}

// floor(x / y) without the error of rounding x / y up to an integer: CPython's float_floor_div,
// which torch follows. The quotient by zero is x / y.
double divide_floor(double x, double y) {
  if (y == 0) return x / y;
  const double r = std::fmod(x, y);
  double quotient = (x - r) / y;
  if (r != 0 && (y < 0) != (r < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, x / y);
  double floored = std::floor(quotient);
  if (quotient - floored > 0.5) floored += 1;
  return floored;
}

double maximum(double x, double y) { return std::isnan(x) || x > y ? x : y; }
double minimum(double x, double y) { return std::isnan(x) || x < y ? x : y; }

// By squaring, modulo 2^64. Negative exponents as integers: 0 unless the base is 1 or -1.
int64_t power(int64_t x, int64_t y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y % 2 == 0 ? 1 : -1) : 0;
  uint64_t result = 1, base = bits(x);
  for (; y > 0; y >>= 1, base *= base) {
    if (y & 1) result *= base;
  }
  return wrap(result);
}

// Shifts by less than 0 or by the width and more empty the number, as in torch.
int64_t shift_left(int64_t x, int64_t y, DType dtype) {
  const auto width = static_cast<int64_t>(dtype_bytes(dtype) * 8);
  return y < 0 || y >= width ? 0 : wrap(bits(x) << y);
}
int64_t shift_right(int64_t x, int64_t y, DType dtype) {
  const auto width = static_cast<int64_t>(dtype_bytes(dtype) * 8);
  return x >> (y < 0 || y >= width ? (width < 64 ? width : 63) : y);
}

double xlogy(double x, double y) {
  if (std::isnan(y)) return std::numeric_limits<double>::quiet_NaN();
  return x == 0 ? 0 : x * std::log(y);
}

CallArg one() { return CallArg(1); }
CallArg mode_floor() { return CallArg("floor"); }
CallArg mode_trunc() { return CallArg("trunc"); }

// clang-format off
#define F64(expression) \
  [](double x, double y, const S&) -> double { return expression; }
#define I64(expression) \
  [](int64_t x, int64_t y, [[maybe_unused]] const S& s) -> int64_t { return expression; }
#define ARITHMETIC(name, formula, aten, overload, accepts, traits, exact, f, i, last)  \
  {name, formula, 2, aten, overload, accepts, false, traits, exact, false,             \
   {Fill::kNormal, Fill::kNormal}, f, i, nullptr, nullptr, nullptr, last}
#define DIVISION(name, formula, aten, overload, f, i, last)                            \
  {name, formula, 2, aten, overload, kNumeric, false, kCheap, false, true,             \
   {Fill::kNormal, Fill::kNonZero}, f, i, nullptr, nullptr, nullptr, last}
#define FLOAT(name, formula, aten, overload, traits, fill_x, fill_y, f)                \
  {name, formula, 2, aten, overload, kFloat, false, traits, false, false,              \
   {fill_x, fill_y}, f, nullptr, nullptr, nullptr, nullptr, nullptr}
#define INTEGRAL(name, formula, aten, overload, accepts, traits, i)                    \
  {name, formula, 2, aten, overload, accepts, false, kCheap | (traits), true, false,   \
   {Fill::kSmallIntegers, Fill::kSmallIntegers}, nullptr, i, nullptr, nullptr, nullptr, nullptr}
// The same expression serves floats and integers. Small integers make equality happen.
#define COMPARE(name, formula, aten, overload, traits, expression)                     \
  {name, formula, 2, aten, overload, kAny, true, kCheap | (traits), true, false,       \
   {Fill::kSmallIntegers, Fill::kSmallIntegers}, F64(expression), I64(expression),     \
   nullptr, nullptr, nullptr, nullptr}

constexpr ElementwiseRow kBinary[] = {
    // Arithmetic. On bool, add is "or" and mul is "and", as in torch.
    ARITHMETIC("add", "z = x + y", "add", "Tensor", kAny, kCheap | kCommutative, true, F64(x + y),
               I64(wrap(bits(x) + bits(y))), one),
    ARITHMETIC("sub", "z = x - y", "sub", "Tensor", kNumeric, kCheap, true, F64(x - y),
               I64(wrap(bits(x) - bits(y))), one),
    ARITHMETIC("mul", "z = x * y", "mul", "Tensor", kAny, kCheap | kCommutative, true, F64(x * y),
               I64(wrap(bits(x) * bits(y))), nullptr),
    FLOAT("div", "z = x / y", "div", "Tensor", kNoTraits, Fill::kNormal, Fill::kPositive,
          F64(x / y)),
    DIVISION("floor_div", "z = floor(x / y)", "div", "Tensor_mode", F64(divide_floor(x, y)),
             I64(divide_floor(x, y)), mode_floor),
    DIVISION("trunc_div", "z = trunc(x / y)", "div", "Tensor_mode", F64(std::trunc(x / y)),
             I64(divide_trunc(x, y)), mode_trunc),
    DIVISION("remainder", "z = x - y * floor(x / y)", "remainder", "Tensor",
             F64(modulo_floor(x, y)), I64(modulo_floor(x, y)), nullptr),
    DIVISION("fmod", "z = x - y * trunc(x / y)", "fmod", "Tensor", F64(std::fmod(x, y)),
             I64(modulo_trunc(x, y)), nullptr),
    {"pow", "z = x^y; of integers modulo 2^bits", 2, "pow", "Tensor_Tensor", kNumeric, false,
     kSensitive, false, false, {Fill::kPositive, Fill::kSmallIntegers}, F64(std::pow(x, y)),
     I64(power(x, y)), nullptr, nullptr, nullptr, nullptr},
    ARITHMETIC("maximum", "z = max(x, y), NaN if either is", "maximum", "", kAny,
               kCheap | kCommutative, true, F64(maximum(x, y)), I64(x > y ? x : y), nullptr),
    ARITHMETIC("minimum", "z = min(x, y), NaN if either is", "minimum", "", kAny,
               kCheap | kCommutative, true, F64(minimum(x, y)), I64(x < y ? x : y), nullptr),
    FLOAT("atan2", "z = angle of the point (y, x) = arctan(x / y) in its quadrant", "atan2", "",
          kSensitive, Fill::kNormal, Fill::kNormal, F64(std::atan2(x, y))),
    FLOAT("hypot", "z = sqrt(x^2 + y^2)", "hypot", "", kSensitive, Fill::kNormal,
          Fill::kNormal, F64(std::hypot(x, y))),
    ARITHMETIC("copysign", "z = |x| with the sign of y", "copysign", "Tensor", kFloat, kCheap, true,
               F64(std::copysign(x, y)), nullptr, nullptr),
    FLOAT("xlogy", "z = x * ln(y), 0 where x is 0 and y no NaN", "xlogy", "Tensor",
          kSensitive, Fill::kSmallIntegers, Fill::kPositive, F64(xlogy(x, y))),
    // Comparisons and logic, to bool.
    COMPARE("eq", "z = (x == y)", "eq", "Tensor", kCommutative, x == y),
    COMPARE("ne", "z = (x != y)", "ne", "Tensor", kCommutative, x != y),
    COMPARE("lt", "z = (x < y)", "lt", "Tensor", kNoTraits, x < y),
    COMPARE("le", "z = (x <= y)", "le", "Tensor", kNoTraits, x <= y),
    COMPARE("gt", "z = (x > y)", "gt", "Tensor", kNoTraits, x > y),
    COMPARE("ge", "z = (x >= y)", "ge", "Tensor", kNoTraits, x >= y),
    COMPARE("logical_and", "z = (x != 0) and (y != 0)", "logical_and", "", kCommutative,
            x != 0 && y != 0),
    COMPARE("logical_or", "z = (x != 0) or (y != 0)", "logical_or", "", kCommutative,
            x != 0 || y != 0),
    COMPARE("logical_xor", "z = (x != 0) != (y != 0)", "logical_xor", "", kCommutative,
            (x != 0) != (y != 0)),
    // Bits.
    INTEGRAL("bitwise_and", "z = x & y", "bitwise_and", "Tensor", kIntegralOrBool, kCommutative,
             I64(x & y)),
    INTEGRAL("bitwise_or", "z = x | y", "bitwise_or", "Tensor", kIntegralOrBool, kCommutative,
             I64(x | y)),
    INTEGRAL("bitwise_xor", "z = x ^ y", "bitwise_xor", "Tensor", kIntegralOrBool, kCommutative,
             I64(x ^ y)),
    INTEGRAL("shift_left", "z = x * 2^y modulo 2^bits; 0 unless 0 <= y < bits",
             "bitwise_left_shift", "Tensor", kIntegral, kNoTraits, I64(shift_left(x, y, s.dtype))),
    INTEGRAL("shift_right", "z = floor(x / 2^y); all sign bits unless 0 <= y < bits",
             "bitwise_right_shift", "Tensor", kIntegral, kNoTraits,
             I64(shift_right(x, y, s.dtype))),
};

// clang-format on

#undef F64
#undef I64
#undef ARITHMETIC
#undef DIVISION
#undef FLOAT
#undef INTEGRAL
#undef COMPARE

[[maybe_unused]] const bool kRegistered = register_elementwise_table<kBinary>();

}  // namespace
}  // namespace kiln
