// Reductions over axes, scans along an axis.
#include <cmath>
#include <limits>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

constexpr int kNone = -1;

// Which arguments hold the axes, keepdim and dtype; kNone: the operator has no such argument.
struct Arguments {
  int axes = kNone, keepdim = kNone, dtype = kNone;
};

std::vector<int64_t> reduced_axes(ImportCall& call, Value* x, int axes) {
  return axes == kNone ? all_axes(x) : call.axes(axes, rank_of(x));
}
bool keeps(ImportCall& call, int keepdim) { return keepdim != kNone && call.boolean(keepdim); }

// The operand in the dtype that the result has: sums of integers are i64.
Value* accumulated(ImportCall& call, int dtype) {
  Value* x = call.tensor(0);
  DType wanted = call.captured_dtype();
  if (dtype != kNone && call.dtype(dtype)) wanted = *call.dtype(dtype);
  return call.cast(x, wanted);
}

void reduce(ImportCall& call, std::string_view op, Value* x, const Arguments& at) {
  call.result(emit_reduce(call, op, x, reduced_axes(call, x, at.axes), keeps(call, at.keepdim)));
}

void sum(ImportCall& call) { reduce(call, "reduce_sum", accumulated(call, 1), {kNone, kNone, 1}); }
void sum_dim(ImportCall& call) { reduce(call, "reduce_sum", accumulated(call, 3), {1, 2, 3}); }
void mean(ImportCall& call) {
  reduce(call, "reduce_mean", accumulated(call, 1), {kNone, kNone, 1});
}
void mean_dim(ImportCall& call) { reduce(call, "reduce_mean", accumulated(call, 3), {1, 2, 3}); }
void prod(ImportCall& call) {
  reduce(call, "reduce_prod", accumulated(call, 1), {kNone, kNone, 1});
}
void prod_dim(ImportCall& call) { reduce(call, "reduce_prod", accumulated(call, 3), {1, 2, 3}); }
KILN_ATEN_RULE(sum, "aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(sum_dim,
               "aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, "
               "ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(mean, "aten::mean(Tensor self, *, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(mean_dim,
               "aten::mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? "
               "dtype=None) -> Tensor");
KILN_ATEN_RULE(prod, "aten::prod(Tensor self, *, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(prod_dim,
               "aten::prod.dim_int(Tensor self, int dim, bool keepdim=False, *, ScalarType? "
               "dtype=None) -> Tensor");

void nansum(ImportCall& call) {
  Value* x = accumulated(call, 3);
  if (is_float(x->dtype())) {
    x = call.emit("where", {call.emit("isnan", {x}), call.scalar(0, x->dtype()), x});
  }
  reduce(call, "reduce_sum", x, {1, 2, 3});
}
KILN_ATEN_RULE(nansum,
               "aten::nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? "
               "dtype=None) -> Tensor");

void amax(ImportCall& call) { reduce(call, "reduce_max", call.tensor(0), {1, 2}); }
void amin(ImportCall& call) { reduce(call, "reduce_min", call.tensor(0), {1, 2}); }
void max_all(ImportCall& call) { reduce(call, "reduce_max", call.tensor(0), {}); }
void min_all(ImportCall& call) { reduce(call, "reduce_min", call.tensor(0), {}); }
KILN_ATEN_RULE(amax, "aten::amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(amin, "aten::amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(max_all, "aten::max(Tensor self) -> Tensor");
KILN_ATEN_RULE(min_all, "aten::min(Tensor self) -> Tensor");

void aminmax(ImportCall& call) {
  Value* x = call.tensor(0);
  const std::vector<int64_t> axes = call.is_none(1) || rank_of(x) == 0
                                        ? all_axes(x)
                                        : std::vector<int64_t>{call.axis(1, rank_of(x))};
  for (const char* op : {"reduce_min", "reduce_max"}) {
    call.result(emit_reduce(call, op, x, axes, call.boolean(2)));
  }
}
KILN_ATEN_RULE(aminmax,
               "aten::aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, "
               "Tensor max)");

// Index of an extreme element along one axis. A rank 0 tensor is a vector of one element.
Value* arg_extreme(ImportCall& call, std::string_view op, Value* x, int64_t axis, bool keepdim) {
  if (rank_of(x) > 0) return emit_reduce(call, op, x, {axis}, keepdim);
  Value* row = call.reshape(x, {DimExpr(1)});
  return emit_reduce(call, op, row, {0}, false);
}

// Values and indices along one axis, as two nodes, so that unread indices cost nothing.
void extreme_along(ImportCall& call, std::string_view values, std::string_view indices) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  const bool keepdim = call.boolean(2);
  call.result(rank_of(x) == 0 ? call.reshape(emit_reduce(call, values, x, {}, false), {})
                              : emit_reduce(call, values, x, {axis}, keepdim));
  call.result(arg_extreme(call, indices, x, axis, keepdim));
}
void max_along(ImportCall& call) { extreme_along(call, "reduce_max", "reduce_argmax"); }
void min_along(ImportCall& call) { extreme_along(call, "reduce_min", "reduce_argmin"); }
KILN_ATEN_RULE(max_along,
               "aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, "
               "Tensor indices)");
KILN_ATEN_RULE(min_along,
               "aten::min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, "
               "Tensor indices)");

// Without a dim: the index into the flattened tensor.
void arg(ImportCall& call, std::string_view op) {
  Value* x = call.tensor(0);
  const bool keepdim = call.boolean(2);
  if (!call.is_none(1)) {
    call.result(arg_extreme(call, op, x, call.axis(1, rank_of(x)), keepdim));
    return;
  }
  Value* index = emit_reduce(call, op, emit_flatten(call, x), {0}, false);
  call.result(keepdim ? call.reshape(index, Shape(x->shape().size(), DimExpr(1))) : index);
}
void argmax(ImportCall& call) { arg(call, "reduce_argmax"); }
void argmin(ImportCall& call) { arg(call, "reduce_argmin"); }
KILN_ATEN_RULE(argmax, "aten::argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(argmin, "aten::argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor");

// Of u8 the answer is u8, of everything else bool.
void truth(ImportCall& call, std::string_view op, const Arguments& at) {
  Value* x = call.tensor(0);
  // An empty list of axes is all of them; for a rank 0 tensor there are none.
  Value* y = emit_reduce(call, op, x, reduced_axes(call, x, at.axes), keeps(call, at.keepdim));
  call.result(call.cast(y, call.captured_dtype()));
}
void any(ImportCall& call) { truth(call, "reduce_any", {}); }
void any_dim(ImportCall& call) { truth(call, "reduce_any", {1, 2}); }
void all(ImportCall& call) { truth(call, "reduce_all", {}); }
void all_dim(ImportCall& call) { truth(call, "reduce_all", {1, 2}); }
KILN_ATEN_RULE(any, "aten::any(Tensor self) -> Tensor");
KILN_ATEN_RULE(any_dim, "aten::any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(any_dim,
               "aten::any.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(all, "aten::all(Tensor self) -> Tensor");
KILN_ATEN_RULE(all_dim, "aten::all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(all_dim,
               "aten::all.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor");

void count_nonzero_along(ImportCall& call, int axes) {
  Value* x = call.tensor(0);
  std::vector<int64_t> along = all_axes(x);
  if (axes != kNone && !call.is_none(axes)) along = call.axes(axes, rank_of(x));
  Value* on = call.cast(call.cast(x, DType::kBool), DType::kI64);
  call.result(emit_reduce(call, "reduce_sum", on, along, false));
}
void count_nonzero(ImportCall& call) { count_nonzero_along(call, 1); }
KILN_ATEN_RULE(count_nonzero, "aten::count_nonzero(Tensor self, int? dim=None) -> Tensor");
KILN_ATEN_RULE(count_nonzero, "aten::count_nonzero.dim_IntList(Tensor self, int[] dim) -> Tensor");

void logsumexp(ImportCall& call) {
  Value* x = call.cast(call.tensor(0), call.captured_dtype());
  reduce(call, "logsumexp", x, {1, 2});
}
KILN_ATEN_RULE(logsumexp, "aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor");
KILN_ATEN_RULE(logsumexp,
               "aten::special_logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor");

// ---- moments

struct Moments {
  int axes = kNone, correction = kNone, unbiased = kNone, keepdim = kNone;
};
double correction_of(ImportCall& call, const Moments& at) {
  if (at.unbiased != kNone) return call.boolean(at.unbiased) ? 1 : 0;
  return call.is_none(at.correction) ? 1 : call.number(at.correction);
}
void moments(ImportCall& call, const Moments& at, bool root, bool with_mean) {
  Value* x = call.tensor(0);
  const std::vector<int64_t> axes = reduced_axes(call, x, at.axes);
  const bool keepdim = keeps(call, at.keepdim);
  // A variance may be beyond f16 where its root is not.
  Value* wide = root ? call.cast(x, computing_dtype(x->dtype())) : x;
  Value* y =
      emit_reduce(call, "var", wide, axes, keepdim, {{"correction", correction_of(call, at)}});
  call.result(root ? call.cast(call.emit("sqrt", {y}), x->dtype()) : y);
  if (with_mean) call.result(emit_reduce(call, "reduce_mean", x, axes, keepdim));
}
constexpr Moments kAll{kNone, kNone, 1, kNone};
constexpr Moments kDims{1, kNone, 2, 3};
constexpr Moments kCorrection{1, 2, kNone, 3};
template <const Moments& kAt, bool kRoot, bool kMean>
void moments_rule(ImportCall& call) {
  moments(call, kAt, kRoot, kMean);
}
KILN_ATEN_RULE((moments_rule<kAll, false, false>),
               "aten::var(Tensor self, bool unbiased=True) -> Tensor");
KILN_ATEN_RULE((moments_rule<kDims, false, false>),
               "aten::var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) "
               "-> Tensor");
KILN_ATEN_RULE((moments_rule<kCorrection, false, false>),
               "aten::var.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, "
               "bool keepdim=False) -> Tensor");
KILN_ATEN_RULE((moments_rule<kAll, true, false>),
               "aten::std(Tensor self, bool unbiased=True) -> Tensor");
KILN_ATEN_RULE((moments_rule<kDims, true, false>),
               "aten::std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) "
               "-> Tensor");
KILN_ATEN_RULE((moments_rule<kCorrection, true, false>),
               "aten::std.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, "
               "bool keepdim=False) -> Tensor");
KILN_ATEN_RULE((moments_rule<kAll, false, true>),
               "aten::var_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)");
KILN_ATEN_RULE((moments_rule<kDims, false, true>),
               "aten::var_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool "
               "keepdim=False) -> (Tensor, Tensor)");
KILN_ATEN_RULE((moments_rule<kCorrection, false, true>),
               "aten::var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? "
               "correction=None, bool keepdim=False) -> (Tensor, Tensor)");
KILN_ATEN_RULE((moments_rule<kAll, true, true>),
               "aten::std_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)");
KILN_ATEN_RULE((moments_rule<kDims, true, true>),
               "aten::std_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool "
               "keepdim=False) -> (Tensor, Tensor)");
KILN_ATEN_RULE((moments_rule<kCorrection, true, true>),
               "aten::std_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? "
               "correction=None, bool keepdim=False) -> (Tensor, Tensor)");

// ---- norms

// (sum |x|^p)^(1/p) with its limits at 0 and the infinities. Powers leave the range of f16 long
// before the norm does.
Value* vector_norm(ImportCall& call, Value* x, double p, const std::vector<int64_t>& axes,
                   bool keepdim) {
  const DType stored = x->dtype(), dtype = computing_dtype(stored);
  x = call.cast(x, dtype);
  auto total = [&](Value* y) { return emit_reduce(call, "reduce_sum", y, axes, keepdim); };
  auto norm = [&]() -> Value* {
    if (p == 2) return call.emit("sqrt", {total(call.emit("square", {x}))});
    if (p == 0) {
      return total(call.cast(call.emit("ne", {x, call.scalar(0, dtype)}), dtype));
    }
    Value* size = call.emit("abs", {x});
    if (p == 1) return total(size);
    if (std::isinf(p)) {
      return emit_reduce(call, p > 0 ? "reduce_max" : "reduce_min", size, axes, keepdim);
    }
    Value* powers = total(call.emit("pow", {size, call.scalar(p, dtype)}));
    return call.emit("pow", {powers, call.scalar(1 / p, dtype)});
  };
  return call.cast(norm(), stored);
}
void linalg_vector_norm(ImportCall& call) {
  Value* x = call.cast(call.tensor(0), call.captured_dtype());
  call.result(vector_norm(call, x, call.number(1), call.axes(2, rank_of(x)), call.boolean(3)));
}
KILN_ATEN_RULE(linalg_vector_norm,
               "aten::linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool "
               "keepdim=False, *, ScalarType? dtype=None) -> Tensor");

void norm(ImportCall& call) {
  Value* x = call.cast(call.tensor(0), call.captured_dtype());
  const int count = static_cast<int>(call.schema().arguments.size());
  const double p = call.is_none(1) ? 2 : call.number(1);
  call.result(vector_norm(call, x, p, count > 2 ? call.axes(2, rank_of(x)) : all_axes(x),
                          count > 3 && call.boolean(3)));
}
KILN_ATEN_RULE(norm, "aten::norm.Scalar(Tensor self, Scalar p=2) -> Tensor");
KILN_ATEN_RULE(norm,
               "aten::norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) "
               "-> Tensor");

KILN_ATEN_RULE(norm,
               "aten::norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, "
               "*, ScalarType dtype) -> Tensor");

void nanmean(ImportCall& call) {
  Value* x = call.cast(call.tensor(0), call.captured_dtype());
  const std::vector<int64_t> axes = call.axes(1, rank_of(x));
  Value* missing = call.emit("isnan", {x});
  Value* filled = call.emit("where", {missing, call.scalar(0, x->dtype()), x});
  Value* there = call.cast(call.emit("logical_not", {missing}), x->dtype());
  call.result(call.emit("div", {emit_reduce(call, "reduce_sum", filled, axes, call.boolean(2)),
                                emit_reduce(call, "reduce_sum", there, axes, call.boolean(2))}));
}
KILN_ATEN_RULE(nanmean,
               "aten::nanmean(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? "
               "dtype=None) -> Tensor");

// ---- distances

// x / max(|x|, eps) of both sides, multiplied and summed.
void cosine_similarity(ImportCall& call) {
  const DType dtype = call.captured_dtype();
  Value *a = call.cast(call.tensor(0), dtype), *b = call.cast(call.tensor(1), dtype);
  if (rank_of(a) != rank_of(b) || rank_of(a) == 0) call.refuse("ranks differ");
  const int64_t axis = call.axis(2, rank_of(a));
  // Broadcast first: an axis that repeats counts as often in the length.
  Shape shape = a->shape();
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i].is_value(1)) shape[i] = b->shape()[i];
  }
  auto normalized = [&](Value* x) {
    x = emit_expand(call, x, shape);
    Value* size = vector_norm(call, x, 2, {axis}, true);
    return call.emit("div", {x, call.emit("maximum", {size, call.scalar(call.number(3), dtype)})});
  };
  Value* products = call.emit("mul", {normalized(a), normalized(b)});
  call.result(emit_reduce(call, "reduce_sum", products, {axis}, false));
}
KILN_ATEN_RULE(cosine_similarity,
               "aten::cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> "
               "Tensor");

// The mean (1), the sum (2) or all (0) of a loss per element.
void reduce_loss(ImportCall& call, Value* loss, int reduction) {
  const int64_t kind = call.integer(reduction);
  if (kind == 0) {
    call.result(loss);
  } else {
    call.result(
        emit_reduce(call, kind == 1 ? "reduce_mean" : "reduce_sum", loss, all_axes(loss), false));
  }
}
Value* difference(ImportCall& call) {
  const DType dtype = call.captured_dtype();
  return call.emit("sub", {call.cast(call.tensor(0), dtype), call.cast(call.tensor(1), dtype)});
}
void mse_loss(ImportCall& call) { reduce_loss(call, call.emit("square", {difference(call)}), 2); }
void l1_loss(ImportCall& call) { reduce_loss(call, call.emit("abs", {difference(call)}), 2); }
KILN_ATEN_RULE(mse_loss, "aten::mse_loss(Tensor self, Tensor target, int reduction=1) -> Tensor");
KILN_ATEN_RULE(l1_loss, "aten::l1_loss(Tensor self, Tensor target, int reduction=1) -> Tensor");

// ---- scans

void scan(ImportCall& call, std::string_view op) {
  Value* x = call.cast(call.tensor(0), call.captured_dtype());
  const int64_t axis = call.axis(1, rank_of(x));
  if (rank_of(x) == 0) {
    call.fresh_result(x);
  } else {
    call.result(call.emit(op, {x}, {{"axis", axis}}));
  }
}
void cumsum(ImportCall& call) { scan(call, "cumsum"); }
void cumprod(ImportCall& call) { scan(call, "cumprod"); }
KILN_ATEN_RULE(cumsum, "aten::cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(cumprod, "aten::cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor");

// n times x[1:] - x[:-1], with what prepend and append add at the ends.
void diff(ImportCall& call) {
  const int64_t axis = call.axis(2, rank_of(call.tensor(0)));
  std::vector<Value*> parts;
  for (int i : {3, 0, 4}) {
    if (Value* part = call.tensor_or_null(i)) parts.push_back(part);
  }
  const DType dtype = call.captured_dtype();
  for (Value*& part : parts) part = call.cast(part, dtype);
  Value* x = emit_concat(call, parts, axis);
  for (int64_t n = call.integer(1); n > 0; --n) {
    const DimExpr size = size_of(call, x, axis);
    if (size.is_value(0)) break;
    Value *high = emit_slice(call, x, axis, 1, size), *low = emit_slice(call, x, axis, 0, size - 1);
    x = dtype == DType::kBool ? call.emit("ne", {high, low}) : call.emit("sub", {high, low});
  }
  call.fresh_result(x);
}
KILN_ATEN_RULE(diff,
               "aten::diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? "
               "append=None) -> Tensor");

}  // namespace
}  // namespace kiln
