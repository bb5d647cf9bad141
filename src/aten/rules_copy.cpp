// The tensor itself, copies, conversions, and writes of the whole contents.
#include "aten/view_nodes.h"

namespace kiln {
namespace {

// ---- the tensor itself, or a copy

void itself(ImportCall& call) { call.result(call.tensor(0)); }
KILN_ATEN_RULE(itself,
               "aten::contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::detach(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::alias(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::lift_fresh(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::positive(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::real(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::conj(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::_conj(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::resolve_conj(Tensor(a) self) -> Tensor(a)");
KILN_ATEN_RULE(itself, "aten::resolve_neg(Tensor(a) self) -> Tensor(a)");

void copy_of(ImportCall& call) { call.fresh_result(call.tensor(0)); }
KILN_ATEN_RULE(copy_of, "aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor");
KILN_ATEN_RULE(copy_of, "aten::lift_fresh_copy(Tensor self) -> Tensor");
KILN_ATEN_RULE(copy_of, "aten::conj_physical(Tensor self) -> Tensor");
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
  require_same_device(call, 3);
  convert(call, call.dtype_or(1, call.tensor(0)->dtype()), call.boolean(6));
}
void to_device(ImportCall& call) {
  require_same_device(call, 1);
  convert(call, call.dtype_or(2, call.tensor(0)->dtype()), call.boolean(4));
}
void to_dtype(ImportCall& call) {
  convert(call, call.dtype_or(1, call.tensor(0)->dtype()), call.boolean(3));
}
void to_other(ImportCall& call) { convert(call, call.tensor(1)->dtype(), call.boolean(3)); }
void type_as(ImportCall& call) { convert(call, call.tensor(1)->dtype(), false); }
void to_copy(ImportCall& call) {
  require_strided(call, 2);
  require_same_device(call, 3);
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

// ---- statements about tensors that compute nothing

void nothing(ImportCall&) {}
KILN_ATEN_RULE(nothing,
               "aten::_assert_tensor_metadata(Tensor a, SymInt[]? size=None, SymInt[]? "
               "stride=None, ScalarType? dtype=None, *, Device? device=None, Layout? "
               "layout=None) -> ()");
KILN_ATEN_RULE(nothing,
               "aten::sym_constrain_range(Scalar size, *, int? min=None, int? max=None) -> ()");
KILN_ATEN_RULE(nothing,
               "aten::sym_constrain_range_for_size(Scalar size, *, int? min=None, "
               "int? max=None) -> ()");
KILN_ATEN_RULE(nothing, "aten::_assert_scalar(Scalar self, str assert_msg) -> ()");

}  // namespace
}  // namespace kiln
