// sink-expands: expand moves behind what can work on the small tensor, and disappears before what
// broadcasts by itself.
//
//   %0 = expand(%row) {shape=[?s,?s]} : i64[?s,?s]          row: [1,?s]
//   %1 = add(%0, %two) : i64[?s,?s]
//   %2 = le(%1, %column) : bool[?s,?s]                      column: [?s,1]
//   %3 = expand(%2) {shape=[?b,1,?s,?s]} : bool[?b,1,?s,?s]
//   %4 = attention(%q, %k, %v, %3) : ...
// becomes
//   %0 = add(%row, %two) : i64[1,?s]
//   %1 = le(%0, %column) : bool[?s,?s]
//   %2 = attention(%q, %k, %v, %1) : ...
#include <algorithm>

#include "ir/op_def.h"
#include "ops/broadcast.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

Value* without_expand(Value* value) {
  Node* node = producer_of(value, "expand");
  return node == nullptr ? value : node->operand(0);
}

bool sink_below_elementwise(Rewriter& r) {
  Node& node = r.node();
  if (!node.op->has(kElementwise) || node.num_results() != 1) return false;
  const TensorType& type = node.result()->tensor();
  if (!type.layout.is_contiguous()) return false;
  std::vector<Value*> operands;
  Shape joint;
  for (Value* operand : node.operands()) {
    if (operand == nullptr) return false;
    operands.push_back(without_expand(operand));
    Result<Shape> shape = broadcast_shapes(joint, operands.back()->shape());
    if (!shape.ok()) return false;
    joint = std::move(shape).value();
  }
  if (operands == node.operands() || !broadcasts_to(joint, type.shape) || !r.allowed())
    return false;
  if (joint == type.shape) {
    // The operands broadcast by themselves.
    const std::vector<Value*> old = node.operands();
    node.set_operands(operands);
    for (Value* value : old) {
      Node* producer = value->producer();
      // The same expand may have been two operands.
      if (producer != nullptr &&
          std::find(operands.begin(), operands.end(), value) == operands.end() &&
          is_dead(*producer) && std::count(old.begin(), old.end(), value) == 1) {
        erase_with_producers(producer);
      }
    }
    return true;
  }
  Value* small = r.create_like(node, operands);
  return r.replace(r.create("expand", {small}, {{"shape", type.shape}}));
}

// The mask of attention broadcasts to the scores.
bool drop_before_attention(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("attention") || !node.has_operand(3)) return false;
  Node* expand = producer_of(node.operand(3), "expand");
  if (expand == nullptr || !r.allowed()) return false;
  node.set_operand(3, expand->operand(0));
  if (is_dead(*expand)) erase_with_producers(expand);
  return true;
}

// reshape(expand(x)) where the reshape only adds or removes axes of size 1: every other axis keeps
// its place, so the reshape can come first.
bool sink_below_reshape(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("reshape") || !node.result()->tensor().layout.is_contiguous()) return false;
  Node* expand = producer_of(node.operand(0), "expand");
  if (expand == nullptr) return false;
  const Shape& from = expand->result()->shape();
  const Shape& to = node.result()->shape();
  Value* x = expand->operand(0);
  const size_t lead = from.size() - x->shape().size();
  Shape small;
  size_t at = 0;
  for (const DimExpr& dim : to) {
    if (dim.is_value(1)) {
      small.emplace_back(1);
      continue;
    }
    while (at < from.size() && from[at].is_value(1)) ++at;
    if (at == from.size() || !(from[at] == dim)) return false;
    small.push_back(at < lead ? DimExpr(1) : x->shape()[at - lead]);
    ++at;
  }
  while (at < from.size() && from[at].is_value(1)) ++at;
  if (at != from.size() || !r.allowed()) return false;
  return r.replace(r.create("expand", {r.reshape(x, small)}, {{"shape", to}}));
}

bool sink_below_permute(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("permute") || !node.result()->tensor().layout.is_contiguous()) return false;
  Node* expand = producer_of(node.operand(0), "expand");
  if (expand == nullptr || !r.allowed()) return false;
  Value* x = expand->operand(0);
  Shape full(node.result()->shape().size() - x->shape().size(), DimExpr(1));
  full.insert(full.end(), x->shape().begin(), x->shape().end());
  Value* small = r.create("permute", {r.reshape(x, full)}, {{"order", node.get_ints("order")}});
  return r.replace(r.create("expand", {small}, {{"shape", node.result()->shape()}}));
}

// A slice along an axis that repeats takes a part of the repetitions.
bool sink_below_slice(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("slice") || !node.result()->tensor().layout.is_contiguous()) return false;
  Node* expand = producer_of(node.operand(0), "expand");
  if (expand == nullptr) return false;
  Value* x = expand->operand(0);
  const int64_t axis = node.get_int("axis");
  const int64_t own = axis - (node.result()->tensor().rank() - x->tensor().rank());
  const bool repeats = own < 0 || !(x->shape()[static_cast<size_t>(own)] ==
                                    expand->result()->shape()[static_cast<size_t>(axis)]);
  if (!r.allowed()) return false;
  if (!repeats) {
    x = r.create("slice", {x},
                 {{"axis", own},
                  {"start", node.get_dim("start")},
                  {"end", node.get_dim("end")},
                  {"step", node.get_dim("step")}});
  }
  return r.replace(r.create("expand", {x}, {{"shape", node.result()->shape()}}));
}

// Rows of a table for indices that repeat are rows that repeat.
bool sink_below_embedding(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("embedding") || !node.result()->tensor().layout.is_contiguous()) return false;
  Node* expand = producer_of(node.operand(1), "expand");
  if (expand == nullptr || !r.allowed()) return false;
  Value* rows = r.create_like(node, {node.operand(0), expand->operand(0)});
  return r.replace(r.create("expand", {rows}, {{"shape", node.result()->shape()}}));
}

// The source of an expand to the full rank that leaves one axis as it is; null otherwise.
Value* source_keeping_axis(Value* value, size_t axis) {
  Node* expand = producer_of(value, "expand");
  if (expand == nullptr || !value->tensor().layout.is_contiguous()) return nullptr;
  Value* source = expand->operand(0);
  if (source->shape().size() != value->shape().size()) return nullptr;
  return source->shape()[axis] == value->shape()[axis] ? source : nullptr;
}

// Tensors joined along an axis that none of them repeats, all repeating the others alike.
bool sink_below_concat(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("concat") || !node.result()->tensor().layout.is_contiguous()) return false;
  const auto axis = static_cast<size_t>(node.get_int("axis"));
  std::vector<Value*> parts;
  for (Value* operand : node.operands()) {
    Value* source = source_keeping_axis(operand, axis);
    if (source == nullptr) return false;
    Shape shape = source->shape();
    if (!parts.empty()) shape[axis] = parts[0]->shape()[axis];
    if (!parts.empty() && !(shape == parts[0]->shape())) return false;
    parts.push_back(source);
  }
  if (!r.allowed()) return false;
  return r.replace(
      r.create("expand", {r.create_like(node, parts)}, {{"shape", node.result()->shape()}}));
}

bool sink_below_scan(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("cumsum") && !node.is("cumprod")) return false;
  Value* source = source_keeping_axis(node.operand(0), static_cast<size_t>(node.get_int("axis")));
  if (source == nullptr || !node.result()->tensor().layout.is_contiguous() || !r.allowed()) {
    return false;
  }
  return r.replace(
      r.create("expand", {r.create_like(node, {source})}, {{"shape", node.result()->shape()}}));
}

}  // namespace

KILN_PASS(sink_expands, "expand moves behind what can work on the small tensor") {
  return rewrite_all(
      module, context,
      {sink_below_elementwise, drop_before_attention, sink_below_reshape, sink_below_permute,
       sink_below_slice, sink_below_embedding, sink_below_concat, sink_below_scan});
}

}  // namespace kiln
