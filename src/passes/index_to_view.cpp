// index-to-view: lookups by consecutive numbers are views.
//
//   %0 = iota() {length=?s, dtype=i64} : i64[?s]
//   %1 = embedding(%c0, %0) : f32[?s,8]                       ?s at most the rows of c0
// becomes
//   %0 = slice(%c0) {axis=0, start=0, end=?s} : f32[?s,8]
//
// and x[i, j] with i = 0, 1, ... over a whole axis and j the same over the next one, as padding
// masks are read in transformers, is a reshape. Numbers that could be out of range stay a lookup,
// which raises.
#include "ir/op_def.h"
#include "passes/index_form.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// The one axis of `shape` along which the index counts up by one; -1 when it is not of that form.
int counting_axis(const IndexForm& form, const Shape& shape) {
  int axis = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (form.factors[i].is_value(0)) continue;
    if (axis >= 0 || !form.factors[i].is_value(1)) return -1;
    axis = static_cast<int>(i);
  }
  return axis;
}

bool embedding(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("embedding")) return false;
  Value* table = node.operand(0);
  const Shape& shape = node.operand(1)->shape();
  const std::optional<IndexForm> form = index_form(r.module(), node.operand(1), shape);
  if (!form) return false;
  const int axis = counting_axis(*form, shape);
  if (axis < 0) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (static_cast<int>(i) != axis && !shape[i].is_value(1)) return false;
  }
  const SymbolRanges& symbols = r.module().symbols;
  const DimExpr end = form->constant + shape[static_cast<size_t>(axis)];
  const bool inside =
      form->constant.range(symbols).min >= 0 && (end - table->shape()[0]).range(symbols).max <= 0;
  if (!inside || !node.result()->tensor().layout.is_contiguous() || !r.allowed()) return false;
  Value* rows =
      r.create("slice", {table}, {{"axis", int64_t{0}}, {"start", form->constant}, {"end", end}});
  return r.replace(r.reshape(rows, node.result()->shape()));
}

bool whole_index(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("index") || !node.result()->tensor().layout.is_contiguous()) return false;
  Value* x = node.operand(0);
  const std::vector<int64_t>& axes = node.get_ints("axes");
  // Neighbouring axes: the joint shape of the indices stands in their place.
  for (size_t i = 1; i < axes.size(); ++i) {
    if (axes[i] != axes[i - 1] + 1) return false;
  }
  const size_t behind = x->shape().size() - axes.size() - static_cast<size_t>(axes[0]);
  const Shape& to = node.result()->shape();
  const Shape joint(to.begin() + axes[0], to.end() - static_cast<std::ptrdiff_t>(behind));
  std::vector<bool> counted(joint.size(), false);
  int last = -1;
  for (size_t i = 0; i < axes.size(); ++i) {
    const DimExpr& size = x->shape()[static_cast<size_t>(axes[i])];
    const std::optional<IndexForm> form =
        index_form(r.module(), node.operand(static_cast<int>(i) + 1), joint);
    if (!form || !form->constant.is_value(0)) return false;
    const int axis = counting_axis(*form, joint);
    if (axis < 0 && size.is_value(1)) continue;  // always 0 on an axis of size 1
    if (axis <= last || !(joint[static_cast<size_t>(axis)] == size)) return false;
    counted[static_cast<size_t>(axis)] = true;
    last = axis;
  }
  for (size_t i = 0; i < joint.size(); ++i) {
    if (!counted[i] && !joint[i].is_value(1)) return false;
  }
  return r.allowed() && r.replace(r.reshape(x, to));
}

}  // namespace

KILN_PASS(index_to_view, "lookups by consecutive numbers are views") {
  return rewrite_all(module, context, {embedding, whole_index});
}

}  // namespace kiln
