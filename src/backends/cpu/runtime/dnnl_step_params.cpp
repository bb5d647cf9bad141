#include "backends/cpu/runtime/dnnl_step_params.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "base/parallel_for.h"

namespace kiln {
namespace {

using Kind = DnnlPostOp::Kind;

// Limits of what files may say. Products of two sizes stay far below int64, and oneDNN keeps sizes
// in 32 bits.
constexpr int64_t kMaxDim = int64_t{1} << 30;
constexpr int64_t kMaxElements = int64_t{1} << 40;
constexpr int64_t kMaxWindow = int64_t{1} << 20;  // kernel, stride, dilation, padding
constexpr int64_t kMaxThreads = 4096;
constexpr size_t kMaxPostOps = 20;

constexpr std::array<std::pair<Kind, const char*>, 19> kKinds = {{
    {Kind::kRelu, "relu"},
    {Kind::kLeakyRelu, "leaky_relu"},
    {Kind::kElu, "elu"},
    {Kind::kGeluErf, "gelu_erf"},
    {Kind::kGeluTanh, "gelu_tanh"},
    {Kind::kSilu, "silu"},
    {Kind::kHardswish, "hardswish"},
    {Kind::kHardsigmoid, "hardsigmoid"},
    {Kind::kSigmoid, "sigmoid"},
    {Kind::kTanh, "tanh"},
    {Kind::kClip, "clip"},
    {Kind::kLinear, "linear"},
    {Kind::kSum, "sum"},
    {Kind::kAdd, "add"},
    {Kind::kSub, "sub"},
    {Kind::kMul, "mul"},
    {Kind::kDiv, "div"},
    {Kind::kMax, "max"},
    {Kind::kMin, "min"},
}};

const char* kind_name(Kind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "?";
}

Status bad(std::string what) { return Status::error("K3220", std::move(what)); }

Status only_members(const Json& json, std::initializer_list<std::string_view> names) {
  if (!json.is_object()) return bad("params of a oneDNN step are no object");
  for (const JsonMember& member : json.as_object()) {
    if (std::find(names.begin(), names.end(), member.key) == names.end()) {
      return bad("unknown param of a oneDNN step: '" + member.key + "'");
    }
  }
  return {};
}

// `count` numbers in [low, high]; count 0: 3 to 5 of them.
Result<std::vector<int64_t>> numbers(const Json& json, std::string_view key, size_t count,
                                     int64_t low, int64_t high) {
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> values, json.ints_at(key));
  if (count == 0 ? values.size() < 3 || values.size() > 5 : values.size() != count) {
    return bad("wrong number of entries in '" + std::string(key) +
               "': " + std::to_string(values.size()));
  }
  for (int64_t value : values) {
    if (value < low || value > high) {
      return bad("number out of range in '" + std::string(key) + "': " + std::to_string(value));
    }
  }
  return values;
}

Status check_elements(const std::vector<int64_t>& dims, const char* what) {
  int64_t total = 1;
  for (int64_t dim : dims) {
    if (dim < 1 || dim > kMaxDim || total > kMaxElements / dim) {
      return bad(std::string(what) + " has a size out of range: " + std::to_string(dim));
    }
    total *= dim;
  }
  return {};
}

Result<DType> dtype_at(const Json& json, std::string_view key) {
  KILN_ASSIGN_OR_RETURN(const std::string name, json.string_at(key));
  const std::optional<DType> dtype = dtype_from_name(name);
  if (!dtype || (*dtype != DType::kF32 && *dtype != DType::kBF16 && *dtype != DType::kF16)) {
    return bad("dtype that oneDNN steps do not have: '" + name + "'");
  }
  return *dtype;
}

Json post_ops_json(const std::vector<DnnlPostOpParams>& post_ops) {
  Json::Array list;
  for (const DnnlPostOpParams& op : post_ops) {
    Json entry = Json::object();
    entry.set("kind", kind_name(op.kind));
    if (op.kind == Kind::kLeakyRelu || op.kind == Kind::kElu || op.kind == Kind::kClip ||
        op.kind == Kind::kLinear) {
      entry.set("alpha", static_cast<double>(op.alpha));
    }
    if (op.kind == Kind::kClip || op.kind == Kind::kLinear) {
      entry.set("beta", static_cast<double>(op.beta));
    }
    list.push_back(std::move(entry));
  }
  return Json(std::move(list));
}

Result<std::vector<DnnlPostOpParams>> post_ops_at(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const Json::Array* list, json.array_at("post_ops"));
  if (list->size() > kMaxPostOps) {
    return bad("too many post-ops: " + std::to_string(list->size()));
  }
  std::vector<DnnlPostOpParams> result;
  for (const Json& entry : *list) {
    KILN_RETURN_IF_ERROR(only_members(entry, {"kind", "alpha", "beta"}));
    KILN_ASSIGN_OR_RETURN(const std::string name, entry.string_at("kind"));
    DnnlPostOpParams op;
    const auto found = std::find_if(kKinds.begin(), kKinds.end(),
                                    [&](const auto& kind) { return kind.second == name; });
    // A sum reads what the output held before, which nothing in a plan promises to be there.
    if (found == kKinds.end() || found->first == Kind::kSum) {
      return bad("unknown post-op: '" + name + "'");
    }
    op.kind = found->first;
    if (entry.find("alpha") != nullptr) {
      KILN_ASSIGN_OR_RETURN(const double alpha, entry.double_at("alpha"));
      op.alpha = static_cast<float>(alpha);
    }
    if (entry.find("beta") != nullptr) {
      KILN_ASSIGN_OR_RETURN(const double beta, entry.double_at("beta"));
      op.beta = static_cast<float>(beta);
    }
    result.push_back(op);
  }
  return result;
}

Result<DnnlConvGeometry> geometry_at(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const Json* conv, json.member("conv"));
  KILN_RETURN_IF_ERROR(only_members(*conv, {"weights", "groups", "transposed", "stride", "dilation",
                                            "padding_begin", "padding_end"}));
  DnnlConvGeometry g;
  KILN_ASSIGN_OR_RETURN(g.weights, numbers(*conv, "weights", 0, 1, kMaxDim));
  const size_t spatial = g.weights.size() - 2;
  KILN_ASSIGN_OR_RETURN(g.groups, conv->int_at("groups", 1, kMaxDim));
  KILN_ASSIGN_OR_RETURN(g.transposed, conv->bool_at("transposed"));
  KILN_ASSIGN_OR_RETURN(g.stride, numbers(*conv, "stride", spatial, 1, kMaxWindow));
  KILN_ASSIGN_OR_RETURN(g.dilation, numbers(*conv, "dilation", spatial, 1, kMaxWindow));
  KILN_ASSIGN_OR_RETURN(g.padding_begin, numbers(*conv, "padding_begin", spatial, 0, kMaxWindow));
  KILN_ASSIGN_OR_RETURN(g.padding_end,
                        numbers(*conv, "padding_end", spatial, -kMaxWindow, kMaxWindow));
  KILN_RETURN_IF_ERROR(g.valid());
  return g;
}

size_t count_tensors(const std::vector<DnnlPostOpParams>& post_ops) {
  const auto count = std::count_if(post_ops.begin(), post_ops.end(),
                                   [](const auto& op) { return op.has_tensor(); });
  return static_cast<size_t>(count);
}

}  // namespace

Status DnnlConvGeometry::valid() const {
  const size_t rank = weights.size();
  if (rank < 3 || rank > 5) return bad("convolution of rank " + std::to_string(rank));
  for (const auto* list : {&stride, &dilation, &padding_begin, &padding_end}) {
    if (list->size() != rank - 2) return bad("convolution whose attributes have another rank");
  }
  KILN_RETURN_IF_ERROR(check_elements(weights, "convolution weights"));
  if (groups < 1 || groups > kMaxDim || weights[0] % groups != 0 ||
      weights[1] * groups > kMaxDim) {
    return bad("convolution whose groups do not fit: " + std::to_string(groups));
  }
  for (size_t i = 2; i < rank; ++i) {
    if (weights[i] > kMaxWindow) return bad("convolution kernel is too large");
  }
  return {};
}

Result<std::vector<int64_t>> DnnlConvGeometry::output_dims(const std::vector<int64_t>& src) const {
  if (src.size() != rank() || src[1] != in_channels()) {
    return bad("convolution input does not fit the weights");
  }
  KILN_RETURN_IF_ERROR(check_elements(src, "convolution input"));
  std::vector<int64_t> dims = {src[0], out_channels()};
  for (size_t i = 0; i + 2 < rank(); ++i) {
    const int64_t extent = dilation[i] * (weights[i + 2] - 1) + 1;
    const int64_t padding = padding_begin[i] + padding_end[i];
    const int64_t reach = src[i + 2] + padding - extent;
    if (!transposed && reach < 0) return bad("convolution window does not fit its input");
    dims.push_back(transposed ? (src[i + 2] - 1) * stride[i] + extent - padding
                              : reach / stride[i] + 1);
  }
  KILN_RETURN_IF_ERROR(check_elements(dims, "convolution output"));
  return dims;
}

Result<DnnlConvParams> DnnlConvPack::problem() const {
  DnnlConvParams p;
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dst, conv.output_dims(src));
  p.src = DnnlTensor::channels_last(src, dtype);
  p.weights = DnnlTensor::dense(conv.weights, dtype);
  p.dst = DnnlTensor::channels_last(std::move(dst), dtype);
  p.bias = bias;
  p.bias_dtype = dtype;
  p.groups = conv.groups;
  p.transposed = conv.transposed;
  p.stride = conv.stride;
  p.dilation = conv.dilation;
  p.padding_begin = conv.padding_begin;
  p.padding_end = conv.padding_end;
  size_t tensor = 0;
  for (const DnnlPostOpParams& op : post_ops) {
    DnnlPostOp post_op{op.kind, op.alpha, op.beta};
    if (op.has_tensor()) post_op.tensor = DnnlTensor::channels_last(tensors[tensor++], dtype);
    p.post_ops.push_back(std::move(post_op));
  }
  return p;
}

Result<DnnlLayout> DnnlConvPack::layout() const {
  KILN_ASSIGN_OR_RETURN(const DnnlConvParams params, problem());
  const ScopedNumThreads scope(threads);
  return DnnlConv::choose_weights_layout(params);
}

Result<DnnlMatmulParams> DnnlMatmulPack::problem() const {
  DnnlMatmulParams p;
  p.src = DnnlTensor::dense({kRows, k}, dtype);
  p.weights = DnnlTensor::dense({k, n}, dtype);
  p.dst = DnnlTensor::dense({kRows, n}, dtype);
  return p;
}

Result<DnnlLayout> DnnlMatmulPack::layout() const {
  KILN_ASSIGN_OR_RETURN(const DnnlMatmulParams params, problem());
  const ScopedNumThreads scope(threads);
  return DnnlMatmul::choose_weights_layout(params);
}

Json to_json(const DnnlConvGeometry& conv) {
  Json json = Json::object();
  json.set("weights", Json(conv.weights));
  json.set("groups", conv.groups);
  json.set("transposed", conv.transposed);
  json.set("stride", Json(conv.stride));
  json.set("dilation", Json(conv.dilation));
  json.set("padding_begin", Json(conv.padding_begin));
  json.set("padding_end", Json(conv.padding_end));
  return json;
}

Json to_json(const DnnlConvPack& pack) {
  Json json = Json::object();
  json.set("conv", to_json(pack.conv));
  json.set("bias", pack.bias);
  json.set("post_ops", post_ops_json(pack.post_ops));
  Json::Array tensors;
  for (const auto& dims : pack.tensors) tensors.emplace_back(dims);
  json.set("tensors", Json(std::move(tensors)));
  json.set("src", Json(pack.src));
  json.set("dtype", dtype_name(pack.dtype));
  json.set("threads", pack.threads);
  return json;
}

Json to_json(const DnnlMatmulPack& pack) {
  Json json = Json::object();
  json.set("k", pack.k);
  json.set("n", pack.n);
  json.set("transposed", pack.transposed);
  json.set("dtype", dtype_name(pack.dtype));
  json.set("threads", pack.threads);
  return json;
}

Json to_json(const DnnlConvStepParams& params) {
  Json json = Json::object();
  json.set("conv", to_json(params.conv));
  json.set("bias", params.bias);
  json.set("post_ops", post_ops_json(params.post_ops));
  if (!params.pack.is_null()) json.set("pack", params.pack);
  return json;
}

Json to_json(const DnnlMatmulStepParams& params) {
  Json json = Json::object();
  json.set("bias", params.bias);
  json.set("post_ops", post_ops_json(params.post_ops));
  if (!params.pack.is_null()) json.set("pack", params.pack);
  return json;
}

Json to_json(const DnnlPoolStepParams& params) {
  Json json = Json::object();
  json.set("kind", params.kind == DnnlPoolParams::Kind::kMax       ? "max"
                   : params.kind == DnnlPoolParams::Kind::kAverage ? "average"
                                                                   : "average_with_padding");
  json.set("kernel", Json(params.kernel));
  json.set("stride", Json(params.stride));
  json.set("dilation", Json(params.dilation));
  json.set("padding", Json(params.padding));
  return json;
}

Result<DnnlConvPack> dnnl_conv_pack_from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(
      only_members(json, {"conv", "bias", "post_ops", "tensors", "src", "dtype", "threads"}));
  DnnlConvPack pack;
  KILN_ASSIGN_OR_RETURN(pack.conv, geometry_at(json));
  KILN_ASSIGN_OR_RETURN(pack.bias, json.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(pack.post_ops, post_ops_at(json));
  const size_t rank = pack.conv.rank();
  KILN_ASSIGN_OR_RETURN(const Json::Array* tensors, json.array_at("tensors"));
  if (tensors->size() != count_tensors(pack.post_ops)) {
    return bad("post-ops and their tensors differ in number");
  }
  KILN_ASSIGN_OR_RETURN(pack.src, numbers(json, "src", rank, 1, kMaxDim));
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> dst, pack.conv.output_dims(pack.src));
  for (const Json& tensor : *tensors) {
    Json holder = Json::object();
    holder.set("tensors", tensor);
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, numbers(holder, "tensors", rank, 1, kMaxDim));
    for (size_t i = 0; i < rank; ++i) {
      if (dims[i] != 1 && dims[i] != dst[i]) return bad("post-op tensor does not fit the output");
    }
    pack.tensors.push_back(std::move(dims));
  }
  KILN_ASSIGN_OR_RETURN(pack.dtype, dtype_at(json, "dtype"));
  KILN_ASSIGN_OR_RETURN(const int64_t threads, json.int_at("threads", 1, kMaxThreads));
  pack.threads = static_cast<int>(threads);
  return pack;
}

Result<DnnlMatmulPack> dnnl_matmul_pack_from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(only_members(json, {"k", "n", "transposed", "dtype", "threads"}));
  DnnlMatmulPack pack;
  KILN_ASSIGN_OR_RETURN(pack.k, json.int_at("k", 1, kMaxDim));
  KILN_ASSIGN_OR_RETURN(pack.n, json.int_at("n", 1, kMaxDim));
  KILN_RETURN_IF_ERROR(check_elements({pack.k, pack.n}, "matmul weights"));
  KILN_ASSIGN_OR_RETURN(pack.transposed, json.bool_at("transposed"));
  KILN_ASSIGN_OR_RETURN(pack.dtype, dtype_at(json, "dtype"));
  KILN_ASSIGN_OR_RETURN(const int64_t threads, json.int_at("threads", 1, kMaxThreads));
  pack.threads = static_cast<int>(threads);
  return pack;
}

Result<DnnlConvStepParams> dnnl_conv_params_from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(only_members(json, {"conv", "bias", "post_ops", "pack"}));
  DnnlConvStepParams params;
  KILN_ASSIGN_OR_RETURN(params.conv, geometry_at(json));
  KILN_ASSIGN_OR_RETURN(params.bias, json.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(params.post_ops, post_ops_at(json));
  if (const Json* pack = json.find("pack")) {
    KILN_ASSIGN_OR_RETURN(const DnnlConvPack checked, dnnl_conv_pack_from_json(*pack));
    if (checked.conv.weights != params.conv.weights || checked.conv.groups != params.conv.groups ||
        checked.conv.transposed != params.conv.transposed) {
      return bad("convolution and its packed weights differ");
    }
    params.pack = *pack;
  }
  return params;
}

Result<DnnlMatmulStepParams> dnnl_matmul_params_from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(only_members(json, {"bias", "post_ops", "pack"}));
  DnnlMatmulStepParams params;
  KILN_ASSIGN_OR_RETURN(params.bias, json.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(params.post_ops, post_ops_at(json));
  if (const Json* pack = json.find("pack")) {
    KILN_RETURN_IF_ERROR(dnnl_matmul_pack_from_json(*pack).status());
    params.pack = *pack;
  }
  return params;
}

Result<DnnlPoolStepParams> dnnl_pool_params_from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(only_members(json, {"kind", "kernel", "stride", "dilation", "padding"}));
  DnnlPoolStepParams params;
  KILN_ASSIGN_OR_RETURN(const std::string kind, json.string_at("kind"));
  if (kind == "max") {
    params.kind = DnnlPoolParams::Kind::kMax;
  } else if (kind == "average") {
    params.kind = DnnlPoolParams::Kind::kAverage;
  } else if (kind == "average_with_padding") {
    params.kind = DnnlPoolParams::Kind::kAverageWithPadding;
  } else {
    return bad("unknown kind of pooling: '" + kind + "'");
  }
  KILN_ASSIGN_OR_RETURN(params.kernel, json.ints_at("kernel"));
  const size_t spatial = params.kernel.size();
  if (spatial < 1 || spatial > 3) {
    return bad("pooling over another number of axes: " + std::to_string(spatial));
  }
  KILN_ASSIGN_OR_RETURN(params.kernel, numbers(json, "kernel", spatial, 0, kMaxWindow));
  KILN_ASSIGN_OR_RETURN(params.stride, numbers(json, "stride", spatial, 1, kMaxWindow));
  KILN_ASSIGN_OR_RETURN(params.dilation, numbers(json, "dilation", spatial, 1, kMaxWindow));
  KILN_ASSIGN_OR_RETURN(params.padding, numbers(json, "padding", spatial, 0, kMaxWindow));
  return params;
}

}  // namespace kiln
