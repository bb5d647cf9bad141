#include "runtime/harmless_ops.h"

#include <algorithm>
#include <string_view>

namespace kiln {
namespace {

// Sorted. Names without "aten::"; all overloads.
constexpr std::string_view kHarmless[] = {
    "_softmax", "_to_copy", "_log_softmax", "abs", "acos", "acosh", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "all", "amax", "amin",
    "aminmax", "any", "arange", "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atan2",
    "atanh", "avg_pool1d", "avg_pool2d", "avg_pool3d", "baddbmm", "batch_norm", "bernoulli",
    "bincount", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "bmm", "bucketize", "cat", "ceil", "celu", "cholesky",
    "clamp", "clamp_max", "clamp_min", "clone", "complex", "constant_pad_nd", "conv1d", "conv2d",
    "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "copysign",
    "cos", "cosh", "cross", "cummax", "cummin", "cumprod", "cumsum", "deg2rad", "det", "diag",
    "diagonal", "diff", "digamma", "dist", "div", "dot", "elu", "embedding", "empty_like", "eq",
    "erf", "erfc", "erfinv", "exp", "exp2", "expand", "expm1", "eye", "fft_fft", "fft_ifft",
    "fft_irfft", "fft_rfft", "flatten", "flip", "floor", "floor_divide", "fmax", "fmin", "fmod",
    "frac", "full", "full_like", "gather", "gcd", "ge", "gelu", "glu", "grid_sampler_2d", "group_norm",
    "gt", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "heaviside", "histc", "hypot", "i0",
    "imag", "index", "index_add", "index_copy", "index_fill", "index_put", "index_select",
    "instance_norm", "inverse", "isclose", "isfinite", "isin", "isinf", "isnan", "item", "kthvalue",
    "layer_norm", "le", "leaky_relu", "lerp", "lgamma", "linalg_inv", "linalg_norm",
    "linalg_vector_norm", "linear", "linspace", "log", "log10", "log1p", "log2", "log_sigmoid",
    "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logspace", "logsumexp", "lt", "masked_fill",
    "masked_scatter", "masked_select", "matmul", "max", "max_pool1d", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "maximum", "mean", "median", "meshgrid", "min",
    "minimum", "mish", "mm", "mode", "mul", "multinomial", "mv", "nan_to_num", "nanmean", "nansum",
    "narrow", "native_batch_norm", "native_group_norm", "native_layer_norm", "ne", "neg", "nextafter",
    "nonzero", "norm", "one_hot", "ones", "ones_like", "outer", "permute", "pixel_shuffle",
    "pixel_unshuffle", "polar", "pow", "prelu", "prod", "quantile", "rad2deg", "rand", "rand_like",
    "randint", "randn", "randn_like", "randperm", "real", "reciprocal", "reflection_pad1d",
    "reflection_pad2d", "relu", "relu6", "remainder", "renorm", "repeat", "repeat_interleave",
    "replication_pad1d", "replication_pad2d", "reshape", "roll", "rot90", "round", "rrelu", "rsqrt",
    "rsub", "scalar_tensor", "scaled_dot_product_attention", "scatter", "scatter_add",
    "scatter_reduce", "searchsorted", "select", "selu", "sgn", "sigmoid", "sign", "signbit", "silu",
    "sin", "sinc", "sinh", "slice", "slice_scatter", "softmax", "softplus", "softshrink", "sort",
    "split", "split_with_sizes", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub", "sum",
    "t", "take", "take_along_dim", "tan", "tanh", "threshold", "tile", "to", "topk", "trace",
    "transpose", "tril", "triu", "trunc", "unbind", "unfold", "unique", "unique_consecutive",
    "unsqueeze", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d", "var",
    "var_mean", "view", "view_as_complex", "view_as_real", "where", "xlogy", "zeros", "zeros_like"};

bool has_string(const CallArg& arg) {
  if (const auto* text = arg.get<std::string>()) {
    // Modes of elementwise operators ("tanh", "floor") are the only harmless ones.
    return *text != "none" && *text != "tanh" && *text != "floor" && *text != "trunc";
  }
  if (const auto* list = arg.get<CallArg::List>()) {
    return std::any_of(list->begin(), list->end(), has_string);
  }
  return false;
}

}  // namespace

bool is_harmless_op(const Call& call) {
  constexpr std::string_view kPrefix = "aten::";
  if (!std::string_view(call.name).starts_with(kPrefix)) return false;
  std::string_view name = std::string_view(call.name).substr(kPrefix.size());
  if (call.overload == "out") return false;
  if (std::find(std::begin(kHarmless), std::end(kHarmless), name) == std::end(kHarmless)) {
    return false;
  }
  if (name.starts_with("scatter") || name == "index_put") {
    // reduce="..." is a string of a closed set that torch checks.
    return true;
  }
  return std::none_of(call.args.begin(), call.args.end(), has_string);
}

}  // namespace kiln
