// simplify-views: chains of views become one view, views that change nothing disappear.
//
//   %0 = permute(%x) {order=[1,0]} : f32[3,2]
//   %1 = permute(%0) {order=[1,0]} : f32[2,3]         a permute and its inverse
//   %2 = reshape(%1) {shape=[6]} : f32[6]
//   %3 = reshape(%2) {shape=[2,1,3]} : f32[2,1,3]     the last reshape says it all
//   %4 = permute(%3) {order=[1,0,2]} : f32[1,2,3]     moves nothing but an axis of size 1
//   return %4
// becomes
//   %0 = reshape(%x) {shape=[1,2,3]} : f32[1,2,3]
//   return %0
#include <algorithm>

#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

// Views whose result is their operand, concat of one tensor included.
bool drop_identity(Rewriter& r) {
  Node& node = r.node();
  const bool candidate = node.is("reshape") || node.is("expand") || node.is("slice") ||
                         (node.is("concat") && node.num_operands() == 1);
  if (candidate) {
    // A slice of the type of its operand takes all of it: 0 <= start, step >= 1 and as many
    // elements as there are leave no other choice.
    return r.same_type(node.operand(0)) && r.allowed() && r.replace(node.operand(0));
  }
  if (!node.is("permute")) return false;
  const Ints& order = node.get_ints("order");
  if (!std::is_sorted(order.begin(), order.end())) return false;
  return r.same_type(node.operand(0)) && r.allowed() && r.replace(node.operand(0));
}

bool merge_reshapes(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("reshape")) return false;
  Node* inner = producer_of(node.operand(0), "reshape");
  if (inner == nullptr || !r.allowed()) return false;
  return r.replace(r.reshape(inner->operand(0), node.result()->shape()));
}

bool merge_permutes(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("permute")) return false;
  Node* inner = producer_of(node.operand(0), "permute");
  if (inner == nullptr || !r.allowed()) return false;
  Ints order;
  for (int64_t axis : node.get_ints("order")) {
    order.push_back(inner->get_ints("order")[static_cast<size_t>(axis)]);
  }
  return r.replace(r.create("permute", {inner->operand(0)}, {{"order", order}}));
}

// Axes of size 1 may go anywhere without moving an element.
bool reshape_for_permute(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("permute")) return false;
  const Shape& shape = node.operand(0)->shape();
  int64_t last = -1;
  for (int64_t axis : node.get_ints("order")) {
    if (shape[static_cast<size_t>(axis)].is_value(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return r.allowed() && r.replace(r.reshape(node.operand(0), node.result()->shape()));
}

bool is_only_permuted(Value* value) {
  return !value->uses().empty() && !value->graph()->is_output(value) &&
         std::all_of(value->uses().begin(), value->uses().end(),
                     [](const Use& use) { return use.node->is("permute"); });
}

// A reshape that only splits axes, behind a permute,
//   of another reshape's result: that one can split them itself. What it joined before,
//     [s, b, h*d] -> [s, b*h, d], is then never joined, which strides may be unable to express:
//     attention of torch.nn.MultiheadAttention;
//   and in front of others: the permutes meet.
bool split_before_permute(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("reshape")) return false;
  Node* permute = producer_of(node.operand(0), "permute");
  if (permute == nullptr) return false;
  Value* source = permute->operand(0);
  Node* first = producer_of(source, "reshape");
  const bool joined_before =
      first != nullptr && node.operand(0)->has_one_use() && source->has_one_use();
  if (!joined_before && !is_only_permuted(node.result())) return false;
  // What each axis of the permute's result becomes.
  const Shape& to = node.result()->shape();
  std::vector<Shape> parts;
  size_t at = 0;
  for (const DimExpr& size : node.operand(0)->shape()) {
    Shape part;
    DimExpr product(1);
    if (size.is_value(1)) {
      if (at < to.size() && to[at].is_value(1)) part.push_back(to[at++]);
      parts.push_back(std::move(part));
      continue;
    }
    do {
      if (at == to.size()) return false;
      product = product * to[at];
      part.push_back(to[at++]);
    } while (!(product == size));
    parts.push_back(std::move(part));
  }
  for (; at < to.size(); ++at) {
    if (parts.empty() || !to[at].is_value(1)) return false;
    parts.back().push_back(to[at]);
  }
  if (!r.allowed()) return false;
  const Ints& order = permute->get_ints("order");
  Ints place(order.size());  // of each axis of the permute's operand in its result
  for (size_t i = 0; i < order.size(); ++i) {
    place[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  }
  Shape split;
  Ints begin;  // by axis of the permute's operand, in `split`
  for (const int64_t i : place) {
    begin.push_back(static_cast<int64_t>(split.size()));
    const Shape& part = parts[static_cast<size_t>(i)];
    split.insert(split.end(), part.begin(), part.end());
  }
  Ints moved;
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t k = 0; k < parts[i].size(); ++k) {
      moved.push_back(begin[static_cast<size_t>(order[i])] + static_cast<int64_t>(k));
    }
  }
  source = r.reshape(joined_before ? first->operand(0) : source, split);
  return r.replace(r.create("permute", {source}, {{"order", moved}}));
}

bool merge_expands(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("expand")) return false;
  Value* x = node.operand(0);
  const Shape& shape = node.result()->shape();
  if (Node* inner = producer_of(x, "expand")) {
    if (!r.allowed()) return false;
    Value* source = inner->operand(0);
    return r.replace(source->shape() == shape ? source
                                              : r.create("expand", {source}, {{"shape", shape}}));
  }
  // Only leading axes of size 1 come in.
  const size_t lead = shape.size() - x->shape().size();
  if (common_suffix(x->shape(), shape) != static_cast<int>(x->shape().size())) return false;
  for (size_t i = 0; i < lead; ++i) {
    if (!shape[i].is_value(1)) return false;
  }
  return r.allowed() && r.replace(r.reshape(x, shape));
}

bool merge_slices(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("slice")) return false;
  Node* inner = producer_of(node.operand(0), "slice");
  if (inner == nullptr || inner->get_int("axis") != node.get_int("axis") ||
      !inner->get_dim("step").is_value(1) || !r.allowed()) {
    return false;
  }
  const DimExpr& base = inner->get_dim("start");
  return r.replace(r.create("slice", {inner->operand(0)},
                            {{"axis", node.get_int("axis")},
                             {"start", base + node.get_dim("start")},
                             {"end", base + node.get_dim("end")},
                             {"step", node.get_dim("step")}}));
}

// A slice that is one operand of a concat, whole.
bool pick_operand(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("slice") || !node.get_dim("step").is_value(1)) return false;
  Node* joined = producer_of(node.operand(0), "concat");
  if (joined == nullptr || joined->get_int("axis") != node.get_int("axis")) return false;
  DimExpr at;
  for (Value* part : joined->operands()) {
    const DimExpr end = at + part->shape()[static_cast<size_t>(node.get_int("axis"))];
    if (at == node.get_dim("start") && end == node.get_dim("end")) {
      return r.same_type(part) && r.allowed() && r.replace(part);
    }
    at = end;
  }
  return false;
}

bool flatten_concat(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("concat")) return false;
  std::vector<Value*> parts;
  bool found = false;
  for (Value* part : node.operands()) {
    Node* inner = producer_of(part, "concat");
    if (inner == nullptr || !part->has_one_use() ||
        inner->get_int("axis") != node.get_int("axis")) {
      parts.push_back(part);
      continue;
    }
    found = true;
    parts.insert(parts.end(), inner->operands().begin(), inner->operands().end());
  }
  if (!found || !r.allowed()) return false;
  return r.replace(r.create("concat", parts, {{"axis", node.get_int("axis")}}));
}

}  // namespace

KILN_PASS(simplify_views, "chains of views become one view, views without effect go") {
  return rewrite_all(
      module, context,
      {drop_identity, merge_reshapes, merge_permutes, reshape_for_permute, split_before_permute,
       merge_expands, merge_slices, pick_operand, flatten_concat});
}

}  // namespace kiln
