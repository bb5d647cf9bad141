// recognize-attention: attention that was spelled out becomes one op.
//
//   %0 = matmul(%q, %k) {transpose_b=true} : f32[2,4,5,5]
//   %1 = mul(%0, %scale) : f32[2,4,5,5]
//   %2 = add(%1, %mask) : f32[2,4,5,5]
//   %3 = softmax(%2) {axis=3} : f32[2,4,5,5]
//   %4 = matmul(%3, %v) : f32[2,4,5,8]
// becomes
//   %0 = attention(%q, %k, %v, %mask) {scale=0.5} : f32[2,4,5,8]
//
// The scores must have no other user. softmax makes NaN of a row of -inf where attention gives
// zeros, so a mask that could hide a whole row is left alone. Taken are: no mask; additive masks
// that are provably finite (literals, bools turned into numbers) or constants, in which such a row
// would be NaN at every run; where(mask, scores, -inf or a number below kHidden) with a causal
// mask.
#include <algorithm>
#include <cmath>

#include "ir/op_def.h"
#include "passes/index_form.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// exp() of anything this far below the largest score is zero in every dtype.
constexpr double kHidden = -1e30;
constexpr int kMaxDepth = 16;

struct Interval {
  double low = 0;
  double high = 0;
};

Interval product(const Interval& a, const Interval& b) {
  const double corners[] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
  return {*std::min_element(corners, corners + 4), *std::max_element(corners, corners + 4)};
}

// Bounds of every element, when they follow from the expression; no NaN, then.
std::optional<Interval> interval(Module& module, Value* value, int depth = 0) {
  if (depth > kMaxDepth) return std::nullopt;
  if (value->dtype() == DType::kBool) return Interval{0, 1};
  if (const std::optional<Splat> splat = splat_of(module, value)) {
    if (!std::isfinite(splat->number)) return std::nullopt;
    return Interval{splat->number, splat->number};
  }
  Node* node = value->producer();
  if (node == nullptr) return std::nullopt;
  const auto of = [&](int i) { return interval(module, node->operand(i), depth + 1); };
  if (node->op->has(kView) || (node->is("cast") && is_float(value->dtype()))) return of(0);
  const int first = node->is("where") ? 1 : 0;
  if (!node->is("where") && !node->is("add") && !node->is("sub") && !node->is("mul")) {
    return std::nullopt;
  }
  const std::optional<Interval> a = of(first);
  const std::optional<Interval> b = of(first + 1);
  if (!a || !b) return std::nullopt;
  if (node->is("mul")) return product(*a, *b);
  if (node->is("add")) return Interval{a->low + b->low, a->high + b->high};
  if (node->is("sub")) return Interval{a->low - b->high, a->high - b->low};
  return Interval{std::fmin(a->low, b->low), std::fmax(a->high, b->high)};
}

bool is_finite(Module& module, Value* value) {
  const std::optional<Interval> bounds = interval(module, value);
  if (!bounds) return false;
  const double largest = value->dtype() == DType::kF16 ? 65504 : 3.4028234663852886e38;
  return bounds->low >= -largest && bounds->high <= largest;
}

struct Match {
  Value* query = nullptr;
  Value* key = nullptr;
  Value* mask = nullptr;
  double scale = 1;
  bool causal = false;
  bool key_is_transposed = true;  // stored [.., length, depth], as attention wants it
};

// A factor in front of the scores: a number.
Value* without_scale(Module& module, Value* value, double* scale) {
  Node* node = value->producer();
  if (node == nullptr || (!node->is("mul") && !node->is("div"))) return value;
  for (int i : {0, 1}) {
    if (node->is("div") && i == 1) break;
    const std::optional<Splat> number = splat_of(module, node->operand(1 - i));
    if (!number || !(node->operand(i)->shape() == value->shape())) continue;
    *scale = node->is("mul") ? number->number : 1 / number->number;
    return node->operand(i);
  }
  return value;
}

bool read_scores(Module& module, Value* scores, Match* match) {
  Value* inner = without_scale(module, scores, &match->scale);
  Node* product = producer_of(inner, "matmul");
  if (product == nullptr || !inner->has_one_use() || product->get_bool("transpose_a")) return false;
  if (inner != scores && !scores->has_one_use()) return false;
  match->query = product->operand(0);
  match->key = product->operand(1);
  match->key_is_transposed = product->get_bool("transpose_b");
  return std::isfinite(match->scale) && match->scale != 0;
}

bool read_masked_scores(Module& module, Value* value, Match* match) {
  if (!value->has_one_use()) return false;
  if (read_scores(module, value, match)) return true;
  Node* node = value->producer();
  if (node == nullptr) return false;
  if (node->is("add")) {
    for (int i : {0, 1}) {
      Value* mask = node->operand(1 - i);
      *match = Match{};
      if (!(node->operand(i)->shape() == value->shape())) continue;
      if (!mask->is_constant_argument() && !is_finite(module, mask)) continue;
      if (!read_scores(module, node->operand(i), match)) continue;
      match->mask = mask;
      return true;
    }
  }
  if (node->is("where")) {
    *match = Match{};
    const std::optional<Splat> hidden = splat_of(module, node->operand(2));
    if (!hidden || !(hidden->number <= kHidden)) return false;
    if (mask_kind(module, node->operand(0), value->shape()) != MaskKind::kCausal) return false;
    if (!(node->operand(1)->shape() == value->shape())) return false;
    if (!read_scores(module, node->operand(1), match)) return false;
    match->causal = true;
    return true;
  }
  return false;
}

bool attention(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("matmul") || node.get_bool("transpose_a") || node.get_bool("transpose_b")) {
    return false;
  }
  const TensorType& type = node.result()->tensor();
  if (!is_float(type.dtype) || type.rank() < 3 || !type.layout.is_contiguous()) return false;
  Value* weights = node.operand(0);
  Node* softmax = producer_of(weights, "softmax");
  if (softmax == nullptr || !weights->has_one_use() ||
      softmax->get_int("axis") != static_cast<int64_t>(weights->tensor().rank()) - 1) {
    return false;
  }
  Match match;
  if (!read_masked_scores(r.module(), softmax->operand(0), &match)) return false;
  // Axes of size 1 that matmul would broadcast are no case for the op.
  const auto batch = [](Value* v) { return Shape(v->shape().begin(), v->shape().end() - 2); };
  Value* value = node.operand(1);
  if (!(batch(match.query) == batch(match.key)) || !(batch(match.key) == batch(value))) {
    return false;
  }
  if (!r.allowed()) return false;
  Value* key = match.key;
  if (!match.key_is_transposed) {
    std::vector<int64_t> order;
    for (int i = 0; i < type.rank(); ++i) order.push_back(i);
    std::swap(order[order.size() - 2], order[order.size() - 1]);
    key = r.create("permute", {key}, {{"order", order}});
  }
  return r.replace(r.create("attention", {match.query, key, value, match.mask},
                            {{"scale", match.scale}, {"is_causal", match.causal}}));
}

}  // namespace

KILN_PASS(recognize_attention, "attention that was spelled out becomes one op") {
  return rewrite_all(module, context, {attention});
}

}  // namespace kiln
