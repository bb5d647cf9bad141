// Views of all elements: another shape, another order of the axes, broadcasting.
#include <algorithm>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

// ---- the same elements in the same order

// Fills in a -1 from the number of elements; what cannot be proved is taken from capture.
Shape resolve_shape(ImportCall& call, Shape shape, const DimExpr& elements, size_t captured_from) {
  const Shape& seen = call.captured().tensor().shape;
  DimExpr known = 1;
  int64_t open = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i].is_value(-1)) {
      open = static_cast<int64_t>(i);
    } else {
      known *= shape[i];
    }
  }
  if (open < 0) return shape;
  DimExpr& size = shape[static_cast<size_t>(open)];
  if (known.is_value(0) || !DimExpr::divide_exactly(elements, known, &size)) {
    const size_t at = captured_from + static_cast<size_t>(open);
    size = at < seen.size() ? seen[at] : DimExpr::floordiv(elements, known);
  }
  return shape;
}

void view(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(call.reshape(x, resolve_shape(call, call.dims(1), num_elements(x->shape()), 0)));
}
KILN_ATEN_RULE(view, "aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)");
KILN_ATEN_RULE(view, "aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)");
KILN_ATEN_RULE(view, "aten::_unsafe_view(Tensor self, SymInt[] size) -> Tensor");
KILN_ATEN_RULE(view, "aten::view_copy(Tensor self, SymInt[] size) -> Tensor");

void reshape_alias(ImportCall& call) { call.result(call.reshape(call.tensor(0), call.dims(1))); }
KILN_ATEN_RULE(reshape_alias,
               "aten::_reshape_alias(Tensor(a) self, SymInt[] size, SymInt[] stride) -> Tensor(a)");

void view_as(ImportCall& call) {
  call.result(call.reshape(call.tensor(0), call.tensor(1)->shape()));
}
KILN_ATEN_RULE(view_as, "aten::view_as(Tensor(a) self, Tensor other) -> Tensor(a)");
KILN_ATEN_RULE(view_as, "aten::reshape_as(Tensor(a) self, Tensor other) -> Tensor(a)");

Value* flatten_axes(ImportCall& call, Value* x, int64_t first, int64_t last) {
  Shape shape = x->shape();
  if (shape.empty()) return call.reshape(x, {DimExpr(1)});
  if (first > last) call.refuse("flatten of no dims");
  DimExpr merged = 1;
  for (int64_t i = first; i <= last; ++i) merged *= shape[static_cast<size_t>(i)];
  shape.erase(shape.begin() + first, shape.begin() + last + 1);
  shape.insert(shape.begin() + first, merged);
  return call.reshape(x, std::move(shape));
}

void flatten(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(flatten_axes(call, x, call.axis(1, rank_of(x)), call.axis(2, rank_of(x))));
}
KILN_ATEN_RULE(flatten,
               "aten::flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> "
               "Tensor(a)");

void ravel(ImportCall& call) { call.result(emit_flatten(call, call.tensor(0))); }
KILN_ATEN_RULE(ravel, "aten::ravel(Tensor(a) self) -> Tensor(a)");

void unflatten(ImportCall& call) {
  Value* x = call.tensor(0);
  const auto axis = static_cast<size_t>(call.axis(1, rank_of(x)));
  const Shape parts =
      resolve_shape(call, call.dims(2), size_of(call, x, static_cast<int64_t>(axis)), axis);
  Shape shape = x->shape();
  shape.erase(shape.begin() + static_cast<ptrdiff_t>(axis));
  shape.insert(shape.begin() + static_cast<ptrdiff_t>(axis), parts.begin(), parts.end());
  call.result(call.reshape(x, std::move(shape)));
}
KILN_ATEN_RULE(unflatten,
               "aten::unflatten.int(Tensor(a) self, int dim, SymInt[] sizes) -> Tensor(a)");

void squeeze_axes(ImportCall& call, const std::vector<int64_t>& axes) {
  Value* x = call.tensor(0);
  Shape shape;
  for (size_t i = 0; i < x->shape().size(); ++i) {
    const bool named = std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end();
    if (!named || !x->shape()[i].is_value(1)) shape.push_back(x->shape()[i]);
  }
  call.result(call.reshape(x, std::move(shape)));
}
void squeeze(ImportCall& call) { squeeze_axes(call, all_axes(call.tensor(0))); }
void squeeze_dim(ImportCall& call) { squeeze_axes(call, {call.axis(1, rank_of(call.tensor(0)))}); }
void squeeze_dims(ImportCall& call) {
  const int rank = rank_of(call.tensor(0));
  std::vector<int64_t> axes = call.integers(1);  // an empty list names none here
  for (int64_t& axis : axes) axis = ImportCall::wrap_axis(axis, rank);
  squeeze_axes(call, axes);
}
KILN_ATEN_RULE(squeeze, "aten::squeeze(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(squeeze_dim, "aten::squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)");
KILN_ATEN_RULE(squeeze_dims, "aten::squeeze.dims(Tensor(a) self, int[] dim) -> Tensor(a)");
KILN_ATEN_RULE(squeeze, "aten::squeeze_copy(Tensor self) -> Tensor");
KILN_ATEN_RULE(squeeze_dim, "aten::squeeze_copy.dim(Tensor self, int dim) -> Tensor");
KILN_ATEN_RULE(squeeze_dims, "aten::squeeze_copy.dims(Tensor self, int[] dim) -> Tensor");

void unsqueeze(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(emit_unsqueeze(call, x, call.axis(1, rank_of(x) + 1)));
}
KILN_ATEN_RULE(unsqueeze, "aten::unsqueeze(Tensor(a) self, int dim) -> Tensor(a)");
KILN_ATEN_RULE(unsqueeze, "aten::unsqueeze_copy(Tensor self, int dim) -> Tensor");

// A vector becomes a row, of a cube the middle axis; a matrix the front of a cube.
template <int kRank>
void at_least(ImportCall& call) {
  Shape shape = call.tensor(0)->shape();
  if (kRank == 3 && shape.size() == 2) shape.push_back(1);
  if (kRank == 3 && shape.size() == 1) shape.push_back(1);
  while (static_cast<int>(shape.size()) < kRank) shape.insert(shape.begin(), DimExpr(1));
  call.result(call.reshape(call.tensor(0), std::move(shape)));
}
KILN_ATEN_RULE(at_least<1>, "aten::atleast_1d(Tensor self) -> Tensor");
KILN_ATEN_RULE(at_least<2>, "aten::atleast_2d(Tensor self) -> Tensor");
KILN_ATEN_RULE(at_least<3>, "aten::atleast_3d(Tensor self) -> Tensor");

// ---- another order of the axes

void permute(ImportCall& call) {
  Value* x = call.tensor(0);
  std::vector<int64_t> order = call.integers(1);
  for (int64_t& axis : order) axis = ImportCall::wrap_axis(axis, rank_of(x));
  call.result(emit_permute(call, x, order));
}
KILN_ATEN_RULE(permute, "aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)");
KILN_ATEN_RULE(permute, "aten::permute_copy(Tensor self, int[] dims) -> Tensor");

void transpose(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t a = call.axis(1, rank_of(x)), b = call.axis(2, rank_of(x));
  call.result(emit_transpose(call, x, a, b));
}
KILN_ATEN_RULE(transpose, "aten::transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)");
KILN_ATEN_RULE(transpose, "aten::transpose_copy.int(Tensor self, int dim0, int dim1) -> Tensor");
KILN_ATEN_RULE(transpose, "aten::swapaxes(Tensor(a) self, int axis0, int axis1) -> Tensor(a)");
KILN_ATEN_RULE(transpose, "aten::swapdims(Tensor(a) self, int dim0, int dim1) -> Tensor(a)");

void transpose_matrix(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(rank_of(x) < 2 ? x : emit_transpose(call, x, rank_of(x) - 2, rank_of(x) - 1));
}
KILN_ATEN_RULE(transpose_matrix, "aten::t(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(transpose_matrix, "aten::t_copy(Tensor self) -> Tensor");
KILN_ATEN_RULE(transpose_matrix, "aten::mT(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(transpose_matrix, "aten::mH(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(transpose_matrix, "aten::adjoint(Tensor(a) self) -> Tensor(a)");

void reverse_axes(ImportCall& call) {
  std::vector<int64_t> order = all_axes(call.tensor(0));
  std::reverse(order.begin(), order.end());
  call.result(emit_permute(call, call.tensor(0), order));
}
KILN_ATEN_RULE(reverse_axes, "aten::numpy_T(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(reverse_axes, "aten::matrix_H(Tensor(a) self) -> Tensor(a)");

void movedim(ImportCall& call) {
  Value* x = call.tensor(0);
  const int rank = rank_of(x);
  std::vector<int64_t> from = call.integers(1), to = call.integers(2);
  if (from.size() != to.size()) call.refuse("source and destination differ in length");
  std::vector<int64_t> order(static_cast<size_t>(rank), -1);
  std::vector<bool> moved(static_cast<size_t>(rank), false);
  for (size_t i = 0; i < from.size(); ++i) {
    const int64_t source = ImportCall::wrap_axis(from[i], rank);
    const int64_t target = ImportCall::wrap_axis(to[i], rank);
    if (std::min(source, target) < 0 || std::max(source, target) >= rank) {
      if (rank == 0) continue;
      call.refuse("dim is out of range");
    }
    order[static_cast<size_t>(target)] = source;
    moved[static_cast<size_t>(source)] = true;
  }
  size_t next = 0;
  for (int64_t& axis : order) {
    if (axis >= 0) continue;
    while (next < moved.size() && moved[next]) ++next;
    if (next == moved.size()) call.refuse("destination is named twice");
    axis = static_cast<int64_t>(next++);
  }
  call.result(emit_permute(call, x, order));
}
KILN_ATEN_RULE(movedim,
               "aten::movedim.int(Tensor(a) self, int source, int destination) -> Tensor(a)");
KILN_ATEN_RULE(movedim,
               "aten::movedim.intlist(Tensor(a) self, int[] source, int[] destination) -> "
               "Tensor(a)");
KILN_ATEN_RULE(movedim,
               "aten::moveaxis.int(Tensor(a) self, int source, int destination) -> Tensor(a)");
KILN_ATEN_RULE(movedim,
               "aten::moveaxis.intlist(Tensor(a) self, int[] source, int[] destination) -> "
               "Tensor(a)");

// ---- broadcasting

void expand(ImportCall& call) {
  Value* x = call.tensor(0);
  Shape shape = call.dims(1);
  if (shape.size() < x->shape().size()) call.refuse("expand to a lower rank");
  const size_t added = shape.size() - x->shape().size();
  for (size_t i = added; i < shape.size(); ++i) {
    if (shape[i].is_value(-1)) shape[i] = x->shape()[i - added];
  }
  call.result(emit_expand(call, x, shape));
}
KILN_ATEN_RULE(expand,
               "aten::expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)");
KILN_ATEN_RULE(expand,
               "aten::expand_copy(Tensor self, SymInt[] size, *, bool implicit=False) -> Tensor");
KILN_ATEN_RULE(expand, "aten::broadcast_to(Tensor(a) self, SymInt[] size) -> Tensor(a)");

void expand_as(ImportCall& call) {
  call.result(emit_expand(call, call.tensor(0), call.tensor(1)->shape()));
}
KILN_ATEN_RULE(expand_as, "aten::expand_as(Tensor(a) self, Tensor other) -> Tensor(a)");

}  // namespace
}  // namespace kiln
