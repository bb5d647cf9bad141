// canonicalize: elementwise ops in the form that other passes look for.
//
//   %0 = constant() {value=f32[](1)} : f32[]
//   %1 = mul(%0, %x) : f32[2,3]                   x * 1          is x
//   %2 = neg(%1) : f32[2,3]
//   %3 = neg(%2) : f32[2,3]                       -(-x)          is x
//   %4 = mul(%3, %3) : f32[2,3]
//   return %4
// becomes
//   %0 = square(%x) : f32[2,3]
//   return %0
//
// Constants stand on the right of commutative ops; a division by a power of two is a
// multiplication; casts that lose nothing disappear into the next; logic with constants is decided.
// Nothing that changes a NaN or an infinity is done: x * 0 stays, x - x stays. (The sign of a zero
// may change: x + 0 is x.)
#include <algorithm>
#include <cmath>
#include <string>

#include "ir/op_def.h"
#include "ops/broadcast.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

bool is_constant_like(Value* value) {
  return value->is_constant_argument() ||
         (value->producer() != nullptr && value->producer()->op->has(kSource));
}

// One of the operands has the type of the result and the other is the neutral number.
bool constants_second(Rewriter& r) {
  Node& node = r.node();
  if (!node.op->has(kCommutative)) return false;
  Value* a = node.operand(0);
  Value* b = node.operand(1);
  if (!is_constant_like(a) || is_constant_like(b) || !r.allowed()) return false;
  node.set_operands({b, a});
  return true;
}

bool drop_neutral(Rewriter& r) {
  Node& node = r.node();
  const bool sum = node.is("add") || node.is("sub");
  const bool product = node.is("mul") || node.is("div");
  const bool power = node.is("pow");
  if (!sum && !product && !power) return false;
  Value* x = node.operand(0);
  const std::optional<Splat> right = splat_of(r.module(), node.operand(1));
  if (right && right->is(sum ? 0 : 1) && r.same_type(x) && r.allowed()) return r.replace(x);
  const std::optional<Splat> left = splat_of(r.module(), x);
  if (!node.op->has(kCommutative) || !left || !left->is(sum ? 0 : 1)) return false;
  return r.same_type(node.operand(1)) && r.allowed() && r.replace(node.operand(1));
}

bool drop_double_negation(Rewriter& r) {
  for (const char* op : {"neg", "bitwise_not", "logical_not"}) {
    if (!r.node().is(op)) continue;
    Node* inner = producer_of(r.node().operand(0), op);
    if (inner == nullptr || !r.same_type(inner->operand(0)) || !r.allowed()) return false;
    return r.replace(inner->operand(0));
  }
  return false;
}

// f(f(x)) = f(x), fields alike.
bool drop_repetition(Rewriter& r) {
  Node& node = r.node();
  if (!node.op->has(kIdempotent) || node.num_operands() != 1) return false;
  Node* inner = producer_of(node.operand(0), node.op_name());
  if (inner == nullptr || !r.same_type(inner->result())) return false;
  for (size_t i = 0; i < node.attrs().size(); ++i) {
    if (!attrs_equal(node.attrs()[i], inner->attrs()[i])) return false;
  }
  return r.allowed() && r.replace(inner->result());
}

// x op x = x
bool drop_same_operands(Rewriter& r) {
  Node& node = r.node();
  const bool logic = node.is("logical_and") || node.is("logical_or");
  const bool lattice =
      node.is("maximum") || node.is("minimum") || node.is("bitwise_and") || node.is("bitwise_or");
  if ((!logic && !lattice) || node.operand(0) != node.operand(1)) return false;
  return r.same_type(node.operand(0)) && r.allowed() && r.replace(node.operand(0));
}

bool square_for_product(Rewriter& r) {
  Node& node = r.node();
  const bool product = node.is("mul") && node.operand(0) == node.operand(1);
  bool power = false;
  if (node.is("pow") && r.same_type(node.operand(0))) {
    const std::optional<Splat> exponent = splat_of(r.module(), node.operand(1));
    power = exponent && exponent->is(2);
  }
  if ((!product && !power) || node.result()->dtype() == DType::kBool) return false;
  return r.allowed() && r.replace(r.create("square", {node.operand(0)}));
}

// 2^-k is exact, and so is multiplying by it, down to the subnormals of the dtype.
bool multiply_for_division(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("div") || !r.same_type(node.operand(0))) return false;
  const std::optional<Splat> divisor = splat_of(r.module(), node.operand(1));
  if (!divisor || divisor->number == 0 || !std::isfinite(divisor->number)) return false;
  int exponent = 0;
  const double mantissa = std::frexp(divisor->number, &exponent);
  const int limit = node.result()->dtype() == DType::kF16 ? 13 : 100;
  if (std::fabs(mantissa) != 0.5 || std::abs(exponent) > limit || !r.allowed()) return false;
  Value* factor = r.scalar(node.result()->dtype(), 1 / divisor->number);
  return r.replace(r.create("mul", {node.operand(0), factor}));
}

// Every value of `from` has its own value in `to`.
bool is_lossless(DType from, DType to) {
  if (from == to || from == DType::kBool) return true;
  if (to == DType::kBool) return false;
  const auto bits = [](DType d) { return static_cast<int>(dtype_bytes(d) * 8); };
  if (is_float(from)) {
    if (!is_float(to) || bits(to) <= bits(from)) return false;
    return true;
  }
  if (is_float(to)) {
    const int mantissa = to == DType::kF64   ? 53
                         : to == DType::kF32 ? 24
                         : to == DType::kF16 ? 11
                                             : 8;
    return bits(from) - (from == DType::kU8 ? 0 : 1) <= mantissa;
  }
  if (to == DType::kU8) return false;
  return bits(to) > bits(from);
}

bool merge_casts(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("cast")) return false;
  Value* x = node.operand(0);
  if (r.same_type(x)) return r.allowed() && r.replace(x);
  Node* inner = producer_of(x, "cast");
  if (inner == nullptr || !is_lossless(inner->operand(0)->dtype(), x->dtype())) return false;
  // Integers that went through a float come back by value, not by their bits.
  if (is_float(x->dtype()) && !is_float(inner->operand(0)->dtype()) &&
      !is_lossless(inner->operand(0)->dtype(), node.result()->dtype())) {
    return false;
  }
  if (!r.allowed()) return false;
  if (r.same_type(inner->operand(0))) return r.replace(inner->operand(0));
  return r.replace(r.create("cast", {inner->operand(0)}, {{"dtype", node.get_dtype("dtype")}}));
}

// `value` where it has the node's type, spread over the node's shape otherwise.
bool replace_spread(Rewriter& r, Value* value) {
  if (r.same_type(value)) return r.allowed() && r.replace(value);
  const TensorType& type = r.node().result()->tensor();
  if (value->dtype() != type.dtype || !broadcasts_to(value->shape(), type.shape)) return false;
  if (!type.layout.is_contiguous() || !r.allowed()) return false;
  return r.replace(r.create("expand", {value}, {{"shape", type.shape}}));
}

bool decide_where(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("where")) return false;
  if (node.operand(1) == node.operand(2)) return replace_spread(r, node.operand(1));
  const std::optional<Splat> condition = splat_of(r.module(), node.operand(0));
  return condition && replace_spread(r, node.operand(condition->is_true() ? 1 : 2));
}

// Bool only: and, or with a constant; multiplication and addition mean the same.
bool decide_logic(Rewriter& r) {
  Node& node = r.node();
  const bool is_and = node.is("logical_and") || node.is("bitwise_and") || node.is("mul");
  const bool is_or = node.is("logical_or") || node.is("bitwise_or") || node.is("add");
  if ((!is_and && !is_or) || node.operand(0)->dtype() != DType::kBool) return false;
  for (int i : {1, 0}) {
    const std::optional<Splat> constant = splat_of(r.module(), node.operand(i));
    if (!constant) continue;
    // true decides an "or", false an "and"; the other one leaves what it meets.
    const bool decides = constant->is_true() == is_or;
    return replace_spread(r, node.operand(decides ? i : 1 - i));
  }
  return false;
}

// not (a < b) is a >= b where no NaN can be.
bool negate_comparison(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("logical_not") && !node.is("bitwise_not")) return false;
  Value* x = node.operand(0);
  Node* inner = x->producer();
  if (inner == nullptr || inner->num_operands() != 2 || x->dtype() != DType::kBool) return false;
  constexpr std::pair<std::string_view, std::string_view> kOpposites[] = {
      {"eq", "ne"}, {"ne", "eq"}, {"lt", "ge"}, {"ge", "lt"}, {"gt", "le"}, {"le", "gt"}};
  for (const auto& [op, opposite] : kOpposites) {
    if (!inner->is(op)) continue;
    const bool ordered =
        inner->is("eq") || inner->is("ne") || !is_float(inner->operand(0)->dtype());
    if (!ordered || !r.same_type(x) || !r.allowed()) return false;
    return r.replace(r.create(opposite, {inner->operand(0), inner->operand(1)}));
  }
  return false;
}

// A copy in the order the tensor has anyway (clone, contiguous).
bool drop_copy(Rewriter& r) {
  if (!r.node().is("reorder") || !r.same_type(r.node().operand(0)) || !r.allowed()) return false;
  return r.replace(r.node().operand(0));
}

}  // namespace

KILN_PASS(canonicalize, "elementwise ops in one form: constants right, no-ops gone") {
  return rewrite_all(module, context,
                     {constants_second, drop_neutral, drop_double_negation, drop_repetition,
                      drop_same_operands, square_for_product, multiply_for_division, merge_casts,
                      decide_where, decide_logic, negate_comparison, drop_copy});
}

}  // namespace kiln
