// Pointwise operators that are one op of Kiln's: three tables.
#include <iterator>
#include <utility>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

// What the operand is cast to.
enum class Promotion {
  kSame,   // torch's promotion of the arguments
  kFloat,  // the same, integers and bool to the default float
};

// ---- one operand, no other argument that matters

struct UnaryRow {
  const char* schema;
  const char* op;
  Promotion promotion = Promotion::kSame;
};

constexpr UnaryRow kUnary[] = {
    {"aten::neg(Tensor self) -> Tensor", "neg"},
    {"aten::negative(Tensor self) -> Tensor", "neg"},
    {"aten::abs(Tensor self) -> Tensor", "abs"},
    {"aten::absolute(Tensor self) -> Tensor", "abs"},
    {"aten::sign(Tensor self) -> Tensor", "sign"},
    {"aten::sgn(Tensor self) -> Tensor", "sign"},
    {"aten::floor(Tensor self) -> Tensor", "floor"},
    {"aten::ceil(Tensor self) -> Tensor", "ceil"},
    {"aten::trunc(Tensor self) -> Tensor", "trunc"},
    {"aten::fix(Tensor self) -> Tensor", "trunc"},
    {"aten::round(Tensor self) -> Tensor", "round"},
    {"aten::square(Tensor self) -> Tensor", "square"},
    {"aten::relu(Tensor self) -> Tensor", "relu"},
    {"aten::silu(Tensor self) -> Tensor", "silu"},
    {"aten::mish(Tensor self) -> Tensor", "mish"},
    {"aten::hardswish(Tensor self) -> Tensor", "hardswish"},
    {"aten::hardsigmoid(Tensor self) -> Tensor", "hardsigmoid"},
    {"aten::log_sigmoid(Tensor self) -> Tensor", "log_sigmoid"},
    {"aten::bitwise_not(Tensor self) -> Tensor", "bitwise_not"},
    {"aten::logical_not(Tensor self) -> Tensor", "logical_not"},
    {"aten::isnan(Tensor self) -> Tensor", "isnan"},
    {"aten::isinf(Tensor self) -> Tensor", "isinf"},
    {"aten::isfinite(Tensor self) -> Tensor", "isfinite"},
    {"aten::sqrt(Tensor self) -> Tensor", "sqrt", Promotion::kFloat},
    {"aten::rsqrt(Tensor self) -> Tensor", "rsqrt", Promotion::kFloat},
    {"aten::reciprocal(Tensor self) -> Tensor", "reciprocal", Promotion::kFloat},
    {"aten::exp(Tensor self) -> Tensor", "exp", Promotion::kFloat},
    {"aten::exp2(Tensor self) -> Tensor", "exp2", Promotion::kFloat},
    {"aten::special_exp2(Tensor self) -> Tensor", "exp2", Promotion::kFloat},
    {"aten::expm1(Tensor self) -> Tensor", "expm1", Promotion::kFloat},
    {"aten::special_expm1(Tensor self) -> Tensor", "expm1", Promotion::kFloat},
    {"aten::log(Tensor self) -> Tensor", "log", Promotion::kFloat},
    {"aten::log2(Tensor self) -> Tensor", "log2", Promotion::kFloat},
    {"aten::log10(Tensor self) -> Tensor", "log10", Promotion::kFloat},
    {"aten::log1p(Tensor self) -> Tensor", "log1p", Promotion::kFloat},
    {"aten::special_log1p(Tensor self) -> Tensor", "log1p", Promotion::kFloat},
    {"aten::sin(Tensor self) -> Tensor", "sin", Promotion::kFloat},
    {"aten::cos(Tensor self) -> Tensor", "cos", Promotion::kFloat},
    {"aten::tan(Tensor self) -> Tensor", "tan", Promotion::kFloat},
    {"aten::asin(Tensor self) -> Tensor", "asin", Promotion::kFloat},
    {"aten::arcsin(Tensor self) -> Tensor", "asin", Promotion::kFloat},
    {"aten::acos(Tensor self) -> Tensor", "acos", Promotion::kFloat},
    {"aten::arccos(Tensor self) -> Tensor", "acos", Promotion::kFloat},
    {"aten::atan(Tensor self) -> Tensor", "atan", Promotion::kFloat},
    {"aten::arctan(Tensor self) -> Tensor", "atan", Promotion::kFloat},
    {"aten::sinh(Tensor self) -> Tensor", "sinh", Promotion::kFloat},
    {"aten::cosh(Tensor self) -> Tensor", "cosh", Promotion::kFloat},
    {"aten::tanh(Tensor self) -> Tensor", "tanh", Promotion::kFloat},
    {"aten::asinh(Tensor self) -> Tensor", "asinh", Promotion::kFloat},
    {"aten::arcsinh(Tensor self) -> Tensor", "asinh", Promotion::kFloat},
    {"aten::acosh(Tensor self) -> Tensor", "acosh", Promotion::kFloat},
    {"aten::arccosh(Tensor self) -> Tensor", "acosh", Promotion::kFloat},
    {"aten::atanh(Tensor self) -> Tensor", "atanh", Promotion::kFloat},
    {"aten::arctanh(Tensor self) -> Tensor", "atanh", Promotion::kFloat},
    {"aten::erf(Tensor self) -> Tensor", "erf", Promotion::kFloat},
    {"aten::special_erf(Tensor self) -> Tensor", "erf", Promotion::kFloat},
    {"aten::erfc(Tensor self) -> Tensor", "erfc", Promotion::kFloat},
    {"aten::special_erfc(Tensor self) -> Tensor", "erfc", Promotion::kFloat},
    {"aten::sigmoid(Tensor self) -> Tensor", "sigmoid", Promotion::kFloat},
    {"aten::special_expit(Tensor self) -> Tensor", "sigmoid", Promotion::kFloat},
};

template <size_t kRow>
void unary(ImportCall& call) {
  constexpr const UnaryRow& row = kUnary[kRow];
  Value* x = call.tensor(0);
  if (row.promotion == Promotion::kFloat) x = call.cast(x, call.promoted_float({0}));
  call.result(call.emit(row.op, {x}));
}

// ---- two operands, tensors or Scalars

struct BinaryRow {
  const char* schema;
  const char* op;
  Promotion promotion = Promotion::kSame;
};

constexpr BinaryRow kBinary[] = {
    {"aten::mul.Tensor(Tensor self, Tensor other) -> Tensor", "mul"},
    {"aten::mul.Scalar(Tensor self, Scalar other) -> Tensor", "mul"},
    {"aten::multiply.Tensor(Tensor self, Tensor other) -> Tensor", "mul"},
    {"aten::multiply.Scalar(Tensor self, Scalar other) -> Tensor", "mul"},
    {"aten::div.Tensor(Tensor self, Tensor other) -> Tensor", "div", Promotion::kFloat},
    {"aten::div.Scalar(Tensor self, Scalar other) -> Tensor", "div", Promotion::kFloat},
    {"aten::divide.Tensor(Tensor self, Tensor other) -> Tensor", "div", Promotion::kFloat},
    {"aten::divide.Scalar(Tensor self, Scalar other) -> Tensor", "div", Promotion::kFloat},
    {"aten::true_divide.Tensor(Tensor self, Tensor other) -> Tensor", "div", Promotion::kFloat},
    {"aten::true_divide.Scalar(Tensor self, Scalar other) -> Tensor", "div", Promotion::kFloat},
    {"aten::floor_divide(Tensor self, Tensor other) -> Tensor", "floor_div"},
    {"aten::floor_divide.Scalar(Tensor self, Scalar other) -> Tensor", "floor_div"},
    {"aten::remainder.Tensor(Tensor self, Tensor other) -> Tensor", "remainder"},
    {"aten::remainder.Scalar(Tensor self, Scalar other) -> Tensor", "remainder"},
    {"aten::remainder.Scalar_Tensor(Scalar self, Tensor other) -> Tensor", "remainder"},
    {"aten::fmod.Tensor(Tensor self, Tensor other) -> Tensor", "fmod"},
    {"aten::fmod.Scalar(Tensor self, Scalar other) -> Tensor", "fmod"},
    {"aten::maximum(Tensor self, Tensor other) -> Tensor", "maximum"},
    {"aten::max.other(Tensor self, Tensor other) -> Tensor", "maximum"},
    {"aten::minimum(Tensor self, Tensor other) -> Tensor", "minimum"},
    {"aten::min.other(Tensor self, Tensor other) -> Tensor", "minimum"},
    {"aten::atan2(Tensor self, Tensor other) -> Tensor", "atan2", Promotion::kFloat},
    {"aten::arctan2(Tensor self, Tensor other) -> Tensor", "atan2", Promotion::kFloat},
    {"aten::hypot(Tensor self, Tensor other) -> Tensor", "hypot", Promotion::kFloat},
    {"aten::copysign.Tensor(Tensor self, Tensor other) -> Tensor", "copysign", Promotion::kFloat},
    {"aten::copysign.Scalar(Tensor self, Scalar other) -> Tensor", "copysign", Promotion::kFloat},
    {"aten::xlogy.Tensor(Tensor self, Tensor other) -> Tensor", "xlogy", Promotion::kFloat},
    {"aten::xlogy.Scalar_Self(Scalar self, Tensor other) -> Tensor", "xlogy", Promotion::kFloat},
    {"aten::xlogy.Scalar_Other(Tensor self, Scalar other) -> Tensor", "xlogy", Promotion::kFloat},
    {"aten::special_xlogy(Tensor self, Tensor other) -> Tensor", "xlogy", Promotion::kFloat},
    {"aten::eq.Tensor(Tensor self, Tensor other) -> Tensor", "eq"},
    {"aten::eq.Scalar(Tensor self, Scalar other) -> Tensor", "eq"},
    {"aten::ne.Tensor(Tensor self, Tensor other) -> Tensor", "ne"},
    {"aten::ne.Scalar(Tensor self, Scalar other) -> Tensor", "ne"},
    {"aten::not_equal.Tensor(Tensor self, Tensor other) -> Tensor", "ne"},
    {"aten::not_equal.Scalar(Tensor self, Scalar other) -> Tensor", "ne"},
    {"aten::lt.Tensor(Tensor self, Tensor other) -> Tensor", "lt"},
    {"aten::lt.Scalar(Tensor self, Scalar other) -> Tensor", "lt"},
    {"aten::less.Tensor(Tensor self, Tensor other) -> Tensor", "lt"},
    {"aten::less.Scalar(Tensor self, Scalar other) -> Tensor", "lt"},
    {"aten::le.Tensor(Tensor self, Tensor other) -> Tensor", "le"},
    {"aten::le.Scalar(Tensor self, Scalar other) -> Tensor", "le"},
    {"aten::less_equal.Tensor(Tensor self, Tensor other) -> Tensor", "le"},
    {"aten::less_equal.Scalar(Tensor self, Scalar other) -> Tensor", "le"},
    {"aten::gt.Tensor(Tensor self, Tensor other) -> Tensor", "gt"},
    {"aten::gt.Scalar(Tensor self, Scalar other) -> Tensor", "gt"},
    {"aten::greater.Tensor(Tensor self, Tensor other) -> Tensor", "gt"},
    {"aten::greater.Scalar(Tensor self, Scalar other) -> Tensor", "gt"},
    {"aten::ge.Tensor(Tensor self, Tensor other) -> Tensor", "ge"},
    {"aten::ge.Scalar(Tensor self, Scalar other) -> Tensor", "ge"},
    {"aten::greater_equal.Tensor(Tensor self, Tensor other) -> Tensor", "ge"},
    {"aten::greater_equal.Scalar(Tensor self, Scalar other) -> Tensor", "ge"},
    {"aten::logical_and(Tensor self, Tensor other) -> Tensor", "logical_and"},
    {"aten::logical_or(Tensor self, Tensor other) -> Tensor", "logical_or"},
    {"aten::logical_xor(Tensor self, Tensor other) -> Tensor", "logical_xor"},
    {"aten::bitwise_and.Tensor(Tensor self, Tensor other) -> Tensor", "bitwise_and"},
    {"aten::bitwise_and.Scalar(Tensor self, Scalar other) -> Tensor", "bitwise_and"},
    {"aten::bitwise_and.Scalar_Tensor(Scalar self, Tensor other) -> Tensor", "bitwise_and"},
    {"aten::__and__.Tensor(Tensor self, Tensor other) -> Tensor", "bitwise_and"},
    {"aten::__and__.Scalar(Tensor self, Scalar other) -> Tensor", "bitwise_and"},
    {"aten::bitwise_or.Tensor(Tensor self, Tensor other) -> Tensor", "bitwise_or"},
    {"aten::bitwise_or.Scalar(Tensor self, Scalar other) -> Tensor", "bitwise_or"},
    {"aten::bitwise_or.Scalar_Tensor(Scalar self, Tensor other) -> Tensor", "bitwise_or"},
    {"aten::__or__.Tensor(Tensor self, Tensor other) -> Tensor", "bitwise_or"},
    {"aten::__or__.Scalar(Tensor self, Scalar other) -> Tensor", "bitwise_or"},
    {"aten::bitwise_xor.Tensor(Tensor self, Tensor other) -> Tensor", "bitwise_xor"},
    {"aten::bitwise_xor.Scalar(Tensor self, Scalar other) -> Tensor", "bitwise_xor"},
    {"aten::bitwise_xor.Scalar_Tensor(Scalar self, Tensor other) -> Tensor", "bitwise_xor"},
    {"aten::__xor__.Tensor(Tensor self, Tensor other) -> Tensor", "bitwise_xor"},
    {"aten::__xor__.Scalar(Tensor self, Scalar other) -> Tensor", "bitwise_xor"},
    {"aten::bitwise_left_shift.Tensor(Tensor self, Tensor other) -> Tensor", "shift_left"},
    {"aten::bitwise_left_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor", "shift_left"},
    {"aten::bitwise_left_shift.Scalar_Tensor(Scalar self, Tensor other) -> Tensor", "shift_left"},
    {"aten::__lshift__.Tensor(Tensor self, Tensor other) -> Tensor", "shift_left"},
    {"aten::__lshift__.Scalar(Tensor self, Scalar other) -> Tensor", "shift_left"},
    {"aten::bitwise_right_shift.Tensor(Tensor self, Tensor other) -> Tensor", "shift_right"},
    {"aten::bitwise_right_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor", "shift_right"},
    {"aten::bitwise_right_shift.Scalar_Tensor(Scalar self, Tensor other) -> Tensor", "shift_right"},
    {"aten::__rshift__.Tensor(Tensor self, Tensor other) -> Tensor", "shift_right"},
    {"aten::__rshift__.Scalar(Tensor self, Scalar other) -> Tensor", "shift_right"},
};

template <size_t kRow>
void binary(ImportCall& call) {
  constexpr const BinaryRow& row = kBinary[kRow];
  const DType dtype =
      row.promotion == Promotion::kFloat ? call.promoted_float({0, 1}) : call.promoted({0, 1});
  Value* x = call.operand(0, dtype);
  call.result(call.emit(row.op, {x, call.operand(1, dtype)}));
}

// ---- one operand and numbers that are fields of the op

struct FieldRow {
  const char* schema;
  const char* op;
  // Field of the arguments 1, 2, 3; null: none.
  const char* fields[3];
};

constexpr FieldRow kWithFields[] = {
    {"aten::leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor",
     "leaky_relu",
     {"slope", nullptr, nullptr}},
    {"aten::elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor",
     "elu",
     {"alpha", "scale", "input_scale"}},
    {"aten::softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor",
     "softplus",
     {"beta", "threshold", nullptr}},
};

template <size_t kRow>
void with_fields(ImportCall& call) {
  constexpr const FieldRow& row = kWithFields[kRow];
  AttrList attrs;
  for (int i = 0; i < 3; ++i) {
    if (row.fields[i] != nullptr) attrs.emplace_back(row.fields[i], call.number(i + 1));
  }
  call.result(call.emit(row.op, {call.tensor(0)}, std::move(attrs)));
}

[[maybe_unused]] const bool kRegistered = [] {
  [&]<size_t... kRow>(std::index_sequence<kRow...>) {
    (ImportRules::global().add(kUnary[kRow].schema, unary<kRow>), ...);
  }
  (std::make_index_sequence<std::size(kUnary)>());
  [&]<size_t... kRow>(std::index_sequence<kRow...>) {
    (ImportRules::global().add(kBinary[kRow].schema, binary<kRow>), ...);
  }
  (std::make_index_sequence<std::size(kBinary)>());
  [&]<size_t... kRow>(std::index_sequence<kRow...>) {
    (ImportRules::global().add(kWithFields[kRow].schema, with_fields<kRow>), ...);
  }
  (std::make_index_sequence<std::size(kWithFields)>());
  return true;
}();

}  // namespace
}  // namespace kiln
