// recognize-activations: activations that were spelled out become one op.
//
//   %0 = mul(%x, 0.5)                        literals in place of their constants
//   %1 = pow(%x, 3)
//   %2 = mul(%1, 0.044715)
//   %3 = add(%x, %2)
//   %4 = mul(%3, 0.7978845608)
//   %5 = tanh(%4)
//   %6 = add(%5, 1)
//   %7 = mul(%0, %6)
// becomes
//   %0 = gelu(%x) {approximate="tanh"}
//
// Also 0.5 x (1 + erf(x / sqrt 2)), x sigmoid(x), x clamp(x + 3, 0, 6) / 6 and the same without x.
// Products are compared as sets of factors, so their order and grouping do not matter. The formulas
// are those of the ops, so NaN and infinity come out alike.
#include <cmath>
#include <numbers>

#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

constexpr double kSqrt2OverPi = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;

// `value` as a constant of the dtype holds it.
double rounded(double value, DType dtype) {
  const auto single = static_cast<float>(value);
  switch (dtype) {
    case DType::kF16: return f16_to_f32(f32_to_f16(single));
    case DType::kBF16: return bf16_to_f32(f32_to_bf16(single));
    default: return value;
  }
}

// Constants reach us rounded to the dtype; `a` may be the reciprocal of one.
bool is_near(double a, double b, DType dtype) {
  return std::fabs(a - b) <= 1e-6 * std::fabs(b) || a == rounded(b, dtype) ||
         1 / a == rounded(1 / b, dtype);
}

// scale * factors[0] * factors[1] * ...; a power stands as often as it counts.
struct Product {
  double scale = 1;
  std::vector<Value*> factors;
};

void collect(Module& module, Value* value, bool root, Product* product) {
  Node* node = value->producer();
  const auto number = [&](int i) { return splat_of(module, node->operand(i)); };
  // What others use too will be computed anyway, but may still be a factor as it is.
  const bool open =
      node != nullptr && product->factors.size() < 8 && (root || value->has_one_use());
  if (open && node->is("mul")) {
    for (int i : {0, 1}) {
      if (const std::optional<Splat> scalar = number(1 - i);
          scalar && node->operand(i)->shape() == value->shape()) {
        product->scale *= scalar->number;
        return collect(module, node->operand(i), false, product);
      }
    }
    if (node->operand(0)->shape() == value->shape() &&
        node->operand(1)->shape() == value->shape()) {
      collect(module, node->operand(0), false, product);
      collect(module, node->operand(1), false, product);
      return;
    }
  }
  if (open && node->is("div") && node->operand(0)->shape() == value->shape()) {
    if (const std::optional<Splat> scalar = number(1)) {
      product->scale /= scalar->number;
      return collect(module, node->operand(0), false, product);
    }
  }
  if (open && node->is("square")) {
    product->factors.insert(product->factors.end(), 2, node->operand(0));
    return;
  }
  if (open && node->is("pow") && node->operand(0)->shape() == value->shape()) {
    if (const std::optional<Splat> exponent = number(1); exponent && exponent->is(3)) {
      product->factors.insert(product->factors.end(), 3, node->operand(0));
      return;
    }
  }
  product->factors.push_back(value);
}

Product product_of(Module& module, Value* value, bool root = false) {
  Product product;
  collect(module, value, root, &product);
  return product;
}

// y with value == y + n, when the value is such a sum.
Value* without_summand(Module& module, Value* value, double n) {
  Node* node = producer_of(value, "add");
  if (node == nullptr) return nullptr;
  for (int i : {0, 1}) {
    const std::optional<Splat> scalar = splat_of(module, node->operand(1 - i));
    if (scalar && is_near(scalar->number, n, value->dtype()) &&
        node->operand(i)->shape() == value->shape()) {
      return node->operand(i);
    }
  }
  return nullptr;
}

// 1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))
bool is_tanh_factor(Module& module, Value* value, Value* x) {
  Node* tanh = producer_of(without_summand(module, value, 1), "tanh");
  if (tanh == nullptr) return false;
  const Product argument = product_of(module, tanh->operand(0));
  if (argument.factors.size() != 1 || !is_near(argument.scale, kSqrt2OverPi, x->dtype())) {
    return false;
  }
  Node* sum = producer_of(argument.factors[0], "add");
  if (sum == nullptr) return false;
  for (int i : {0, 1}) {
    if (sum->operand(i) != x) continue;
    const Product cube = product_of(module, sum->operand(1 - i));
    if (is_near(cube.scale, 0.044715, x->dtype()) &&
        cube.factors == std::vector<Value*>{x, x, x}) {
      return true;
    }
  }
  return false;
}

// 1 + erf(x / sqrt 2)
bool is_erf_factor(Module& module, Value* value, Value* x) {
  Node* erf = producer_of(without_summand(module, value, 1), "erf");
  if (erf == nullptr) return false;
  const Product argument = product_of(module, erf->operand(0));
  return argument.factors == std::vector<Value*>{x} &&
         is_near(argument.scale, 1 / std::numbers::sqrt2, x->dtype());
}

// The lower and upper bound of clamp or of clamps one after the other, and what is bounded.
Value* clamped(Value* value, double* low, double* high) {
  *low = -INFINITY;
  *high = INFINITY;
  bool any = false;
  while (Node* clamp = producer_of(value, "clamp")) {
    if (clamp->get_bool("has_max")) *high = std::fmin(*high, clamp->get_float("max"));
    if (clamp->get_bool("has_min")) *low = std::fmax(*low, clamp->get_float("min"));
    value = clamp->operand(0);
    any = true;
  }
  return any ? value : nullptr;
}

// x of clamp(x + 3, 0, 6)
Value* hard_source(Module& module, Value* value) {
  double low = 0;
  double high = 0;
  Value* inside = clamped(value, &low, &high);
  if (inside == nullptr || low != 0 || high != 6) return nullptr;
  return without_summand(module, inside, 3);
}

bool activation(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("mul") && !node.is("div")) return false;
  const TensorType& type = node.result()->tensor();
  if (!is_float(type.dtype) || !type.layout.is_contiguous()) return false;
  const Product product = product_of(r.module(), node.result(), true);
  if (product.factors.size() == 1 && is_near(product.scale, 1.0 / 6, type.dtype)) {
    Value* x = hard_source(r.module(), product.factors[0]);
    return x != nullptr && r.same_type(x) && r.allowed() && r.replace(r.create("hardsigmoid", {x}));
  }
  if (product.factors.size() != 2) return false;
  for (int i : {0, 1}) {
    Value* x = product.factors[static_cast<size_t>(i)];
    Value* other = product.factors[static_cast<size_t>(1 - i)];
    if (!r.same_type(x)) continue;
    if (is_near(product.scale, 0.5, type.dtype)) {
      const bool tanh = is_tanh_factor(r.module(), other, x);
      if ((!tanh && !is_erf_factor(r.module(), other, x)) || !r.allowed()) continue;
      return r.replace(
          r.create("gelu", {x}, {{"approximate", std::string(tanh ? "tanh" : "none")}}));
    }
    if (is_near(product.scale, 1, type.dtype)) {
      Node* sigmoid = producer_of(other, "sigmoid");
      const bool silu = sigmoid != nullptr && sigmoid->operand(0) == x;
      Node* hard = producer_of(other, "hardsigmoid");
      const bool hardswish = hard != nullptr && hard->operand(0) == x;
      if ((!silu && !hardswish) || !r.allowed()) continue;
      return r.replace(r.create(silu ? "silu" : "hardswish", {x}));
    }
    if (is_near(product.scale, 1.0 / 6, type.dtype) &&
        hard_source(r.module(), other) == x && r.allowed()) {
      return r.replace(r.create("hardswish", {x}));
    }
  }
  return false;
}

}  // namespace

KILN_PASS(recognize_activations, "activations that were spelled out become one op") {
  return rewrite_all(module, context, {activation});
}

}  // namespace kiln
