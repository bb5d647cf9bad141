// Parts of tensors: slices, rows, splits, diagonals, windows; and writes of a part.
#include <algorithm>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

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
  // A symbolic size is cut as capture saw it.
  const auto axis = static_cast<size_t>(call.axis(2, rank_of(x)));
  if (call.num_results() == 0 || call.captured().tensor().shape.size() <= axis) {
    call.refuse("chunk into no parts");
  }
  split_evenly(call, size.is_constant() ? DimExpr::floordiv(size + (chunks - 1), chunks)
                                        : call.captured().tensor().shape[axis]);
}
KILN_ATEN_RULE(split,
               "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> "
               "Tensor(a)[]");
KILN_ATEN_RULE(split,
               "aten::split_copy.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]");
KILN_ATEN_RULE(chunk, "aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]");

KILN_ATEN_RULE(split,
               "aten::unsafe_split.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]");
KILN_ATEN_RULE(chunk, "aten::unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]");
KILN_ATEN_RULE(split_with_sizes,
               "aten::unsafe_split_with_sizes(Tensor self, SymInt[] split_sizes, int dim=0) -> "
               "Tensor[]");

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

// ---- diagonals

// The index vectors and axes of x[i - min(offset, 0), i + max(offset, 0)].
struct Diagonal {
  std::vector<Value*> indices;
  std::vector<int64_t> axes;  // ascending
  DimExpr length;
};
Diagonal diagonal_of(ImportCall& call, Value* x, int64_t offset, int64_t a, int64_t b) {
  if (a == b) call.refuse("diagonal of one dim");
  const DimExpr first_a = std::max<int64_t>(-offset, 0), first_b = std::max<int64_t>(offset, 0);
  Diagonal diagonal;
  diagonal.length =
      larger(call, smaller(call, size_of(call, x, a) - first_a, size_of(call, x, b) - first_b), 0);
  diagonal.indices = {emit_iota(call, diagonal.length, DType::kI64, first_a),
                      emit_iota(call, diagonal.length, DType::kI64, first_b)};
  diagonal.axes = {a, b};
  if (a > b) {
    std::swap(diagonal.indices[0], diagonal.indices[1]);
    std::swap(diagonal.axes[0], diagonal.axes[1]);
  }
  return diagonal;
}
// NumPy's rule: neighbouring index axes leave their result in place, others in front.
int64_t joint_axis(const Diagonal& diagonal) {
  return diagonal.axes[1] == diagonal.axes[0] + 1 ? diagonal.axes[0] : 0;
}
int64_t wrapped_axis(ImportCall& call, int64_t axis, int rank) {
  const int64_t wrapped = ImportCall::wrap_axis(axis, rank);
  if (rank < 2 || wrapped < 0 || wrapped >= rank) call.refuse("diagonal: dim is out of range");
  return wrapped;
}

// An index op over two constant index vectors; then the diagonal goes last.
Value* emit_diagonal(ImportCall& call, Value* x, int64_t offset, int64_t a, int64_t b) {
  const int rank = rank_of(x);
  const Diagonal diagonal =
      diagonal_of(call, x, offset, wrapped_axis(call, a, rank), wrapped_axis(call, b, rank));
  Value* picked =
      call.emit("index", {x, diagonal.indices[0], diagonal.indices[1]}, {{"axes", diagonal.axes}});
  const int64_t at = joint_axis(diagonal);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < rank - 1; ++i) {
    if (i != at) order.push_back(i);
  }
  order.push_back(at);
  return emit_permute(call, picked, order);
}
void diagonal(ImportCall& call) {
  call.result(
      emit_diagonal(call, call.tensor(0), call.integer(1), call.integer(2), call.integer(3)));
}
KILN_ATEN_RULE(diagonal,
               "aten::diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)");
KILN_ATEN_RULE(diagonal,
               "aten::diagonal_copy(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor");
KILN_ATEN_RULE(diagonal,
               "aten::linalg_diagonal(Tensor(a) A, *, int offset=0, int dim1=-2, int dim2=-1) -> "
               "Tensor(a)");

void trace(ImportCall& call) {
  Value* on = call.cast(emit_diagonal(call, call.tensor(0), 0, 0, 1), call.captured_dtype());
  call.result(emit_reduce(call, "reduce_sum", on, {0}, false));
}
KILN_ATEN_RULE(trace, "aten::trace(Tensor self) -> Tensor");

// `part`, whose last axis runs along the diagonal, in place of the diagonal of x.
Value* with_diagonal(ImportCall& call, Value* x, Value* part, int64_t offset, int64_t a,
                     int64_t b) {
  const int rank = rank_of(x);
  const Diagonal diagonal =
      diagonal_of(call, x, offset, wrapped_axis(call, a, rank), wrapped_axis(call, b, rank));
  const int64_t at = joint_axis(diagonal);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < rank - 2; ++i) order.push_back(i);
  order.insert(order.begin() + at, rank - 2);
  return call.emit("index_put",
                   {x, emit_permute(call, part, order), diagonal.indices[0], diagonal.indices[1]},
                   {{"axes", diagonal.axes}});
}
void diagonal_scatter(ImportCall& call) {
  Value* x = call.tensor(0);
  call.result(with_diagonal(call, x, call.cast(call.tensor(1), x->dtype()), call.integer(2),
                            call.integer(3), call.integer(4)));
}
KILN_ATEN_RULE(diagonal_scatter,
               "aten::diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int "
               "dim2=1) -> Tensor");

// The last axis of x on a diagonal of zeros.
void emit_diag_embed(ImportCall& call, int64_t offset, int64_t a, int64_t b) {
  Value* x = call.tensor(0);
  const int rank = rank_of(x) + 1;
  if (rank < 2) call.refuse("diagonal of a scalar");
  a = wrapped_axis(call, a, rank);
  b = wrapped_axis(call, b, rank);
  if (a == b) call.refuse("diagonal of one dim");
  const DimExpr size = x->shape().back() + std::abs(offset);
  Shape shape(x->shape().begin(), x->shape().end() - 1);
  shape.insert(shape.begin() + std::min(a, b), size);
  shape.insert(shape.begin() + std::max(a, b), size);
  Value* zeros = emit_full(call, shape, x->dtype(), 0);
  call.result(with_diagonal(call, zeros, x, offset, a, b));
}
void diag_embed(ImportCall& call) {
  emit_diag_embed(call, call.integer(1), call.integer(2), call.integer(3));
}
void diag(ImportCall& call) {
  if (rank_of(call.tensor(0)) == 1) {
    emit_diag_embed(call, call.integer(1), 0, 1);
  } else {
    call.result(emit_diagonal(call, call.tensor(0), call.integer(1), 0, 1));
  }
}
KILN_ATEN_RULE(diag_embed,
               "aten::diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor");
KILN_ATEN_RULE(diag, "aten::diag(Tensor self, int diagonal=0) -> Tensor");

// ---- windows

// Windows of `size` every `step` along an axis; their elements become the last axis.
void unfold(ImportCall& call) {
  Value* x = call.tensor(0);
  const int rank = rank_of(x);
  if (rank == 0) call.refuse("windows of a scalar");
  const int64_t axis = call.axis(1, rank);
  const int64_t size = call.integer(2), step = call.integer(3);
  if (size < 1 || step < 1) call.refuse("windows without elements");
  const DimExpr windows = DimExpr::floordiv(size_of(call, x, axis) - size, step) + 1;
  Value* starts =
      call.emit("iota", {}, {{"length", windows}, {"dtype", DType::kI64}, {"step", DimExpr(step)}});
  Value* index =
      call.emit("add", {call.reshape(starts, {windows, 1}), emit_iota(call, size, DType::kI64)});
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

// A scalar i64 tensor.
Value* emit_full_of_dim(ImportCall& call, const DimExpr& value) {
  if (value.is_constant()) return call.scalar_int(value.value(), DType::kI64);
  return call.reshape(emit_iota(call, 1, DType::kI64, value), {});
}

// Elements at offset + sum(i_k * stride_k) of memory. The importer calls this rule only where the
// operand is all of its memory, in order.
void as_strided(ImportCall& call) {
  Value* flat = emit_flatten(call, call.tensor(0));
  const std::vector<DimExpr> shape = call.dims(1), strides = call.dims(2);
  if (shape.size() != strides.size()) call.refuse("size and stride differ in length");
  Value* index = emit_full_of_dim(call, call.is_none(3) ? DimExpr(0) : call.dim(3));
  for (size_t i = 0; i < shape.size(); ++i) {
    if (strides[i].is_value(0)) {
      index = emit_expand(call, emit_unsqueeze(call, index, static_cast<int64_t>(i)),
                          Shape(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(i) + 1));
      continue;
    }
    Value* steps =
        call.emit("iota", {}, {{"length", shape[i]}, {"dtype", DType::kI64}, {"step", strides[i]}});
    index = call.emit("add", {emit_unsqueeze(call, index, static_cast<int64_t>(i)), steps});
  }
  call.result(call.emit("index", {flat, index}, {{"axes", std::vector<int64_t>{0}}}));
}
KILN_ATEN_RULE(as_strided,
               "aten::as_strided(Tensor(a) self, SymInt[] size, SymInt[] stride, SymInt? "
               "storage_offset=None) -> Tensor(a)");
KILN_ATEN_RULE(as_strided,
               "aten::as_strided_copy(Tensor self, SymInt[] size, SymInt[] stride, SymInt? "
               "storage_offset=None) -> Tensor");

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
  Value* index = call.emit(
      "iota", {},
      {{"length", count}, {"dtype", DType::kI64}, {"start", bounds.start}, {"step", step}});
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

}  // namespace
}  // namespace kiln
