// Reading and writing by index tensors; sorting.
#include <algorithm>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

void embedding(ImportCall& call) {
  Value *weight = call.tensor(0), *ids = call.tensor(1);
  call.result(call.emit("embedding", {weight, ids}));
}
KILN_ATEN_RULE(embedding,
               "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool "
               "scale_grad_by_freq=False, bool sparse=False) -> Tensor");

// The index tensors of argument i with their axes. Masks have as many results as they have ones:
// no shape before the run.
struct Indices {
  std::vector<Value*> values;
  std::vector<int64_t> axes;
};
Indices indices_of(ImportCall& call, int i) {
  Indices indices;
  int64_t axis = 0;
  for (Value* value : call.tensors(i)) {
    if (value != nullptr) {
      if (value->dtype() == DType::kBool || value->dtype() == DType::kU8) {
        call.refuse("result's shape depends on a mask", "K1303");
      }
      indices.values.push_back(value);
      indices.axes.push_back(axis);
    }
    ++axis;
  }
  return indices;
}

void index(ImportCall& call) {
  const Indices indices = indices_of(call, 1);
  if (indices.values.empty()) {
    call.fresh_result(call.tensor(0));
    return;
  }
  std::vector<Value*> operands{call.tensor(0)};
  operands.insert(operands.end(), indices.values.begin(), indices.values.end());
  call.result(call.emit("index", operands, {{"axes", indices.axes}}));
}
KILN_ATEN_RULE(index, "aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor");
KILN_ATEN_RULE(index, "aten::_unsafe_index.Tensor(Tensor self, Tensor?[] indices) -> Tensor");

// A mask over the leading axes with one value is a choice between two tensors.
bool put_by_mask(ImportCall& call, Value* values, bool accumulate) {
  Value* x = call.tensor(0);
  const std::vector<Value*> list = call.tensors(1);
  if (list.size() != 1 || list[0] == nullptr || list[0]->dtype() != DType::kBool) return false;
  if (num_elements(values->shape()).is_value(1) == false) return false;
  Value* mask = list[0];
  if (rank_of(mask) > rank_of(x)) return false;
  Shape shape = mask->shape();
  shape.resize(x->shape().size(), DimExpr(1));
  Value* one = call.reshape(values, {});
  if (accumulate) one = call.emit("add", {x, one});
  call.result(call.emit("where", {call.reshape(mask, shape), one, x}));
  return true;
}

void index_put(ImportCall& call) {
  Value* x = call.tensor(0);
  Value* values = call.cast(call.tensor(2), x->dtype());
  const bool accumulate = call.boolean(3);
  if (put_by_mask(call, values, accumulate)) return;
  const Indices indices = indices_of(call, 1);
  if (indices.values.empty()) call.refuse("index_put without indices");
  std::vector<Value*> operands{x, values};
  operands.insert(operands.end(), indices.values.begin(), indices.values.end());
  call.result(
      call.emit("index_put", operands, {{"axes", indices.axes}, {"accumulate", accumulate}}));
}
KILN_ATEN_RULE(index_put,
               "aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
               "accumulate=False) -> Tensor");
KILN_ATEN_RULE(index_put,
               "aten::_unsafe_index_put(Tensor self, Tensor?[] indices, Tensor values, bool "
               "accumulate=False) -> Tensor");

// Operators along one axis treat a rank 0 tensor as a vector of one element.
Value* at_least_vector(ImportCall& call, Value* x) {
  return rank_of(x) == 0 ? call.reshape(x, {DimExpr(1)}) : x;
}

void index_select(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t axis = call.axis(1, rank_of(x));
  Value* picked =
      call.emit("index_select", {at_least_vector(call, x), at_least_vector(call, call.tensor(2))},
                {{"axis", axis}});
  call.result(rank_of(x) == 0 ? call.reshape(picked, {}) : picked);
}
KILN_ATEN_RULE(index_select, "aten::index_select(Tensor self, int dim, Tensor index) -> Tensor");

void gather(ImportCall& call) {
  Value *x = call.tensor(0), *index = call.tensor(2);
  const int64_t axis = call.axis(1, rank_of(x));
  Value* picked = call.emit("gather", {at_least_vector(call, x), at_least_vector(call, index)},
                            {{"axis", axis}});
  call.result(call.reshape(picked, index->shape()));
}
KILN_ATEN_RULE(gather,
               "aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> "
               "Tensor");

void take(ImportCall& call) {
  call.result(call.emit("index", {emit_flatten(call, call.tensor(0)), call.tensor(1)},
                        {{"axes", std::vector<int64_t>{0}}}));
}
KILN_ATEN_RULE(take, "aten::take(Tensor self, Tensor index) -> Tensor");

// Indices from the end become indices from the start.
Value* from_start(ImportCall& call, Value* index, const DimExpr& size) {
  Value* negative = call.emit("lt", {index, call.scalar_int(0, index->dtype())});
  Value* extent = size.is_constant() ? call.scalar_int(size.value(), index->dtype())
                                     : call.reshape(emit_iota(call, 1, index->dtype(), size), {});
  return call.emit("where", {negative, call.emit("add", {index, extent}), index});
}

// gather with both sides broadcast along the other axes.
void take_along_dim(ImportCall& call) {
  Value *x = call.tensor(0), *index = call.tensor(1);
  if (call.is_none(2)) {
    Value* flat = emit_flatten(call, x);
    call.result(call.emit("gather",
                          {flat, from_start(call, emit_flatten(call, index), flat->shape()[0])},
                          {{"axis", int64_t{0}}}));
    return;
  }
  const int64_t axis = call.axis(2, rank_of(x));
  if (rank_of(x) != rank_of(index) || rank_of(x) == 0) call.refuse("ranks differ");
  Shape shape_x = x->shape(), shape_index = index->shape();
  for (size_t i = 0; i < shape_x.size(); ++i) {
    if (static_cast<int64_t>(i) == axis) continue;
    if (shape_x[i].is_value(1)) shape_x[i] = shape_index[i];
    if (shape_index[i].is_value(1)) shape_index[i] = shape_x[i];
  }
  Value* places = from_start(call, index, size_of(call, x, axis));
  call.result(call.emit("gather",
                        {emit_expand(call, x, shape_x), emit_expand(call, places, shape_index)},
                        {{"axis", axis}}));
}
KILN_ATEN_RULE(take_along_dim,
               "aten::take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor");

// How many boundaries lie below each element (or at it, with `right`).
void bucketize(ImportCall& call) {
  Value *x = call.tensor(0), *boundaries = call.tensor(1);
  const DType dtype = call.promoted({0, 1});
  if (rank_of(boundaries) != 1) call.refuse("boundaries are no vector");
  Value* element = call.cast(emit_unsqueeze(call, x, rank_of(x)), dtype);
  Value* below = call.emit(call.boolean(3) ? "le" : "lt", {call.cast(boundaries, dtype), element});
  Value* count = call.cast(below, call.captured_dtype());
  call.result(emit_reduce(call, "reduce_sum", count, {rank_of(x)}, false));
}
KILN_ATEN_RULE(bucketize,
               "aten::bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, "
               "bool right=False) -> Tensor");

// ---- scatter

std::string reduce_name(ImportCall& call, const std::string& torch_name) {
  if (torch_name == "sum" || torch_name == "add") return "add";
  if (torch_name == "prod" || torch_name == "multiply") return "multiply";
  if (torch_name == "mean" || torch_name == "amax" || torch_name == "amin") return torch_name;
  call.refuse("unknown reduction: " + torch_name);
}

void emit_scatter(ImportCall& call, Value* source, const std::string& reduce,
                  bool include_self = true) {
  Value *x = call.tensor(0), *index = call.tensor(2);
  const int64_t axis = call.axis(1, rank_of(x));
  AttrList attrs{{"axis", axis}, {"reduce", reduce}};
  if (!include_self) attrs.emplace_back("include_self", false);
  Value* y = call.emit(
      "scatter",
      {at_least_vector(call, x), at_least_vector(call, index), at_least_vector(call, source)},
      std::move(attrs));
  call.result(call.reshape(y, x->shape()));
}
Value* source_tensor(ImportCall& call) {
  return call.is_tensor(3)
             ? call.tensor(3)
             : emit_full_of(call, call.tensor(2)->shape(), call.tensor(0)->dtype(), 3);
}
void scatter(ImportCall& call) { emit_scatter(call, source_tensor(call), "none"); }
void scatter_reduce_old(ImportCall& call) {
  emit_scatter(call, source_tensor(call), reduce_name(call, call.text(4)));
}
void scatter_add(ImportCall& call) { emit_scatter(call, call.tensor(3), "add"); }
void scatter_reduce(ImportCall& call) {
  const std::string reduce = reduce_name(call, call.text(4));
  Value* source = call.tensor(3);
  if (call.boolean(5)) {
    emit_scatter(call, source, reduce);
    return;
  }
  if (reduce != "add") {
    emit_scatter(call, source, reduce, false);
    return;
  }
  // Sums without the old elements: those that are met are set to zero first.
  Value *x = call.tensor(0), *index = at_least_vector(call, call.tensor(2));
  const int64_t axis = call.axis(1, rank_of(x));
  Value* zeros = emit_full(call, index->shape(), x->dtype(), 0);
  Value* cleared = call.emit("scatter", {at_least_vector(call, x), index, zeros}, {{"axis", axis}});
  Value* y = call.emit("scatter", {cleared, index, at_least_vector(call, source)},
                       {{"axis", axis}, {"reduce", std::string("add")}});
  call.result(call.reshape(y, x->shape()));
}
KILN_ATEN_RULE(scatter,
               "aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor");
KILN_ATEN_RULE(scatter,
               "aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor");
KILN_ATEN_RULE(scatter_reduce_old,
               "aten::scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str "
               "reduce) -> Tensor");
KILN_ATEN_RULE(scatter_reduce_old,
               "aten::scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, "
               "str reduce) -> Tensor");
KILN_ATEN_RULE(scatter_add,
               "aten::scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor");
KILN_ATEN_RULE(scatter_reduce,
               "aten::scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor src, str "
               "reduce, *, bool include_self=True) -> Tensor");

// ---- writes of whole slices along one axis

void put_along(ImportCall& call, Value* values, bool accumulate) {
  Value *x = call.tensor(0), *index = at_least_vector(call, call.tensor(2));
  const int64_t axis = call.axis(1, rank_of(x));
  if (rank_of(x) == 0) call.refuse("index into a scalar");
  Shape shape = x->shape();
  shape[static_cast<size_t>(axis)] = index->shape()[0];
  if (rank_of(values) == 0 && rank_of(x) == 1) values = call.reshape(values, {DimExpr(1)});
  call.result(call.emit("index_put", {x, emit_expand(call, values, shape), index},
                        {{"axes", std::vector<int64_t>{axis}}, {"accumulate", accumulate}}));
}
void index_copy(ImportCall& call) { put_along(call, call.tensor(3), false); }
void index_add(ImportCall& call) {
  Value* values = call.tensor(3);
  if (call.number(4) != 1) values = call.emit("mul", {values, call.operand(4, values->dtype())});
  put_along(call, values, true);
}
void index_fill(ImportCall& call) {
  put_along(call, call.operand(3, call.tensor(0)->dtype()), false);
}
KILN_ATEN_RULE(index_copy,
               "aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor");
KILN_ATEN_RULE(index_add,
               "aten::index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar "
               "alpha=1) -> Tensor");
KILN_ATEN_RULE(index_fill,
               "aten::index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> "
               "Tensor");
KILN_ATEN_RULE(index_fill,
               "aten::index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> "
               "Tensor");

// ---- sorting

void scalar_sort(ImportCall& call) {
  Value* x = call.tensor(0);
  call.fresh_result(x);
  call.result(emit_full(call, {}, DType::kI64, 0));
}

void emit_sort(ImportCall& call, int64_t axis, bool descending, bool stable, bool indices_only) {
  Value* x = call.tensor(0);
  Node* node =
      call.emit_node("sort", {x}, {{"axis", axis}, {"descending", descending}, {"stable", stable}});
  if (!indices_only) call.result(node->result(0));
  call.result(node->result(1));
}
void sort(ImportCall& call) {
  Value* x = call.tensor(0);
  if (rank_of(x) == 0) return scalar_sort(call);
  emit_sort(call, call.axis(1, rank_of(x)), call.boolean(2), false, false);
}
void sort_stable(ImportCall& call) {
  Value* x = call.tensor(0);
  if (rank_of(x) == 0) return scalar_sort(call);
  emit_sort(call, call.axis(2, rank_of(x)), call.boolean(3), !call.is_none(1) && call.boolean(1),
            false);
}
void argsort(ImportCall& call) {
  Value* x = call.tensor(0);
  if (rank_of(x) == 0) {
    call.result(emit_full(call, {}, DType::kI64, 0));
    return;
  }
  emit_sort(call, call.axis(1, rank_of(x)), call.boolean(2), false, true);
}
void argsort_stable(ImportCall& call) {
  Value* x = call.tensor(0);
  if (rank_of(x) == 0) {
    call.result(emit_full(call, {}, DType::kI64, 0));
    return;
  }
  emit_sort(call, call.axis(2, rank_of(x)), call.boolean(3), call.boolean(1), true);
}
void msort(ImportCall& call) {
  Value* x = call.tensor(0);
  if (rank_of(x) == 0) {
    call.fresh_result(x);
    return;
  }
  call.result(call.emit_node("sort", {x}, {{"axis", int64_t{0}}})->result(0));
}
KILN_ATEN_RULE(sort,
               "aten::sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, "
               "Tensor indices)");
KILN_ATEN_RULE(sort_stable,
               "aten::sort.stable(Tensor self, *, bool? stable, int dim=-1, bool "
               "descending=False) -> (Tensor values, Tensor indices)");
KILN_ATEN_RULE(argsort, "aten::argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor");
KILN_ATEN_RULE(argsort_stable,
               "aten::argsort.stable(Tensor self, *, bool stable, int dim=-1, bool "
               "descending=False) -> Tensor");
KILN_ATEN_RULE(msort, "aten::msort(Tensor self) -> Tensor");

void topk(ImportCall& call) {
  Value* x = call.tensor(0);
  if (rank_of(x) == 0) return scalar_sort(call);
  const int64_t axis = call.axis(2, rank_of(x));
  const DimExpr k = call.dim(1), size = size_of(call, x, axis);
  const bool largest = call.boolean(3);
  if (!(size - k).is_constant()) {
    // The op wants to see that k fits; where only the ranges of the symbols say so, sort and cut.
    if (!(smaller(call, k, size) == k)) call.refuse("k may be larger than the axis", "K1303");
    Node* sorted = call.emit_node("sort", {x}, {{"axis", axis}, {"descending", largest}});
    call.result(emit_slice(call, sorted->result(0), axis, 0, k));
    call.result(emit_slice(call, sorted->result(1), axis, 0, k));
    return;
  }
  Node* node = call.emit_node(
      "topk", {x}, {{"k", k}, {"axis", axis}, {"largest", largest}, {"sorted", call.boolean(4)}});
  call.result(node->result(0));
  call.result(node->result(1));
}
KILN_ATEN_RULE(topk,
               "aten::topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool "
               "sorted=True) -> (Tensor values, Tensor indices)");

}  // namespace
}  // namespace kiln
