// Views and copies: the shape changes, the elements do not.
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
void squeeze_dim(ImportCall& call) {
  squeeze_axes(call, {call.axis(1, rank_of(call.tensor(0)))});
}
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
    while (moved[next]) ++next;
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

// ---- parts

void select(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  call.result(emit_select(call, x, axis, wrap_index(call, call.dim(2), size_of(call, x, axis))));
}
KILN_ATEN_RULE(select, "aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)");
KILN_ATEN_RULE(select, "aten::select_copy.int(Tensor self, int dim, SymInt index) -> Tensor");

// Python's slice: None, negative and too large bounds.
struct Bounds {
  DimExpr start, end;
};
Bounds slice_bounds(ImportCall& call, int start, int end, const DimExpr& size) {
  Bounds bounds{0, size};
  if (!call.is_none(start)) {
    bounds.start = smaller(call, wrap_index(call, call.dim(start), size), size);
  }
  if (!call.is_none(end)) bounds.end = smaller(call, wrap_index(call, call.dim(end), size), size);
  bounds.end = larger(call, bounds.start, bounds.end);
  return bounds;
}

void slice(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  const Bounds bounds = slice_bounds(call, 2, 3, size_of(call, x, axis));
  call.result(emit_slice(call, x, axis, bounds.start, bounds.end, call.dim(4)));
}
KILN_ATEN_RULE(slice,
               "aten::slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? "
               "end=None, SymInt step=1) -> Tensor(a)");
KILN_ATEN_RULE(slice,
               "aten::slice_copy.Tensor(Tensor self, int dim=0, SymInt? start=None, SymInt? "
               "end=None, SymInt step=1) -> Tensor");

void narrow(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  const DimExpr start = wrap_index(call, call.dim(2), size_of(call, x, axis));
  call.result(emit_slice(call, x, axis, start, start + call.dim(3)));
}
KILN_ATEN_RULE(narrow,
               "aten::narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)");
KILN_ATEN_RULE(narrow,
               "aten::narrow_copy(Tensor self, int dim, SymInt start, SymInt length) -> Tensor");

void split_at(ImportCall& call, Value* x, int64_t axis, const std::vector<DimExpr>& sizes) {
  DimExpr start = 0;
  for (const DimExpr& size : sizes) {
    call.result(emit_slice(call, x, axis, start, start + size));
    start += size;
  }
}

void split_with_sizes(ImportCall& call) {
  Value* x = call.tensor(0);
  split_at(call, x, call.axis(2, rank_of(x)), call.dims(1));
}
KILN_ATEN_RULE(split_with_sizes,
               "aten::split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, int dim=0) -> "
               "Tensor(a)[]");
KILN_ATEN_RULE(split_with_sizes,
               "aten::split_with_sizes_copy(Tensor self, SymInt[] split_sizes, int dim=0) -> "
               "Tensor[]");
KILN_ATEN_RULE(split_with_sizes,
               "aten::split.sizes(Tensor(a -> *) self, SymInt[] split_size, int dim=0) -> "
               "Tensor(a)[]");

// The number of parts is what capture saw; all but the last are of the given size.
void split_evenly(ImportCall& call, const DimExpr& part) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(2, rank_of(x));
  const DimExpr size = size_of(call, x, axis);
  std::vector<DimExpr> sizes;
  DimExpr rest = size;
  for (int i = 0; i + 1 < call.num_results(); ++i) {
    sizes.push_back(part);
    rest = rest - part;
  }
  sizes.push_back(rest);
  split_at(call, x, axis, sizes);
}
void split(ImportCall& call) { split_evenly(call, call.dim(1)); }
void chunk(ImportCall& call) {
  Value* x = call.tensor(0);
  const DimExpr size = size_of(call, x, call.axis(2, rank_of(x)));
  const int64_t chunks = call.integer(1);
  if (chunks < 1) call.refuse("chunk into no parts");
  split_evenly(call, size.is_constant() ? DimExpr::floordiv(size + (chunks - 1), chunks)
                                        : call.captured().tensor().shape.at(static_cast<size_t>(
                                              call.axis(2, rank_of(x)))));
}
KILN_ATEN_RULE(split,
               "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> "
               "Tensor(a)[]");
KILN_ATEN_RULE(split,
               "aten::split_copy.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]");
KILN_ATEN_RULE(chunk, "aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]");

// The first size % sections parts are one larger.
void tensor_split_sections(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(2, rank_of(x));
  const int64_t sections = call.integer(1);
  const DimExpr& size = size_of(call, x, axis);
  if (!size.is_constant() || sections < 1) call.refuse("sections of a symbolic size", "K1303");
  std::vector<DimExpr> sizes;
  for (int64_t i = 0; i < sections; ++i) {
    sizes.push_back(size.value() / sections + (i < size.value() % sections ? 1 : 0));
  }
  split_at(call, x, axis, sizes);
}
void tensor_split_indices(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(2, rank_of(x));
  const DimExpr size = size_of(call, x, axis);
  std::vector<DimExpr> starts{0};
  for (const DimExpr& index : call.dims(1)) {
    starts.push_back(smaller(call, wrap_index(call, index, size), size));
  }
  starts.push_back(size);
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    call.result(emit_slice(call, x, axis, starts[i], larger(call, starts[i], starts[i + 1])));
  }
}
KILN_ATEN_RULE(tensor_split_sections,
               "aten::tensor_split.sections(Tensor(a -> *) self, SymInt sections, int dim=0) -> "
               "Tensor(a)[]");
KILN_ATEN_RULE(tensor_split_indices,
               "aten::tensor_split.indices(Tensor(a -> *) self, SymInt[] indices, int dim=0) -> "
               "Tensor(a)[]");

void unbind(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  for (int i = 0; i < call.num_results(); ++i) call.result(emit_select(call, x, axis, i));
}
KILN_ATEN_RULE(unbind, "aten::unbind.int(Tensor(a -> *) self, int dim=0) -> Tensor(a)[]");
KILN_ATEN_RULE(unbind, "aten::unbind_copy.int(Tensor self, int dim=0) -> Tensor[]");

// x[i, i + offset]: an index op over two constant index vectors, then the diagonal goes last.
void diagonal(ImportCall& call) {
  Value* x = call.tensor(0);
  const int rank = rank_of(x);
  if (rank < 2) call.refuse("diagonal of less than a matrix");
  const int64_t offset = call.integer(1);
  const int64_t a = call.axis(2, rank), b = call.axis(3, rank);
  if (a == b) call.refuse("diagonal of one dim");
  const DimExpr first_a = std::max<int64_t>(-offset, 0), first_b = std::max<int64_t>(offset, 0);
  const DimExpr length = larger(call, smaller(call, size_of(call, x, a) - first_a,
                                              size_of(call, x, b) - first_b), 0);
  Value* index_a = emit_iota(call, length, DType::kI64, first_a);
  Value* index_b = emit_iota(call, length, DType::kI64, first_b);
  std::vector<int64_t> axes{a, b};
  std::vector<Value*> operands{x, index_a, index_b};
  if (a > b) {
    std::swap(axes[0], axes[1]);
    std::swap(operands[1], operands[2]);
  }
  Value* picked = call.emit("index", operands, {{"axes", axes}});
  // NumPy's rule: neighbouring index axes leave their result in place, others in front.
  const int64_t at = axes[1] == axes[0] + 1 ? axes[0] : 0;
  std::vector<int64_t> order;
  for (int64_t i = 0; i < rank - 1; ++i) {
    if (i != at) order.push_back(i);
  }
  order.push_back(at);
  call.result(emit_permute(call, picked, order));
}
KILN_ATEN_RULE(diagonal,
               "aten::diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)");
KILN_ATEN_RULE(diagonal,
               "aten::diagonal_copy(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor");

// Windows of `size` every `step` along an axis; their elements become the last axis.
void unfold(ImportCall& call) {
  Value* x = call.tensor(0);
  const int rank = rank_of(x);
  if (rank == 0) call.refuse("windows of a scalar");
  const int64_t axis = call.axis(1, rank);
  const int64_t size = call.integer(2), step = call.integer(3);
  if (size < 1 || step < 1) call.refuse("windows without elements");
  const DimExpr windows = DimExpr::floordiv(size_of(call, x, axis) - size, step) + 1;
  Value* starts = call.emit("iota", {}, {{"length", windows}, {"dtype", DType::kI64},
                                         {"step", DimExpr(step)}});
  Value* index = call.emit("add", {call.reshape(starts, {windows, 1}),
                                   emit_iota(call, size, DType::kI64)});
  Value* picked = call.emit("index", {x, index}, {{"axes", std::vector<int64_t>{axis}}});
  std::vector<int64_t> order;
  for (int64_t i = 0; i <= rank; ++i) {
    if (i != axis + 1) order.push_back(i);
  }
  order.push_back(axis + 1);
  call.result(emit_permute(call, picked, order));
}
KILN_ATEN_RULE(unfold,
               "aten::unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a)");
KILN_ATEN_RULE(unfold,
               "aten::unfold_copy(Tensor self, int dimension, int size, int step) -> Tensor");

// ---- the tensor itself, or a copy

void itself(ImportCall& call) { call.result(call.tensor(0)); }
KILN_ATEN_RULE(itself,
               "aten::contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::detach(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::alias(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::lift_fresh(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::positive(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::resolve_conj(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::resolve_neg(Tensor(a) self) -> Tensor(a)");

void copy_of(ImportCall& call) { call.fresh_result(call.tensor(0)); }
KILN_ATEN_RULE(copy_of, "aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor");
KILN_ATEN_RULE(copy_of, "aten::lift_fresh_copy(Tensor self) -> Tensor");
KILN_ATEN_RULE(copy_of, "aten::detach_copy(Tensor self) -> Tensor");
KILN_ATEN_RULE(copy_of, "aten::alias_copy(Tensor self) -> Tensor");

// A conversion; torch gives the tensor itself back when nothing changes and no copy is asked for.
void convert(ImportCall& call, DType dtype, bool copy) {
  Value* x = call.cast(call.tensor(0), dtype);
  if (copy) {
    call.fresh_result(x);
  } else {
    call.result(x);
  }
}
void to_dtype_layout(ImportCall& call) {
  require_strided(call, 2);
  require_cpu(call, 3);
  convert(call, call.dtype_or(1, call.tensor(0)->dtype()), call.boolean(6));
}
void to_device(ImportCall& call) {
  require_cpu(call, 1);
  convert(call, call.dtype_or(2, call.tensor(0)->dtype()), call.boolean(4));
}
void to_dtype(ImportCall& call) {
  convert(call, call.dtype_or(1, call.tensor(0)->dtype()), call.boolean(3));
}
void to_other(ImportCall& call) { convert(call, call.tensor(1)->dtype(), call.boolean(3)); }
void type_as(ImportCall& call) { convert(call, call.tensor(1)->dtype(), false); }
void to_copy(ImportCall& call) {
  require_strided(call, 2);
  require_cpu(call, 3);
  convert(call, call.dtype_or(1, call.tensor(0)->dtype()), true);
}
KILN_ATEN_RULE(to_dtype_layout,
               "aten::to.dtype_layout(Tensor(a) self, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None, bool "
               "non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> "
               "Tensor(a)");
KILN_ATEN_RULE(to_device,
               "aten::to.device(Tensor(a) self, Device device, ScalarType dtype, bool "
               "non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> "
               "Tensor(a)");
KILN_ATEN_RULE(to_dtype,
               "aten::to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool "
               "copy=False, MemoryFormat? memory_format=None) -> Tensor(a)");
KILN_ATEN_RULE(to_other,
               "aten::to.other(Tensor(a) self, Tensor other, bool non_blocking=False, bool "
               "copy=False, MemoryFormat? memory_format=None) -> Tensor(a)");
KILN_ATEN_RULE(type_as, "aten::type_as(Tensor self, Tensor other) -> Tensor");
KILN_ATEN_RULE(to_copy,
               "aten::_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None, bool non_blocking=False, "
               "MemoryFormat? memory_format=None) -> Tensor");

// ---- replacing the whole contents (functional forms of copy_, fill_, zero_)

void copy(ImportCall& call) {
  Value* x = call.tensor(0);
  call.fresh_result(emit_expand(call, call.cast(call.tensor(1), x->dtype()), x->shape()));
}
void fill(ImportCall& call) {
  Value* x = call.tensor(0);
  call.fresh_result(emit_full_of(call, x->shape(), x->dtype(), 1));
}
void zero(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(emit_full(call, x->shape(), x->dtype(), 0));
}
KILN_ATEN_RULE(copy, "aten::copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor");
KILN_ATEN_RULE(fill, "aten::fill.Scalar(Tensor self, Scalar value) -> Tensor");
KILN_ATEN_RULE(fill, "aten::fill.Tensor(Tensor self, Tensor value) -> Tensor");
KILN_ATEN_RULE(zero, "aten::zero(Tensor self) -> Tensor");

// ---- replacing a part: the functional forms of writes through views

Value* replaced_along(ImportCall& call, Value* x, Value* part, int64_t axis, const DimExpr& start,
                      const DimExpr& end) {
  std::vector<Value*> parts;
  const DimExpr size = size_of(call, x, axis);
  if (!start.is_value(0)) parts.push_back(emit_slice(call, x, axis, 0, start));
  parts.push_back(part);
  if (!(end == size)) parts.push_back(emit_slice(call, x, axis, end, size));
  return emit_concat(call, parts, axis);
}

void slice_scatter(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(2, rank_of(x));
  const DimExpr size = size_of(call, x, axis);
  const Bounds bounds = slice_bounds(call, 3, 4, size);
  const DimExpr step = call.dim(5);
  Value* part = call.cast(call.tensor(1), x->dtype());
  Shape shape = x->shape();
  if (step.is_value(1)) {
    shape[static_cast<size_t>(axis)] = bounds.end - bounds.start;
    part = emit_expand(call, part, shape);
    call.fresh_result(replaced_along(call, x, part, axis, bounds.start, bounds.end));
    return;
  }
  const DimExpr count = DimExpr::floordiv(bounds.end - bounds.start + step - 1, step);
  Value* index = call.emit("iota", {}, {{"length", count}, {"dtype", DType::kI64},
                                        {"start", bounds.start}, {"step", step}});
  call.result(call.emit("index_put", {x, part, index}, {{"axes", std::vector<int64_t>{axis}}}));
}
KILN_ATEN_RULE(slice_scatter,
               "aten::slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, "
               "SymInt? end=None, SymInt step=1) -> Tensor");

void select_scatter(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(2, rank_of(x));
  const DimExpr index = wrap_index(call, call.dim(3), size_of(call, x, axis));
  Shape shape = x->shape();
  shape[static_cast<size_t>(axis)] = 1;
  Value* part = call.reshape(call.cast(call.tensor(1), x->dtype()), shape);
  call.fresh_result(replaced_along(call, x, part, axis, index, index + 1));
}
KILN_ATEN_RULE(select_scatter,
               "aten::select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor");

// ---- statements about tensors that compute nothing

void nothing(ImportCall&) {}
KILN_ATEN_RULE(nothing,
               "aten::_assert_tensor_metadata(Tensor a, SymInt[]? size=None, SymInt[]? "
               "stride=None, ScalarType? dtype=None, *, Device? device=None, Layout? "
               "layout=None) -> ()");
KILN_ATEN_RULE(nothing,
               "aten::sym_constrain_range(Scalar size, *, int? min=None, int? max=None) -> ()");
KILN_ATEN_RULE(nothing, "aten::sym_constrain_range_for_size(Scalar size, *, int? min=None, "
                        "int? max=None) -> ()");
KILN_ATEN_RULE(nothing, "aten::_assert_scalar(Scalar self, str assert_msg) -> ()");

}  // namespace
}  // namespace kiln
