#include "backends/operand_views.h"

#include <utility>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

PlanView transposed(PlanView view) {
  const size_t rank = view.dims.size();
  std::swap(view.dims[rank - 2], view.dims[rank - 1]);
  std::swap(view.strides[rank - 2], view.strides[rank - 1]);
  return view;
}

// [..., k] as one matrix where strides allow it; else the outer dims stay as batch dims.
bool as_matrix(const PlanView& view, PlanView* out) {
  const Shape rows(view.dims.begin(), view.dims.end() - 1);
  return reshape_view(view, {num_elements(rows), view.dims.back()}, out);
}

// a and c as one matrix each, when both can be.
bool merge_rows(ProductViews& views) {
  PlanView a, c;
  if (!as_matrix(views.a, &a) || !as_matrix(views.c, &c)) return false;
  views.a = std::move(a);
  views.c = std::move(c);
  return true;
}

// Dims of [..., heads, length, dim] as [batch, heads, length, dim].
Shape four_dims(const Shape& dims) {
  Shape result{num_elements(Shape(dims.begin(), dims.end() - 3))};
  result.insert(result.end(), dims.end() - 3, dims.end());
  return result;
}

// The view with that; copies only where more than two batch dims cannot be merged by strides.
PlanView as_four_dims(const PlanView& view, const Origin& origin, EngineLowering& lowering) {
  PlanView result = view;
  while (result.dims.size() < 4) {
    result.dims.insert(result.dims.begin(), DimExpr(1));
    result.strides.insert(result.strides.begin(), DimExpr(0));
  }
  if (view.dims.size() <= 4) return result;
  const Shape dims = four_dims(view.dims);
  PlanView merged;
  if (reshape_view(view, dims, &merged)) return merged;
  KILN_CHECK(reshape_view(lowering.materialize(view, {}, origin), dims, &merged));
  return merged;
}

// The mask with the rank of the scores; dims that it lacks have size 1. More than four dims are
// expanded to the sizes of the scores, so that batch dims can be merged.
PlanView mask_view(const PlanView& mask, const Shape& scores) {
  PlanView result = mask;
  while (result.dims.size() < scores.size()) {
    result.dims.insert(result.dims.begin(), DimExpr(1));
    result.strides.insert(result.strides.begin(), DimExpr(0));
  }
  if (scores.size() <= 4) return result;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (result.dims[i] == scores[i]) continue;
    result.dims[i] = scores[i];
    result.strides[i] = DimExpr(0);
  }
  return result;
}

}  // namespace

ProductViews linear_views(Node& node, EngineLowering& lowering) {
  ProductViews views;
  views.a = lowering.view(node.operand(0));
  views.b = transposed(lowering.view(node.operand(1)));
  views.c = lowering.allocate(node.result());
  // Without rows of its own, a vector is merged.
  if (!merge_rows(views)) KILN_CHECK(views.a.dims.size() >= 2);
  return views;
}

ProductViews matmul_views(Node& node, EngineLowering& lowering) {
  ProductViews views;
  views.a = lowering.view(node.operand(0));
  views.b = lowering.view(node.operand(1));
  if (node.get_bool("transpose_a")) views.a = transposed(views.a);
  if (node.get_bool("transpose_b")) views.b = transposed(views.b);
  views.c = lowering.allocate(node.result());
  // A batch of matrices times one matrix is one product.
  if (views.b.dims.size() == 2 && views.a.dims.size() > 2) merge_rows(views);
  return views;
}

AttentionViews attention_views(Node& node, EngineLowering& lowering) {
  AttentionViews views;
  const Shape& q = node.operand(0)->shape();
  for (int i = 0; i < 3; ++i) {
    views.inputs.push_back(as_four_dims(lowering.view(node.operand(i)), node.origin, lowering));
  }
  if (node.has_operand(3)) {
    Shape scores = q;
    scores.back() = node.operand(1)->shape()[q.size() - 2];
    const PlanView mask = mask_view(lowering.view(node.operand(3)), scores);
    views.inputs.push_back(as_four_dims(mask, node.origin, lowering));
  }
  views.result = views.beside = lowering.allocate(node.result());
  if (q.size() <= 4) {
    views.out = as_four_dims(views.result, node.origin, lowering);
    return views;
  }
  const Shape dims = four_dims(views.result.dims);
  if (reshape_view(views.result, dims, &views.out)) return views;
  views.copies = true;
  views.beside = lowering.allocate_temp(node.result()->dtype(), views.result.dims);
  KILN_CHECK(reshape_view(views.beside, dims, &views.out));
  return views;
}

}  // namespace kiln
