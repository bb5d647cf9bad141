// hoist-reshapes: reshapes move down, through what does not care about them, so that they meet and
// cancel, and linears, elementwise ops and norms see one shape.
//
//   %0 = reshape(%x) {shape=[?(b*s),8]} : f32[?(b*s),8]           x: [?b,?s,8]
//   %1 = linear(%0, %c0) : f32[?(b*s),16]
//   %2 = reshape(%1) {shape=[?b,?s,16]} : f32[?b,?s,16]
//   %3 = gelu(%2) : f32[?b,?s,16]
// becomes
//   %0 = linear(%x, %c0) : f32[?b,?s,16]
//   %1 = gelu(%0) : f32[?b,?s,16]
//
// A reshape passes
//   linear, softmax, layer norm, ... when the axes that they work along stay as they are;
//   elementwise ops, when all operands come from one shape or broadcast along axes that stay;
//   matmul and attention, when their operands join the same batch axes;
//   a permute in front of attention or of a reshape, when it joins axes: the permute moves their
//   parts. As strided views they may be impossible to join: [b*h] of [s,b*h,d], of a projection, in
//   torch.nn.MultiheadAttention. In front of matmul it stays: several batch axes are several calls
//   of a library that has one stride for them.
// A reshape behind a linear (or behind elementwise ops behind it) moves up when there is another
// one in front that cannot come down, as in the projection of joined heads:
//
//   reshape[b,s,8] <- linear <- reshape[b*s,8] <- [b,s,2,4]      linear <- reshape[b,s,8] <-
//   [b,s,2,4]
//
// Shapes are compared as expressions, so this holds for every size.
#include <algorithm>

#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

bool same_prefix_product(const Shape& a, const Shape& b, int suffix) {
  return num_elements(Shape(a.begin(), a.end() - suffix)) ==
         num_elements(Shape(b.begin(), b.end() - suffix));
}

// The source of a reshape that keeps the last `suffix` axes; null otherwise.
Value* source_keeping(Value* value, int suffix) {
  Node* reshape = producer_of(value, "reshape");
  if (reshape == nullptr || !value->tensor().layout.is_contiguous()) return nullptr;
  Value* source = reshape->operand(0);
  if (common_suffix(source->shape(), value->shape()) < suffix) return nullptr;
  // Equal counts of elements say nothing of the leading axes when a trailing one may be 0.
  return same_prefix_product(source->shape(), value->shape(), suffix) ? source : nullptr;
}

bool below_linear(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("linear")) return false;
  Value* source = source_keeping(node.operand(0), 1);
  if (source == nullptr || !r.allowed()) return false;
  Value* y = r.create("linear", {source, node.operand(1), node.operand(2)});
  return r.replace(r.reshape(y, node.result()->shape()));
}

bool below_rowwise(Rewriter& r) {
  Node& node = r.node();
  if (!node.op->has(kRowwise) || node.num_results() != 1) return false;
  const auto rank = static_cast<int64_t>(node.result()->tensor().rank());
  const bool by_axis = node.op->field_index("axis") >= 0;
  if (!by_axis && node.op->field_index("num_axes") < 0) return false;
  const int64_t suffix = by_axis ? rank - node.get_int("axis") : node.get_int("num_axes");
  Value* source = source_keeping(node.operand(0), static_cast<int>(suffix));
  if (source == nullptr || !r.allowed()) return false;
  AttrList attrs = attrs_of(node);
  for (auto& [name, value] : attrs) {
    if (name == "axis") value = static_cast<int64_t>(source->tensor().rank()) - suffix;
  }
  std::vector<Value*> operands = node.operands();
  operands[0] = source;
  Value* y = r.create(node.op_name(), operands, std::move(attrs));
  return r.replace(r.reshape(y, node.result()->shape()));
}

// Whether the operand has a form for a result of shape `from` instead of `to`: the source of its
// reshape, or itself when it broadcasts along the last `kept` axes only. `*trim`: it has leading
// axes of size 1 that must go first.
bool fits_before(Value* operand, const Shape& from, const Shape& to, int kept, bool* trim) {
  *trim = false;
  Node* reshape = producer_of(operand, "reshape");
  if (reshape != nullptr && operand->shape() == to && reshape->operand(0)->shape() == from) {
    return true;
  }
  const Shape& shape = operand->shape();
  const size_t lead = shape.size() - std::min(shape.size(), static_cast<size_t>(kept));
  for (size_t i = 0; i < lead; ++i) {
    if (!shape[i].is_value(1)) return false;
  }
  *trim = lead > 0;
  return true;
}

bool below_elementwise(Rewriter& r) {
  Node& node = r.node();
  if (!node.op->has(kElementwise) || node.num_results() != 1) return false;
  if (!node.result()->tensor().layout.is_contiguous()) return false;
  const Shape& to = node.result()->shape();
  for (Value* candidate : node.operands()) {
    Node* reshape = producer_of(candidate, "reshape");
    if (reshape == nullptr || !(candidate->shape() == to)) continue;
    const Shape from = reshape->operand(0)->shape();
    const int kept = common_suffix(from, to);
    if (!same_prefix_product(from, to, kept)) continue;
    bool fits = true;
    std::vector<bool> trims;
    for (Value* operand : node.operands()) {
      bool trim = false;
      fits = fits && operand != nullptr && fits_before(operand, from, to, kept, &trim);
      trims.push_back(trim);
    }
    if (!fits) continue;
    if (!r.allowed()) return false;
    std::vector<Value*> operands;
    for (int i = 0; i < node.num_operands(); ++i) {
      Value* operand = node.operand(i);
      Node* producer = producer_of(operand, "reshape");
      if (trims[static_cast<size_t>(i)]) {
        const Shape& shape = operand->shape();
        operand = r.reshape(operand, Shape(shape.end() - kept, shape.end()));
      } else if (producer != nullptr && operand->shape() == to &&
                 producer->operand(0)->shape() == from) {
        operand = producer->operand(0);
      }
      operands.push_back(operand);
    }
    Value* y = r.create_like(node, operands);
    return r.replace(r.reshape(y, to));
  }
  return false;
}

// matmul of [b*h, m, k] and [b*h, k, n], both made of [b, h, ...].
bool below_matmul(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("matmul")) return false;
  Value* a = source_keeping(node.operand(0), 2);
  Value* b = source_keeping(node.operand(1), 2);
  if (a == nullptr || b == nullptr) return false;
  const Shape& at = node.operand(0)->shape();
  const Shape& bt = node.operand(1)->shape();
  const auto batch = [](const Shape& shape) { return Shape(shape.begin(), shape.end() - 2); };
  if (!(batch(a->shape()) == batch(b->shape())) || !(batch(at) == batch(bt)) || !r.allowed()) {
    return false;
  }
  Value* y = r.create("matmul", {a, b}, attrs_of(node));
  return r.replace(r.reshape(y, node.result()->shape()));
}

// attention of [b*h, s, d], all three made of [b, h, ...], under a mask that has no batch axes.
// More than two of those would only be joined again: kernels have batch and heads.
bool below_attention(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("attention")) return false;
  const auto batch = [](Value* value) {
    return Shape(value->shape().begin(), value->shape().end() - 2);
  };
  std::vector<Value*> operands;
  for (int i = 0; i < 3; ++i) {
    Value* source = source_keeping(node.operand(i), 2);
    if (source == nullptr || source->tensor().rank() > 4 ||
        !(batch(source) == batch(operands.empty() ? source : operands[0]))) {
      return false;
    }
    operands.push_back(source);
  }
  Value* mask = node.operand(3);
  if (mask != nullptr) {
    const Shape& shape = mask->shape();
    const size_t lead = shape.size() - std::min<size_t>(shape.size(), 2);
    const auto end = shape.begin() + static_cast<std::ptrdiff_t>(lead);
    if (!std::all_of(shape.begin(), end, [](const DimExpr& dim) { return dim.is_value(1); })) {
      return false;
    }
  }
  if (!r.allowed()) return false;
  if (mask != nullptr) {
    const Shape& shape = mask->shape();
    const size_t kept = std::min<size_t>(shape.size(), 2);
    mask = r.reshape(mask, Shape(shape.end() - static_cast<std::ptrdiff_t>(kept), shape.end()));
  }
  operands.push_back(mask);
  return r.replace(r.reshape(r.create_like(node, operands), node.result()->shape()));
}

// Sizes of which the axes of both shapes are products, and where those of each axis of `to` begin.
struct CommonParts {
  Shape sizes;
  std::vector<size_t> begin;  // one more than axes
  bool joins = false;         // an axis of `to` has several
};

bool find_common_parts(const Shape& from, const Shape& to, CommonParts* parts) {
  size_t at = 0;
  DimExpr rest = 1;  // of from[at - 1]
  for (const DimExpr& size : to) {
    parts->begin.push_back(parts->sizes.size());
    DimExpr wanted = size;
    while (!wanted.is_value(1)) {
      while (rest.is_value(1) && at < from.size()) rest = from[at++];
      DimExpr quotient;
      if (rest.is_value(0) || rest.is_value(1) || wanted.is_value(0)) return false;
      if (DimExpr::divide_exactly(wanted, rest, &quotient)) {
        parts->sizes.push_back(rest);
        wanted = quotient;
        rest = 1;
      } else if (DimExpr::divide_exactly(rest, wanted, &quotient)) {
        parts->sizes.push_back(wanted);
        wanted = 1;
        rest = quotient;
      } else {
        return false;
      }
    }
    parts->joins = parts->joins || parts->sizes.size() - parts->begin.back() > 1;
  }
  parts->begin.push_back(parts->sizes.size());
  while (rest.is_value(1) && at < from.size()) rest = from[at++];
  return rest.is_value(1);
}

bool below_permute(Rewriter& r) {
  Node& node = r.node();
  Value* result = node.is("permute") ? node.result() : nullptr;
  if (result == nullptr || r.graph().is_output(result)) return false;
  for (const Use& use : result->uses()) {
    const bool attended = use.node->is("attention") && use.operand < 3;
    if (!attended && !use.node->is("reshape")) return false;
  }
  Node* reshape = producer_of(node.operand(0), "reshape");
  if (reshape == nullptr || !node.operand(0)->tensor().layout.is_contiguous()) return false;
  CommonParts parts;
  Value* source = reshape->operand(0);
  if (!find_common_parts(source->shape(), node.operand(0)->shape(), &parts) || !parts.joins ||
      !r.allowed()) {
    return false;
  }
  std::vector<int64_t> order;
  for (const int64_t axis : node.get_ints("order")) {
    const auto i = static_cast<size_t>(axis);
    for (size_t k = parts.begin[i]; k < parts.begin[i + 1]; ++k) {
      order.push_back(static_cast<int64_t>(k));
    }
  }
  Value* moved = r.create("permute", {r.reshape(source, parts.sizes)}, {{"order", order}});
  return r.replace(r.reshape(moved, result->shape()));
}

// The operand of an elementwise node that has the shape of the result, when all others broadcast
// along the last `kept` axes; -1 when there is none or more than one.
int only_whole_operand(Node& node, int kept, std::vector<bool>* trims) {
  const Shape& shape = node.result()->shape();
  int whole = -1;
  trims->assign(static_cast<size_t>(node.num_operands()), false);
  for (int i = 0; i < node.num_operands(); ++i) {
    Value* operand = node.operand(i);
    if (operand == nullptr) return -1;
    if (whole < 0 && operand->shape() == shape) {
      whole = i;
      continue;
    }
    bool trim = false;
    if (!fits_before(operand, {}, shape, kept, &trim)) return -1;
    (*trims)[static_cast<size_t>(i)] = trim;
  }
  return whole;
}

bool above_linear(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("reshape") || !node.result()->tensor().layout.is_contiguous()) return false;
  const Shape to = node.result()->shape();
  const Shape from = node.operand(0)->shape();
  const int kept = common_suffix(from, to);
  if (kept < 1 || !same_prefix_product(from, to, kept)) return false;
  // From the reshape up to the linear.
  std::vector<Node*> chain;
  std::vector<int> whole;
  std::vector<std::vector<bool>> trims;
  Value* value = node.operand(0);
  while (true) {
    Node* producer = value->producer();
    if (producer == nullptr || !value->has_one_use()) return false;
    if (producer->is("linear")) {
      chain.push_back(producer);
      break;
    }
    if (!producer->op->has(kElementwise) || producer->num_results() != 1) return false;
    whole.push_back(only_whole_operand(*producer, kept, &trims.emplace_back()));
    if (whole.back() < 0) return false;
    chain.push_back(producer);
    value = producer->operand(whole.back());
  }
  Node& linear = *chain.back();
  Node* before = producer_of(linear.operand(0), "reshape");
  if (before == nullptr || source_keeping(linear.operand(0), 1) != nullptr || !r.allowed()) {
    return false;
  }
  Shape rows(to.begin(), to.end() - 1);
  rows.push_back(linear.operand(0)->shape().back());
  Value* y = r.create_like(
      linear, {r.reshape(before->operand(0), rows), linear.operand(1), linear.operand(2)});
  for (size_t i = whole.size(); i-- > 0;) {
    std::vector<Value*> operands = chain[i]->operands();
    for (size_t k = 0; k < operands.size(); ++k) {
      const Shape& shape = operands[k]->shape();
      if (trims[i][k]) operands[k] = r.reshape(operands[k], Shape(shape.end() - kept, shape.end()));
    }
    operands[static_cast<size_t>(whole[i])] = y;
    y = r.create_like(*chain[i], operands);
  }
  return r.replace(y);
}

}  // namespace

KILN_PASS(hoist_reshapes, "reshapes move down until they meet and cancel") {
  return rewrite_all(module, context,
                     {below_linear, below_rowwise, below_elementwise, below_matmul, below_attention,
                      below_permute, above_linear});
}

}  // namespace kiln
