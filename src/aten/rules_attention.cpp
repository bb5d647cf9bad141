// Scaled dot product attention, whole in both dialects; softmax.
#include <cmath>
#include <limits>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

// The `scale` argument; the op reads 0 as the default.
double attention_scale(ImportCall& call, int scale) {
  if (call.is_none(scale)) return 0;
  const double value = call.number(scale);
  if (value == 0) call.refuse("scale is zero");
  return value;
}

// Batch axes of size 1 broadcast, as in torch's own composite.
Value* with_batch_of(ImportCall& call, Value* x, Value* query, bool grouped) {
  const size_t rank = query->shape().size();
  if (x->shape().size() != rank || rank < 2) return x;
  Shape shape = x->shape();
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (shape[i].is_value(1) && !(grouped && i + 3 == rank)) shape[i] = query->shape()[i];
  }
  return emit_expand(call, x, shape);
}

void scaled_dot_product_attention(ImportCall& call) {
  if (call.number(4) != 0) call.refuse("attention with dropout");
  // PyTorch raises.
  if (call.boolean(5) && call.tensor_or_null(3) != nullptr) {
    call.refuse("is_causal together with a mask");
  }
  const bool grouped = call.boolean(7);
  Value* query = call.tensor(0);
  call.result(
      call.emit("attention",
                {query, with_batch_of(call, call.tensor(1), query, grouped),
                 with_batch_of(call, call.tensor(2), query, grouped), call.tensor_or_null(3)},
                {{"scale", attention_scale(call, 6)},
                 {"is_causal", call.boolean(5)},
                 {"enable_gqa", grouped}}));
}
KILN_ATEN_RULE(scaled_dot_product_attention,
               "aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, "
               "Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? "
               "scale=None, bool enable_gqa=False) -> Tensor");

// The second result, logsumexp of the scores, is spelled out in small ops: only training reads it,
// and what nobody reads is dropped.
void flash_attention_for_cpu(ImportCall& call) {
  Value *query = call.tensor(0), *key = call.tensor(1), *value = call.tensor(2);
  Value* mask = call.tensor_or_null(5);
  if (call.number(3) != 0) call.refuse("attention with dropout");
  const bool causal = call.boolean(4);
  if (causal && mask != nullptr) call.refuse("is_causal together with a mask");
  const double scale = attention_scale(call, 6);
  call.result(
      call.emit("attention", {query, key, value, mask}, {{"scale", scale}, {"is_causal", causal}}));
  if (call.num_results() < 2) return;
  const DType dtype = query->dtype();
  const DimExpr& depth = size_of(call, query, -1);
  if (causal || !depth.is_constant() || dtype != call.captured_dtype(1) ||
      (mask != nullptr && mask->dtype() != dtype)) {
    call.result(nullptr);
    return;
  }
  const double factor = scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(depth.value()));
  Value* scores = call.emit("matmul", {query, key}, {{"transpose_b", true}});
  scores = call.emit("mul", {scores, call.scalar(factor, dtype)});
  if (mask != nullptr) scores = call.emit("add", {scores, mask});
  call.result(emit_reduce(call, "logsumexp", scores, {rank_of(scores) - 1}, false));
}
KILN_ATEN_RULE(flash_attention_for_cpu,
               "aten::_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, "
               "Tensor value, float dropout_p=0., bool is_causal=False, *, Tensor? "
               "attn_mask=None, float? scale=None) -> (Tensor output, Tensor logsumexp)");

// ---- softmax

void emit_softmax(ImportCall& call, std::string_view op, Value* x) {
  const int64_t axis = call.axis(1, rank_of(x));
  if (rank_of(x) > 0) {
    call.result(call.emit(op, {x}, {{"axis", axis}}));
    return;
  }
  Value* y = call.emit(op, {call.reshape(x, {DimExpr(1)})}, {{"axis", axis}});
  call.result(call.reshape(y, {}));
}
void softmax(ImportCall& call) {
  emit_softmax(call, "softmax", call.cast(call.tensor(0), call.captured_dtype()));
}
void log_softmax(ImportCall& call) {
  emit_softmax(call, "log_softmax", call.cast(call.tensor(0), call.captured_dtype()));
}
KILN_ATEN_RULE(softmax,
               "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(softmax, "aten::_softmax(Tensor self, int dim, bool half_to_float) -> Tensor");
KILN_ATEN_RULE(softmax,
               "aten::special_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(log_softmax,
               "aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor");
KILN_ATEN_RULE(log_softmax,
               "aten::_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor");
KILN_ATEN_RULE(log_softmax,
               "aten::special_log_softmax(Tensor self, int dim, *, ScalarType? dtype=None) -> "
               "Tensor");

// A row with nothing but -infinity gives zeros, not NaN.
void safe_softmax(ImportCall& call) {
  Value* x = call.cast(call.tensor(0), call.captured_dtype());
  const int64_t axis = call.axis(1, rank_of(x));
  if (rank_of(x) == 0) call.refuse("softmax of a scalar");
  Value* top = emit_reduce(call, "reduce_max", x, {axis}, true);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  Value* masked = call.emit("eq", {top, call.scalar(-kInf, x->dtype())});
  call.result(call.emit(
      "where", {masked, call.scalar(0, x->dtype()), call.emit("softmax", {x}, {{"axis", axis}})}));
}
KILN_ATEN_RULE(safe_softmax,
               "aten::_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor");

}  // namespace
}  // namespace kiln
