#include "capi/arguments.h"

#include "core/dtype.h"

namespace kiln::capi {

static_assert(
    KILN_F32 == static_cast<int>(DType::kF32) && KILN_F64 == static_cast<int>(DType::kF64) &&
    KILN_F16 == static_cast<int>(DType::kF16) && KILN_BF16 == static_cast<int>(DType::kBF16) &&
    KILN_I8 == static_cast<int>(DType::kI8) && KILN_U8 == static_cast<int>(DType::kU8) &&
    KILN_I16 == static_cast<int>(DType::kI16) && KILN_I32 == static_cast<int>(DType::kI32) &&
    KILN_I64 == static_cast<int>(DType::kI64) && KILN_BOOL == static_cast<int>(DType::kBool));
static_assert(KILN_CPU == static_cast<int>(DeviceKind::kCpu) &&
              KILN_CUDA == static_cast<int>(DeviceKind::kCuda));

Status bad_argument(const std::string& message, const std::string& hint) {
  return Status::error("K1050", message, hint);
}

Status not_null(const void* pointer, const char* name) {
  if (pointer != nullptr) return {};
  return bad_argument(std::string("argument is null: ") + name);
}

Status check_array(const void* array, size_t count, const char* name) {
  return count == 0 ? Status() : not_null(array, name);
}

Result<DType> read_dtype(int32_t dtype) {
  if (dtype < KILN_F32 || dtype > KILN_BOOL) {
    return bad_argument("not a dtype: " + std::to_string(dtype));
  }
  return static_cast<DType>(dtype);
}

Status read_tensor(const kiln_tensor& tensor, TensorView& view) {
  KILN_ASSIGN_OR_RETURN(view.dtype, read_dtype(tensor.dtype));
  if (tensor.device != KILN_CPU && tensor.device != KILN_CUDA) {
    return bad_argument("not a device: " + std::to_string(tensor.device));
  }
  if (tensor.rank < 0) return bad_argument("rank is negative: " + std::to_string(tensor.rank));
  if (tensor.rank > 0) KILN_RETURN_IF_ERROR(not_null(tensor.shape, "shape"));
  view.data = tensor.data;
  view.device = {static_cast<DeviceKind>(tensor.device), tensor.device_index};
  view.rank = tensor.rank;
  view.shape = tensor.shape;
  view.strides = tensor.strides;
  return {};
}

Status read_tensors(const kiln_tensor* tensors, size_t count, const char* name,
                    std::vector<TensorView>& views) {
  KILN_RETURN_IF_ERROR(check_array(tensors, count, name));
  views.resize(count);
  for (size_t i = 0; i < count; ++i) {
    Status status = read_tensor(tensors[i], views[i]);
    if (!status.ok()) return std::move(status).at(std::string(name) + " " + std::to_string(i));
  }
  return {};
}

Result<std::vector<std::string>> read_texts(const char* const* texts, size_t count,
                                            const char* name) {
  KILN_RETURN_IF_ERROR(check_array(texts, count, name));
  std::vector<std::string> result;
  for (size_t i = 0; i < count; ++i) {
    KILN_RETURN_IF_ERROR(not_null(texts[i], name));
    result.emplace_back(texts[i]);
  }
  return result;
}

Result<std::vector<WeightView>> read_weights(const kiln_weight* weights, size_t count) {
  KILN_RETURN_IF_ERROR(check_array(weights, count, "weights"));
  std::vector<WeightView> result;
  for (size_t i = 0; i < count; ++i) {
    KILN_RETURN_IF_ERROR(not_null(weights[i].name, "name of a weight"));
    TensorView view;
    Status status = read_tensor(weights[i].value, view);
    if (!status.ok()) return std::move(status).at(weights[i].name);
    WeightView weight;
    weight.name = weights[i].name;
    if (view.strides != nullptr) {
      return bad_argument("a weight must be contiguous, with null strides: " + weight.name);
    }
    weight.dtype = view.dtype;
    weight.shape.assign(view.shape, view.shape + view.rank);
    weight.data = view.data;
    weight.bytes = dtype_bytes(view.dtype);
    for (int64_t extent : weight.shape) {
      if (extent < 0 ||
          __builtin_mul_overflow(weight.bytes, static_cast<size_t>(extent), &weight.bytes)) {
        return bad_argument("shape of a weight makes no sense: " + weight.name);
      }
    }
    weight.device = view.device;
    result.push_back(std::move(weight));
  }
  return result;
}

Result<int> read_threads(int32_t threads) {
  if (threads < 0) return bad_argument("threads are negative: " + std::to_string(threads));
  return threads;
}

Result<LoadOptions> read_load_options(const kiln_load_options* given) {
  KILN_ASSIGN_OR_RETURN(const kiln_load_options read, read_options(given));
  LoadOptions options;
  KILN_ASSIGN_OR_RETURN(options.threads, read_threads(read.threads));
  options.trust = read.trust != 0;
  KILN_ASSIGN_OR_RETURN(options.allow_ops,
                        read_texts(read.allow_ops, read.allow_op_count, "allow_ops"));
  options.host = reinterpret_cast<Host*>(read.host);
  options.device_index = read.device_index;
  options.cuda_graphs = read.no_cuda_graphs == 0;
  KILN_ASSIGN_OR_RETURN(options.weights, read_weights(read.weights, read.weight_count));
  return options;
}

kiln_tensor to_c(const TensorView& view) {
  return {view.data,
          static_cast<int32_t>(view.dtype),
          static_cast<int32_t>(view.device.kind),
          view.device.index,
          view.rank,
          view.shape,
          view.strides};
}

kiln_tensor to_c(const TensorSpec& spec, const Device& device) {
  return {nullptr,
          static_cast<int32_t>(spec.dtype),
          static_cast<int32_t>(device.kind),
          device.index,
          static_cast<int32_t>(spec.shape.size()),
          spec.shape.data(),
          spec.strides.data()};
}

}  // namespace kiln::capi
