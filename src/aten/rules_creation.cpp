// Tensors made of nothing: constants of a shape, ranges, masks.
#include <cmath>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

// Shape of a *_like result, of argument 0.
const Shape& like(ImportCall& call) { return call.tensor(0)->shape(); }

void full(ImportCall& call) {
  call.result(emit_full_of(call, call.dims(0), call.captured_dtype(), 1));
}
void full_like(ImportCall& call) {
  call.result(emit_full_of(call, like(call), call.captured_dtype(), 1));
}
void new_full(ImportCall& call) {
  call.result(emit_full_of(call, call.dims(1), call.captured_dtype(), 2));
}
KILN_ATEN_RULE(full,
               "aten::full(SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(full_like,
               "aten::full_like(Tensor self, Scalar fill_value, *, ScalarType? dtype=None, "
               "Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? "
               "memory_format=None) -> Tensor");
KILN_ATEN_RULE(new_full,
               "aten::new_full(Tensor self, SymInt[] size, Scalar fill_value, *, ScalarType? "
               "dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> "
               "Tensor");

template <int kNumber>
void constant(ImportCall& call) {
  call.result(emit_full(call, call.dims(0), call.captured_dtype(), kNumber));
}
template <int kNumber>
void constant_like(ImportCall& call) {
  call.result(emit_full(call, like(call), call.captured_dtype(), kNumber));
}
template <int kNumber>
void new_constant(ImportCall& call) {
  call.result(emit_full(call, call.dims(1), call.captured_dtype(), kNumber));
}
KILN_ATEN_RULE(constant<0>,
               "aten::zeros(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(constant<1>,
               "aten::ones(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(constant_like<0>,
               "aten::zeros_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> "
               "Tensor");
KILN_ATEN_RULE(constant_like<1>,
               "aten::ones_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> "
               "Tensor");
KILN_ATEN_RULE(new_constant<0>,
               "aten::new_zeros(Tensor self, SymInt[] size, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(new_constant<1>,
               "aten::new_ones(Tensor self, SymInt[] size, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None) -> Tensor");

// Memory that nobody wrote: no value to agree on. A tensor without elements has none to disagree.
void empty(ImportCall& call) {
  const Shape& shape = call.captured().tensor().shape;
  for (const DimExpr& size : shape) {
    if (size.is_value(0)) {
      call.result(emit_full(call, shape, call.captured_dtype(), 0));
      return;
    }
  }
  call.refuse("uninitialised memory");
}
KILN_ATEN_RULE(empty,
               "aten::empty.memory_format(SymInt[] size, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? "
               "memory_format=None) -> Tensor");
KILN_ATEN_RULE(empty,
               "aten::empty_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> "
               "Tensor");
KILN_ATEN_RULE(empty,
               "aten::new_empty(Tensor self, SymInt[] size, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None) -> Tensor");

void scalar_tensor(ImportCall& call) { call.result(call.operand(0, call.captured_dtype())); }
KILN_ATEN_RULE(scalar_tensor,
               "aten::scalar_tensor(Scalar s, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None) -> Tensor");

// ---- ranges

// The length is what capture saw: it follows from the bounds by division.
void range(ImportCall& call, int start, int step) {
  const DType dtype = call.captured_dtype();
  const Shape& shape = call.captured().tensor().shape;
  if (shape.size() != 1) call.refuse("range of a rank that is not one");
  auto is_integer_argument = [&](int i) { return i < 0 || !call.is_float_number(i); };
  if (is_integer_argument(start) && is_integer_argument(step)) {
    const DimExpr first = start < 0 ? DimExpr(0) : call.dim(start);
    const DimExpr stride = step < 0 ? DimExpr(1) : call.dim(step);
    call.result(call.emit(
        "iota", {}, {{"length", shape[0]}, {"dtype", dtype}, {"start", first}, {"step", stride}}));
    return;
  }
  if (!is_float(dtype)) call.refuse("integer range with float bounds");
  call.result(call.emit("iota", {},
                        {{"length", shape[0]},
                         {"dtype", dtype},
                         {"scale", step < 0 ? 1.0 : call.number(step)},
                         {"offset", start < 0 ? 0.0 : call.number(start)}}));
}
void arange(ImportCall& call) { range(call, -1, -1); }
void arange_start(ImportCall& call) { range(call, 0, -1); }
void arange_start_step(ImportCall& call) { range(call, 0, 2); }
KILN_ATEN_RULE(arange,
               "aten::arange(Scalar end, *, ScalarType? dtype=None, Layout? layout=None, Device? "
               "device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(arange_start,
               "aten::arange.start(Scalar start, Scalar end, *, ScalarType? dtype=None, Layout? "
               "layout=None, Device? device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(arange_start_step,
               "aten::arange.start_step(Scalar start, Scalar end, Scalar step=1, *, ScalarType? "
               "dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> "
               "Tensor");

void linspace(ImportCall& call) {
  const DType dtype = call.captured_dtype();
  const double start = call.number(0), end = call.number(1);
  const int64_t steps = call.integer(2);
  if (!is_float(dtype)) call.refuse("integer linspace");
  const double step = steps > 1 ? (end - start) / static_cast<double>(steps - 1) : 0;
  call.result(call.emit(
      "iota", {},
      {{"length", DimExpr(steps)}, {"dtype", dtype}, {"scale", step}, {"offset", start}}));
}
KILN_ATEN_RULE(linspace,
               "aten::linspace(Scalar start, Scalar end, int steps, *, ScalarType? dtype=None, "
               "Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor");

// [rows, columns] of bool: true where column - row == 0.
void emit_eye(ImportCall& call, const DimExpr& rows, const DimExpr& columns) {
  Value* row = emit_unsqueeze(call, emit_iota(call, rows, DType::kI64), 1);
  Value* on = call.emit("eq", {row, emit_iota(call, columns, DType::kI64)});
  call.result(call.cast(on, call.captured_dtype()));
}
void eye(ImportCall& call) { emit_eye(call, call.dim(0), call.dim(0)); }
void eye_m(ImportCall& call) { emit_eye(call, call.dim(0), call.dim(1)); }
KILN_ATEN_RULE(eye,
               "aten::eye(SymInt n, *, ScalarType? dtype=None, Layout? layout=None, Device? "
               "device=None, bool? pin_memory=None) -> Tensor");
KILN_ATEN_RULE(eye_m,
               "aten::eye.m(SymInt n, SymInt m, *, ScalarType? dtype=None, Layout? layout=None, "
               "Device? device=None, bool? pin_memory=None) -> Tensor");

// ---- triangles

void tril(ImportCall& call) {
  call.result(call.emit("tril", {call.tensor(0)}, {{"diagonal", call.integer(1)}}));
}
void triu(ImportCall& call) {
  call.result(call.emit("triu", {call.tensor(0)}, {{"diagonal", call.integer(1)}}));
}
KILN_ATEN_RULE(tril, "aten::tril(Tensor self, SymInt diagonal=0) -> Tensor");
KILN_ATEN_RULE(triu, "aten::triu(Tensor self, SymInt diagonal=0) -> Tensor");

void one_hot(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t classes = call.integer(1);
  if (classes < 1) call.refuse("number of classes depends on the data");
  Value* on =
      call.emit("eq", {emit_unsqueeze(call, x, rank_of(x)), emit_iota(call, classes, x->dtype())});
  call.result(call.cast(on, DType::kI64));
}
KILN_ATEN_RULE(one_hot, "aten::one_hot(Tensor self, int num_classes=-1) -> Tensor");

}  // namespace
}  // namespace kiln
