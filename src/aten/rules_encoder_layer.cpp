// The operators that PyTorch's fast path for inference calls: multi-head attention and the encoder
// layer of a transformer, whole. Both are spelled out as the operators compute them
// (aten/src/ATen/native/transformers), which differs from the layers in two places: masks of any
// dtype hide what is not zero, and a query that may see no key gives NaN.
#include <cmath>
#include <limits>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Arguments that the two operators have in common. Rows of the packed weight and bias: those of
// the query, of the key and of the value, `width` each.
struct HeadArguments {
  Value *query, *key, *value;  // [batch, length, width]
  int width, heads;            // positions of these arguments
  int packed_weight, packed_bias, out_weight, out_bias;
  int mask, mask_type;
};

// What is hidden, true, in a shape that broadcasts to the scores; null without a mask.
Value* hidden_positions(ImportCall& call, const HeadArguments& at, const Shape& scores) {
  Value* mask = call.tensor_or_null(at.mask);
  if (mask == nullptr) return nullptr;
  mask = call.cast(mask, DType::kBool);
  if (rank_of(mask) != 2) {  // of every head, whatever the type says
    if (!(mask->shape() == scores)) call.refuse("mask is not of the shape of the scores");
    return mask;
  }
  if (call.is_none(at.mask_type)) call.refuse("mask without a mask_type");
  const DimExpr &batch = scores[0], &length = scores[3];
  switch (call.integer(at.mask_type)) {
    case 0:  // queries x keys
      if (!(mask->shape() == Shape{length, length})) call.refuse("mask is not [length, length]");
      return mask;
    case 1:  // padding: batch x keys
      if (!(mask->shape() == Shape{batch, length})) call.refuse("mask is not [batch, length]");
      return call.reshape(mask, {batch, 1, 1, length});
    default: call.refuse("mask_type does not fit a mask of rank 2");
  }
}

struct HeadResults {
  Value* output;   // [batch, length, rows of out_weight]
  Value* weights;  // [batch, heads, length, length]; null where nobody asked for them
};

HeadResults attend(ImportCall& call, const HeadArguments& at, bool need_weights) {
  const int64_t width = call.integer(at.width), heads = call.integer(at.heads);
  for (Value* x : {at.query, at.key, at.value}) {
    if (rank_of(x) != 3) call.refuse("query, key or value is not of rank 3");
    if (!(x->shape() == at.query->shape())) call.refuse("query, key and value differ in shape");
  }
  if (heads < 1 || width % heads != 0) call.refuse("heads do not divide embed_dim");
  const DimExpr batch = at.query->shape()[0], length = at.query->shape()[1];
  Value* packed_weight = call.tensor(at.packed_weight);
  Value* packed_bias = call.tensor(at.packed_bias);
  if (!(packed_weight->shape() == Shape{3 * width, width}) ||
      !(packed_bias->shape() == Shape{3 * width})) {
    call.refuse("packed projection is not of embed_dim");
  }

  // One product where all three are the same tensor.
  const bool packed = at.query == at.key && at.key == at.value;
  Value* projected = packed ? call.emit("linear", {at.query, packed_weight, packed_bias}) : nullptr;
  auto part = [&](Value* x, int64_t index) {
    const DimExpr first = index * width, last = first + width;
    Value* y = packed ? emit_slice(call, projected, 2, first, last)
                      : call.emit("linear", {x, emit_slice(call, packed_weight, 0, first, last),
                                             emit_slice(call, packed_bias, 0, first, last)});
    return emit_permute(call, call.reshape(y, {batch, length, heads, width / heads}), {0, 2, 1, 3});
  };
  Value *query = part(at.query, 0), *key = part(at.key, 1), *value = part(at.value, 2);

  const DType dtype = query->dtype();
  Value* hidden = hidden_positions(call, at, {batch, heads, length, length});
  Value* visible = hidden == nullptr ? nullptr : call.emit("logical_not", {hidden});
  Value* context = call.emit("attention", {query, key, value, visible});
  if (hidden != nullptr) {
    Value* all = emit_reduce(call, "reduce_all", hidden, {rank_of(hidden) - 1}, true);
    context = call.emit("where", {all, call.scalar(kNan, dtype), context});
  }
  Value* joined = call.reshape(emit_permute(call, context, {0, 2, 1, 3}), {batch, length, width});
  HeadResults results{
      call.emit("linear", {joined, call.tensor(at.out_weight), call.tensor(at.out_bias)}), nullptr};
  if (!need_weights) return results;
  // Spelled out beside the output: mostly nobody reads them, and then they are dropped.
  const double scale = 1 / std::sqrt(static_cast<double>(width / heads));
  Value* scores = call.emit("matmul", {query, key}, {{"transpose_b", true}});
  scores = call.emit("mul", {scores, call.scalar(scale, dtype)});
  if (hidden != nullptr) {
    scores = call.emit("where", {hidden, call.scalar(-kInfinity, dtype), scores});
  }
  results.weights = call.emit("softmax", {scores}, {{"axis", int64_t{3}}});
  return results;
}

// PyTorch gives no tensor; torch's shape function says an empty one.
Value* no_weights(ImportCall& call) {
  return call.captured(1).is_tensor() ? emit_full(call, {0}, call.captured_dtype(1), 0) : nullptr;
}

void multi_head_attention(ImportCall& call) {
  Value* query = call.tensor(0);
  if (num_elements(query->shape()).is_value(0)) {
    call.fresh_result(query);
    call.result(no_weights(call));
    return;
  }
  const HeadArguments at{query, call.tensor(1), call.tensor(2), 3, 4, 5, 6, 7, 8, 9, 12};
  const HeadResults results = attend(call, at, call.boolean(10));
  call.result(results.output);
  if (results.weights == nullptr) {
    call.result(no_weights(call));
  } else if (call.boolean(11)) {  // averaged over the heads
    call.result(emit_reduce(call, "reduce_mean", results.weights, {1}, false));
  } else {
    call.result(results.weights);
  }
}
KILN_ATEN_RULE(multi_head_attention,
               "aten::_native_multi_head_attention(Tensor query, Tensor key, Tensor value, int "
               "embed_dim, int num_head, Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, "
               "Tensor proj_bias, Tensor? mask=None, bool need_weights=True, bool "
               "average_attn_weights=True, int? mask_type=None) -> (Tensor, Tensor)");

void encoder_layer(ImportCall& call) {
  Value* input = call.tensor(0);
  if (num_elements(input->shape()).is_value(0)) {
    call.fresh_result(input);
    return;
  }
  const bool norm_first = call.boolean(8);
  auto norm = [&](Value* x, int weight) {
    return call.emit("layer_norm", {x, call.tensor(weight), call.tensor(weight + 1)},
                     {{"num_axes", int64_t{1}}, {"eps", call.number(9)}});
  };
  auto linear = [&](Value* x, int weight) {
    return call.emit("linear", {x, call.tensor(weight), call.tensor(weight + 1)});
  };
  Value* x = norm_first ? norm(input, 10) : input;
  const HeadArguments at{x, x, x, 1, 2, 3, 4, 5, 6, 18, 19};
  x = call.emit("add", {attend(call, at, false).output, input});
  if (!norm_first) x = norm(x, 10);

  Value* inner = linear(norm_first ? norm(x, 12) : x, 14);
  if (call.boolean(7)) {
    // As PyTorch defines _addmm_activation: what CUDA's libraries fuse is the approximation.
    const std::string form = call.module().device == DeviceKind::kCuda ? "tanh" : "none";
    inner = call.emit("gelu", {inner}, {{"approximate", form}});
  } else {
    inner = call.emit("relu", {inner});
  }
  x = call.emit("add", {linear(inner, 16), x});
  call.result(norm_first ? x : norm(x, 12));
}
KILN_ATEN_RULE(encoder_layer,
               "aten::_transformer_encoder_layer_fwd(Tensor src, int embed_dim, int num_heads, "
               "Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias, bool "
               "use_gelu, bool norm_first, float eps, Tensor norm_weight_1, Tensor norm_bias_1, "
               "Tensor norm_weight_2, Tensor norm_bias_2, Tensor ffn_weight_1, Tensor ffn_bias_1, "
               "Tensor ffn_weight_2, Tensor ffn_bias_2, Tensor? mask=None, int? mask_type=None) "
               "-> Tensor");

}  // namespace
}  // namespace kiln
