// hoist-slices: slices move up, over permutes and reshapes.
//
//   %0 = linear(%x, %c0) : f32[1,197,2304]
//   %1 = reshape(%0) {shape=[1,197,3,768]} : f32[1,197,3,768]
//   %2 = permute(%1) {order=[2,1,0,3]} : f32[3,197,1,768]
//   %3 = slice(%2) {axis=0, start=1, end=2} : f32[1,197,1,768]
// becomes
//   %0 = linear(%x, %c0) : f32[1,197,2304]
//   %1 = slice(%0) {axis=2, start=768, end=1536} : f32[1,197,768]
//   %2 = reshape(%1) {shape=[1,197,1,768]} : f32[1,197,1,768]
//   %3 = permute(%2) {order=[2,1,0,3]} : f32[1,197,1,768]
//
// What is not needed is not moved, and the parts of a projection are seen as such, however it was
// reshaped before it was taken apart. It comes after hoist-reshapes: a linear whose rows are joined
// must have met the reshape behind it before that one has several slices in front.
#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

AttrList slice_fields(int64_t axis, DimExpr start, DimExpr end, DimExpr step) {
  return {{"axis", axis},
          {"start", std::move(start)},
          {"end", std::move(end)},
          {"step", std::move(step)}};
}

bool slice_above_permute(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("slice")) return false;
  Node* permute = producer_of(node.operand(0), "permute");
  if (permute == nullptr || !r.allowed()) return false;
  const Ints& order = permute->get_ints("order");
  Value* part =
      r.create("slice", {permute->operand(0)},
               slice_fields(order[static_cast<size_t>(node.get_int("axis"))], node.get_dim("start"),
                            node.get_dim("end"), node.get_dim("step")));
  return r.replace(r.create("permute", {part}, {{"order", order}}));
}

// Axes [begin, end) of `to` that one axis of `from` was split into, or that are that axis. An axis
// of size 1 belongs to none.
struct Split {
  size_t from = 0;
  size_t begin = 0;
  size_t end = 0;
};

// The split that holds `axis` of `to`; false when axes of `from` were joined before it is reached.
bool find_split(const Shape& from, const Shape& to, size_t axis, Split* split) {
  size_t at = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i].is_value(1)) continue;
    DimExpr product = 1;
    while (at < to.size() && to[at].is_value(1)) ++at;
    const size_t begin = at;
    while (at < to.size() && !(product == from[i])) product *= to[at++];
    if (!(product == from[i])) return false;
    if (axis >= begin && axis < at) {
      *split = {i, begin, at};
      return true;
    }
  }
  return false;
}

bool slice_above_reshape(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("slice") || !node.get_dim("step").is_value(1)) return false;
  Node* reshape = producer_of(node.operand(0), "reshape");
  if (reshape == nullptr) return false;
  const Shape& from = reshape->operand(0)->shape();
  const Shape& to = reshape->result()->shape();
  const auto axis = static_cast<size_t>(node.get_int("axis"));
  Split split;
  // A size of 0 or an axis of size 1 has no place of its own among the others.
  if (to[axis].is_value(1) || !find_split(from, to, axis, &split)) return false;
  for (const DimExpr& dim : to) {
    if (dim.range(r.module().symbols).min < 1) return false;
  }
  // Outermost of its split, so that its parts lie together.
  for (size_t i = split.begin; i < axis; ++i) {
    if (!to[i].is_value(1)) return false;
  }
  DimExpr inner = 1;
  for (size_t i = axis + 1; i < split.end; ++i) inner *= to[i];
  if (!r.allowed()) return false;
  Value* part =
      r.create("slice", {reshape->operand(0)},
               slice_fields(static_cast<int64_t>(split.from), node.get_dim("start") * inner,
                            node.get_dim("end") * inner, 1));
  return r.replace(r.reshape(part, node.result()->shape()));
}

}  // namespace

KILN_PASS(hoist_slices, "slices move up, over permutes and reshapes") {
  return rewrite_all(module, context, {slice_above_permute, slice_above_reshape});
}

}  // namespace kiln
