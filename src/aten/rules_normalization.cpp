// Normalisations, whole. Training forms that write running statistics stay with PyTorch.
#include <limits>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

// Mean and population variance over axes, and 1 / sqrt(variance + eps).
Value* mean_over(ImportCall& call, Value* x, const std::vector<int64_t>& axes, bool keepdim) {
  return emit_reduce(call, "reduce_mean", x, axes, keepdim);
}
Value* variance_over(ImportCall& call, Value* x, const std::vector<int64_t>& axes, bool keepdim) {
  return emit_reduce(call, "var", x, axes, keepdim, {{"correction", 0.0}});
}
Value* inverse_deviation(ImportCall& call, Value* variance, double eps) {
  return call.emit("rsqrt", {call.emit("add", {variance, call.scalar(eps, variance->dtype())})});
}

// ---- batch norm

std::vector<int64_t> axes_but_channels(Value* x) {
  std::vector<int64_t> axes;
  for (int i = 0; i < rank_of(x); ++i) {
    if (i != 1) axes.push_back(i);
  }
  return axes;
}

// Positions of the arguments that the overloads order differently.
struct BatchNormArguments {
  int mean, variance, training, eps;
};

// y, and for the native forms the statistics that the training pass would save: empty in eval.
void emit_batch_norm(ImportCall& call, const BatchNormArguments& at, bool native) {
  Value* x = call.tensor(0);
  Value* mean = at.mean < 0 ? nullptr : call.tensor_or_null(at.mean);
  Value* variance = at.variance < 0 ? nullptr : call.tensor_or_null(at.variance);
  const bool training = at.training >= 0 && call.boolean(at.training);
  const double eps = call.number(at.eps);
  if (training && mean != nullptr) call.refuse("batch norm in training mode");
  const bool batch_statistics = mean == nullptr || variance == nullptr;
  if (batch_statistics) {
    if (rank_of(x) < 2) call.refuse("batch norm of less than two axes");
    mean = mean_over(call, x, axes_but_channels(x), false);
    variance = variance_over(call, x, axes_but_channels(x), false);
  }
  call.result(call.emit("batch_norm",
                        {x, mean, variance, call.tensor_or_null(1), call.tensor_or_null(2)},
                        {{"eps", eps}}));
  if (!native) return;
  for (int i = 1; i < call.num_results(); ++i) {
    if (!call.captured(i).is_tensor()) {
      call.result(nullptr);
      continue;
    }
    const Shape& seen = call.captured(i).tensor().shape;
    if (seen.size() == 1 && seen[0].is_value(0)) {
      call.result(emit_full(call, {0}, call.captured_dtype(i), 0));
    } else if (batch_statistics) {
      call.result(i == 1 ? mean : inverse_deviation(call, variance, eps));
    } else {
      call.refuse("saved statistics in eval mode");
    }
  }
}

void batch_norm(ImportCall& call) { emit_batch_norm(call, {3, 4, 5, 7}, false); }
void native_batch_norm(ImportCall& call) { emit_batch_norm(call, {3, 4, 5, 7}, true); }
void native_batch_norm_no_training(ImportCall& call) { emit_batch_norm(call, {3, 4, -1, 6}, true); }
void native_batch_norm_no_stats(ImportCall& call) { emit_batch_norm(call, {-1, -1, 3, 5}, true); }
KILN_ATEN_RULE(batch_norm,
               "aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? "
               "running_mean, Tensor? running_var, bool training, float momentum, float eps, "
               "bool cudnn_enabled) -> Tensor");
KILN_ATEN_RULE(native_batch_norm,
               "aten::native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? "
               "running_mean, Tensor? running_var, bool training, float momentum, float eps) -> "
               "(Tensor, Tensor, Tensor)");
KILN_ATEN_RULE(native_batch_norm,
               "aten::_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, "
               "Tensor(a!) running_mean, Tensor(b!) running_var, bool training, float momentum, "
               "float eps) -> (Tensor, Tensor, Tensor)");
KILN_ATEN_RULE(native_batch_norm_no_training,
               "aten::_native_batch_norm_legit_no_training(Tensor input, Tensor? weight, Tensor? "
               "bias, Tensor running_mean, Tensor running_var, float momentum, float eps) -> "
               "(Tensor, Tensor, Tensor)");
KILN_ATEN_RULE(native_batch_norm_no_stats,
               "aten::_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? "
               "bias, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)");

// Each sample by itself: a group norm with one channel per group.
void instance_norm(ImportCall& call) {
  Value* x = call.tensor(0);
  const bool input_statistics = call.boolean(5);
  if (!input_statistics) {
    call.result(call.emit(
        "batch_norm",
        {x, call.tensor(3), call.tensor(4), call.tensor_or_null(1), call.tensor_or_null(2)},
        {{"eps", call.number(7)}}));
    return;
  }
  if (!call.is_none(3)) call.refuse("instance norm that updates running statistics");
  const DimExpr& channels = size_of(call, x, 1);
  if (!channels.is_constant()) call.refuse("number of channels is symbolic", "K1303");
  call.result(call.emit("group_norm", {x, call.tensor_or_null(1), call.tensor_or_null(2)},
                        {{"groups", channels.value()}, {"eps", call.number(7)}}));
}
KILN_ATEN_RULE(instance_norm,
               "aten::instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? "
               "running_mean, Tensor? running_var, bool use_input_stats, float momentum, float "
               "eps, bool cudnn_enabled) -> Tensor");

// ---- layer norm

int64_t normalized_axes(ImportCall& call) {
  const auto count = static_cast<int64_t>(call.dims(1).size());
  if (count > rank_of(call.tensor(0))) call.refuse("normalized_shape is longer than the shape");
  return count;
}
std::vector<int64_t> last_axes(Value* x, int64_t count) {
  std::vector<int64_t> axes;
  for (int64_t i = rank_of(x) - count; i < rank_of(x); ++i) axes.push_back(i);
  return axes;
}

void layer_norm(ImportCall& call) {
  call.result(call.emit("layer_norm",
                        {call.tensor(0), call.tensor_or_null(2), call.tensor_or_null(3)},
                        {{"num_axes", normalized_axes(call)}, {"eps", call.number(4)}}));
}
KILN_ATEN_RULE(layer_norm,
               "aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, "
               "Tensor? bias=None, float eps=1.0000000000000001e-05, bool cudnn_enable=True) -> "
               "Tensor");

void native_layer_norm(ImportCall& call) {
  layer_norm(call);
  Value* x = call.tensor(0);
  const std::vector<int64_t> axes = last_axes(x, normalized_axes(call));
  call.result(mean_over(call, x, axes, true));
  call.result(inverse_deviation(call, variance_over(call, x, axes, true), call.number(4)));
}
KILN_ATEN_RULE(native_layer_norm,
               "aten::native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, "
               "Tensor? bias, float eps) -> (Tensor, Tensor, Tensor)");

double rms_eps(ImportCall& call, int i) {
  if (!call.is_none(i)) return call.number(i);
  switch (call.tensor(0)->dtype()) {
    case DType::kF32: return std::numeric_limits<float>::epsilon();
    case DType::kF64: return std::numeric_limits<double>::epsilon();
    // Computed in fp32, whose epsilon it takes too.
    default: return std::numeric_limits<float>::epsilon();
  }
}
void rms_norm(ImportCall& call) {
  call.result(call.emit("rms_norm", {call.tensor(0), call.tensor_or_null(2)},
                        {{"num_axes", normalized_axes(call)}, {"eps", rms_eps(call, 3)}}));
}
void fused_rms_norm(ImportCall& call) {
  rms_norm(call);
  Value* x = call.tensor(0);
  Value* squares =
      mean_over(call, call.emit("square", {x}), last_axes(x, normalized_axes(call)), true);
  call.result(inverse_deviation(call, squares, rms_eps(call, 3)));
}
KILN_ATEN_RULE(rms_norm,
               "aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, "
               "float? eps=None) -> Tensor");
KILN_ATEN_RULE(fused_rms_norm,
               "aten::_fused_rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, "
               "float? eps) -> (Tensor, Tensor)");

// ---- group norm

void group_norm(ImportCall& call) {
  call.result(call.emit("group_norm",
                        {call.tensor(0), call.tensor_or_null(2), call.tensor_or_null(3)},
                        {{"groups", call.integer(1)}, {"eps", call.number(4)}}));
}
KILN_ATEN_RULE(group_norm,
               "aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? "
               "bias=None, float eps=1.0000000000000001e-05, bool cudnn_enabled=True) -> Tensor");

void native_group_norm(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t groups = call.integer(6);
  const double eps = call.number(7);
  call.result(call.emit("group_norm", {x, call.tensor_or_null(1), call.tensor_or_null(2)},
                        {{"groups", groups}, {"eps", eps}}));
  const DimExpr batch = size_of(call, x, 0);
  DimExpr per_group;
  if (groups < 1 || !DimExpr::divide_exactly(call.dim(4) * call.dim(5), groups, &per_group)) {
    call.refuse("groups do not divide the channels");
  }
  Value* flat = call.reshape(x, {batch, groups, per_group});
  call.result(mean_over(call, flat, {2}, false));
  call.result(inverse_deviation(call, variance_over(call, flat, {2}, false), eps));
}
KILN_ATEN_RULE(native_group_norm,
               "aten::native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, "
               "SymInt C, SymInt HxW, int group, float eps) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace kiln
