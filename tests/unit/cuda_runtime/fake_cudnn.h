// cuDNN's graph API on host memory: descriptors keep what is set, executing a plan computes its
// operations one by one in double precision. Convolutions have engines only where every tensor is
// packed channels-last, as the fast ones of the real library demand; attention where the
// operations are those that the real library looks for, in that order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/runtime/cudnn_api.h"
#include "core/dtype.h"

namespace kiln::cuda_test {

struct FakeCudnn {
  int executions = 0;
  int engines = 3;           // that the heuristics give; engine i wants i KiB
  int failing_plans = 0;     // the first so many plans cannot be made
  int tensor_core_engines = 1;  // the first so many engines use tensor cores
  int live = 0;              // descriptors
  size_t version = 91900;
  int plans = 0;             // that were made
  std::string last_error;
};
inline FakeCudnn& fake_cudnn() {
  static FakeCudnn fake;
  return fake;
}

namespace fake_dnn {

using namespace cuda;  // NOLINT(google-build-using-namespace)

struct Object {
  int type = 0;
  bool final = false;
  std::map<int, std::vector<char>> attributes;
  int engine = -1;  // of engines and their configurations

  template <typename T>
  std::vector<T> all(int attribute) const {
    const auto found = attributes.find(attribute);
    if (found == attributes.end()) return {};
    std::vector<T> values(found->second.size() / sizeof(T));
    std::memcpy(values.data(), found->second.data(), values.size() * sizeof(T));
    return values;
  }
  template <typename T>
  T one(int attribute, T otherwise = {}) const {
    const auto found = attributes.find(attribute);
    if (found != attributes.end()) std::memcpy(&otherwise, found->second.data(), sizeof(T));
    return otherwise;
  }
  const Object& object(int attribute) const {
    return *static_cast<const Object*>(one<void*>(attribute));
  }
};

inline size_t bytes_of(int type) {
  switch (type) {
    case kCudnnTypeInt64:
    case kCudnnTypeDouble:
    case kCudnnTypePointer:
    case kCudnnTypeDescriptor:
    case kCudnnTypeHandle: return 8;
    case kCudnnTypeBoolean:
    case kCudnnTypeChar: return 1;
    default: return 4;
  }
}

inline CudnnStatus fail(const char* why) {
  fake_cudnn().last_error = why;
  return 3000;
}
inline size_t version() { return fake_cudnn().version; }
inline const char* text(CudnnStatus) { return "CUDNN_STATUS_TEST"; }
inline void last_error(char* message, size_t bytes) {
  std::snprintf(message, bytes, "%s", fake_cudnn().last_error.c_str());
}
inline CudnnStatus create_handle(CudnnHandle* handle) {
  *handle = reinterpret_cast<CudnnHandle>(&fake_cudnn());
  return 0;
}
inline CudnnStatus destroy_handle(CudnnHandle) { return 0; }
inline CudnnStatus set_stream(CudnnHandle, CUstream) { return 0; }
// Never freed before the process ends: the real library's descriptors keep what they refer to.
inline CudnnStatus create(int type, CudnnDescriptor* descriptor) {
  static auto* objects = new std::vector<std::unique_ptr<Object>>;
  objects->push_back(std::make_unique<Object>());
  objects->back()->type = type;
  *descriptor = objects->back().get();
  ++fake_cudnn().live;
  return 0;
}
inline CudnnStatus destroy(CudnnDescriptor) {
  --fake_cudnn().live;
  return 0;
}
inline CudnnStatus set(CudnnDescriptor descriptor, int attribute, int type, int64_t count,
                       const void* values) {
  auto* object = static_cast<Object*>(descriptor);
  if (object->final) return fail("set after finalize");
  const auto* bytes = static_cast<const char*>(values);
  object->attributes[attribute].assign(bytes,
                                       bytes + bytes_of(type) * static_cast<size_t>(count));
  return 0;
}

struct Tensor {
  std::vector<int64_t> dims, strides;
  int dtype = 0;
  int64_t id = 0;
  bool is_virtual = false, by_value = false;
};
inline Tensor tensor_of(const Object& object) {
  return {object.all<int64_t>(kCudnnTensorDims), object.all<int64_t>(kCudnnTensorStrides),
          object.one<int>(kCudnnTensorDataType), object.one<int64_t>(kCudnnTensorId),
          object.one<bool>(kCudnnTensorIsVirtual), object.one<bool>(kCudnnTensorIsByValue)};
}
inline bool packed_channels_last(const Tensor& t) {
  int64_t expected = 1;
  for (size_t i = 0; i < t.dims.size(); ++i) {
    const size_t dim = i == 0 ? 1 : i + 1 < t.dims.size() ? t.dims.size() - i : 0;
    if (t.strides[dim] != expected) return false;
    expected *= t.dims[dim];
  }
  return true;
}
inline std::vector<const Object*> operations_of(const Object& graph) {
  std::vector<const Object*> list;
  for (void* operation : graph.all<void*>(kCudnnGraphOperations)) {
    list.push_back(static_cast<const Object*>(operation));
  }
  return list;
}

inline int mode_of(const Object& operation) {
  if (operation.type == kCudnnOperationPointwise) {
    return operation.object(kCudnnOperationPointwiseDescriptor).one<int>(kCudnnPointwiseMode, -1);
  }
  if (operation.type == kCudnnOperationReduction) {
    return operation.object(kCudnnOperationReductionDescriptor).one<int>(kCudnnReductionMode, -1);
  }
  return -1;
}

// What the engines of cuDNN 9.19 for attention accept, tried with the library.
inline const char* misfit_of_attention(const std::vector<const Object*>& operations) {
  std::vector<int> seen;
  for (const Object* operation : operations) {
    seen.push_back(operation->type * 1000 + mode_of(*operation));
    if (operation->type != kCudnnOperationMatmul) continue;
    const Tensor a = tensor_of(operation->object(kCudnnOperationMatmulA));
    const Tensor b = tensor_of(operation->object(kCudnnOperationMatmulB));
    const Tensor c = tensor_of(operation->object(kCudnnOperationMatmulC));
    const bool first = !a.is_virtual;
    if ((first && a.strides[3] != 1) || b.strides[first ? 2 : 3] != 1 || c.strides[3] != 1) {
      return "the real library crashes";
    }
  }
  const int product = kCudnnOperationMatmul * 1000 - 1, point = kCudnnOperationPointwise * 1000;
  const int reduce = kCudnnOperationReduction * 1000;
  std::vector<int> wanted{product, point + kCudnnMul};
  if (seen.size() > 2 && seen[2] == point + kCudnnAdd) wanted.push_back(seen[2]);
  if (seen.size() > wanted.size() && seen[wanted.size()] == point + kCudnnGenIndex) {
    wanted.insert(wanted.end(), {point + kCudnnGenIndex, point + kCudnnGenIndex,
                                 point + kCudnnGreaterEqual, point + kCudnnBinarySelect});
  }
  wanted.insert(wanted.end(), {reduce + kCudnnReduceMax, point + kCudnnSub, point + kCudnnExp,
                               reduce + kCudnnReduceAdd, point + kCudnnLog, point + kCudnnAdd,
                               point + kCudnnDiv, product});
  return seen == wanted ? nullptr : "not the operations of attention";
}

inline CudnnStatus finalize(CudnnDescriptor descriptor) {
  auto* object = static_cast<Object*>(descriptor);
  if (object->type == kCudnnEngineHeuristics) {
    const auto operations = operations_of(object->object(kCudnnHeuristicGraph));
    const bool attention = std::any_of(operations.begin(), operations.end(), [](const auto* op) {
      return op->type == kCudnnOperationMatmul;
    });
    const char* misfit = attention ? misfit_of_attention(operations) : nullptr;
    if (misfit != nullptr) return fail(misfit);
    for (const Object* operation : operations) {
      if (attention || operation->type == kCudnnOperationPointwise) continue;
      const bool forward = operation->type == kCudnnConvolutionForward;
      for (const int role : forward ? std::vector<int>{kCudnnForwardX, kCudnnForwardW,
                                                       kCudnnForwardY}
                                    : std::vector<int>{kCudnnBackwardDataDy, kCudnnBackwardDataW,
                                                       kCudnnBackwardDataDx}) {
        if (!packed_channels_last(tensor_of(operation->object(role)))) {
          return fail("a tensor is not packed channels-last");
        }
      }
    }
  }
  if (object->type == kCudnnExecutionPlan) {
    const Object& config = object->object(kCudnnPlanEngineConfig);
    if (config.engine < fake_cudnn().failing_plans) return fail("this engine cannot");
    ++fake_cudnn().plans;
  }
  object->final = true;
  return 0;
}

inline CudnnStatus get(CudnnDescriptor descriptor, int attribute, int, int64_t wanted,
                       int64_t* count, void* values) {
  auto* object = static_cast<Object*>(descriptor);
  *count = 1;
  if (object->type == kCudnnEngineHeuristics && attribute == kCudnnHeuristicResults) {
    const int mode = object->one<int>(kCudnnHeuristicMode);
    *count = mode == kCudnnHeuristicFallback ? 1 : fake_cudnn().engines;
    for (int64_t i = 0; i < wanted && i < *count; ++i) {
      auto* config = static_cast<Object**>(values)[i];
      config->engine = mode == kCudnnHeuristicFallback ? 99 : static_cast<int>(i);
      config->attributes[-1] = object->attributes[kCudnnHeuristicGraph];
    }
  } else if (object->type == kCudnnEngineConfig && attribute == kCudnnEngineConfigEngine) {
    (*static_cast<Object**>(values))->engine = object->engine;
  } else if (object->type == kCudnnEngine && attribute == kCudnnEngineGlobalIndex) {
    *static_cast<int64_t*>(values) = object->engine;
  } else if (object->type == kCudnnEngine && attribute == kCudnnEngineNumericalNotes) {
    *count = object->engine < fake_cudnn().tensor_core_engines ? 1 : 0;
    *static_cast<int*>(values) = kCudnnNoteTensorCore;
  } else if (object->type == kCudnnExecutionPlan && attribute == kCudnnPlanWorkspaceBytes) {
    *static_cast<int64_t*>(values) =
        int64_t{1024} * object->object(kCudnnPlanEngineConfig).engine;
  } else {
    return fail("no such attribute");
  }
  return 0;
}

// Values of a tensor, over its dims in row-major order.
using Values = std::vector<double>;

inline void walk(const std::vector<int64_t>& dims,
                 const std::function<void(const std::vector<int64_t>&, size_t)>& visit) {
  std::vector<int64_t> at(dims.size(), 0);
  size_t flat = 0;
  for (bool more = true; more; ++flat) {
    visit(at, flat);
    more = false;
    for (size_t d = dims.size(); d-- > 0 && !more;) {
      more = ++at[d] < dims[d];
      if (!more) at[d] = 0;
    }
  }
}
inline size_t flat_of(const std::vector<int64_t>& dims, const std::vector<int64_t>& at) {
  size_t flat = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    flat = flat * static_cast<size_t>(dims[d]) + static_cast<size_t>(dims[d] == 1 ? 0 : at[d]);
  }
  return flat;
}
inline size_t count_of(const std::vector<int64_t>& dims) {
  size_t n = 1;
  for (const int64_t d : dims) n *= static_cast<size_t>(d);
  return n;
}
inline int64_t offset_of(const Tensor& t, const std::vector<int64_t>& at) {
  int64_t offset = 0;
  for (size_t d = 0; d < at.size(); ++d) offset += at[d] * t.strides[d];
  return offset;
}

class Machine {
 public:
  explicit Machine(const Object& pack) {
    const auto ids = pack.all<int64_t>(kCudnnPackIds);
    const auto pointers = pack.all<void*>(kCudnnPackPointers);
    for (size_t i = 0; i < ids.size(); ++i) memory_[ids[i]] = pointers[i];
  }

  Values read(const Object& object) {
    const Tensor t = tensor_of(object);
    if (t.is_virtual) return virtual_[t.id];
    Values values(count_of(t.dims));
    const void* data = memory_.at(t.id);
    walk(t.dims, [&](const std::vector<int64_t>& at, size_t flat) {
      const int64_t i = t.by_value ? 0 : offset_of(t, at);
      switch (t.dtype) {
        case kCudnnFloat: values[flat] = static_cast<const float*>(data)[i]; break;
        case kCudnnDouble: values[flat] = static_cast<const double*>(data)[i]; break;
        case kCudnnHalf: values[flat] = f16_to_f32(static_cast<const uint16_t*>(data)[i]); break;
        default: values[flat] = bf16_to_f32(static_cast<const uint16_t*>(data)[i]);
      }
    });
    return values;
  }
  void write(const Object& object, const Values& values) {
    const Tensor t = tensor_of(object);
    if (t.is_virtual) {
      virtual_[t.id] = values;
      return;
    }
    void* data = memory_.at(t.id);
    walk(t.dims, [&](const std::vector<int64_t>& at, size_t flat) {
      const int64_t i = offset_of(t, at);
      const auto value = static_cast<float>(values[flat]);
      switch (t.dtype) {
        case kCudnnFloat: static_cast<float*>(data)[i] = value; break;
        case kCudnnDouble: static_cast<double*>(data)[i] = values[flat]; break;
        case kCudnnHalf: static_cast<uint16_t*>(data)[i] = f32_to_f16(value); break;
        default: static_cast<uint16_t*>(data)[i] = f32_to_bf16(value);
      }
    });
  }

  // Both directions: every pair of places that a tap joins.
  void convolution(const Object& op) {
    const bool forward = op.type == kCudnnConvolutionForward;
    const Object& large = op.object(forward ? kCudnnForwardX : kCudnnBackwardDataDx);
    const Object& small = op.object(forward ? kCudnnForwardY : kCudnnBackwardDataDy);
    const Object& weights = op.object(forward ? kCudnnForwardW : kCudnnBackwardDataW);
    const Object& conv =
        op.object(forward ? kCudnnForwardConvolution : kCudnnBackwardDataConvolution);
    const auto stride = conv.all<int64_t>(kCudnnConvolutionStrides);
    const auto dilation = conv.all<int64_t>(kCudnnConvolutionDilations);
    const auto low = conv.all<int64_t>(kCudnnConvolutionPrePaddings);
    const auto dims_l = tensor_of(large).dims, dims_s = tensor_of(small).dims;
    const auto dims_w = tensor_of(weights).dims;
    const int64_t groups = dims_l[1] / dims_w[1], per_group = dims_w[0] / groups;
    const Values w = read(weights);
    Values in = read(forward ? large : small);
    Values out(count_of(forward ? dims_s : dims_l), 0.0);
    std::vector<int64_t> one_filter = dims_w, there;
    one_filter[0] = 1;
    const size_t filter = count_of(one_filter);
    walk(dims_s, [&](const std::vector<int64_t>& at, size_t flat) {
      walk(one_filter, [&](const std::vector<int64_t>& tap, size_t in_filter) {
        const size_t weight = static_cast<size_t>(at[1]) * filter + in_filter;
        there = at;
        there[1] = at[1] / per_group * dims_w[1] + tap[1];
        for (size_t i = 2; i < at.size(); ++i) {
          there[i] = at[i] * stride[i - 2] - low[i - 2] + tap[i] * dilation[i - 2];
          if (there[i] < 0 || there[i] >= dims_l[i]) return;
        }
        const size_t other = flat_of(dims_l, there);
        if (forward) out[flat] += in[other] * w[weight];
        else out[other] += in[flat] * w[weight];
      });
    });
    write(forward ? small : large, out);
  }

  // Batch dims of b that divide those of a are shared by neighbours.
  void matmul(const Object& op) {
    const Object& c = op.object(kCudnnOperationMatmulC);
    const auto dims_a = tensor_of(op.object(kCudnnOperationMatmulA)).dims;
    const auto dims_b = tensor_of(op.object(kCudnnOperationMatmulB)).dims;
    const auto dims = tensor_of(c).dims;
    const Values a = read(op.object(kCudnnOperationMatmulA));
    const Values b = read(op.object(kCudnnOperationMatmulB));
    Values out(count_of(dims), 0.0);
    walk(dims, [&](const std::vector<int64_t>& at, size_t flat) {
      std::vector<int64_t> in_a = at, in_b = at;
      for (size_t d = 0; d < 2; ++d) in_b[d] = at[d] / (dims[d] / dims_b[d]);
      for (int64_t k = 0; k < dims_a[3]; ++k) {
        in_a[3] = in_b[2] = k;
        out[flat] += a[flat_of(dims_a, in_a)] * b[flat_of(dims_b, in_b)];
      }
    });
    write(c, out);
  }

  void reduction(const Object& op) {
    const Object& y = op.object(kCudnnOperationReductionY);
    const auto dims = tensor_of(op.object(kCudnnOperationReductionX)).dims;
    const auto dims_y = tensor_of(y).dims;
    const bool max = mode_of(op) == kCudnnReduceMax;
    const Values x = read(op.object(kCudnnOperationReductionX));
    Values out(count_of(dims_y), max ? -HUGE_VAL : 0.0);
    walk(dims, [&](const std::vector<int64_t>& at, size_t flat) {
      double& result = out[flat_of(dims_y, at)];
      result = max ? std::max(result, x[flat]) : result + x[flat];
    });
    write(y, out);
  }

  void pointwise(const Object& op) {
    const Object& p = op.object(kCudnnOperationPointwiseDescriptor);
    const Object& x = op.object(kCudnnOperationPointwiseX);
    const Object& y = op.object(kCudnnOperationPointwiseY);
    const int mode = p.one<int>(kCudnnPointwiseMode, -1);
    const auto dims = tensor_of(y).dims;
    const Values vx = read(x);
    Values vb, vy(count_of(dims));
    std::vector<int64_t> dims_b;
    const bool binary = mode == kCudnnAdd || mode == kCudnnMul || mode == kCudnnSub ||
                        mode == kCudnnDiv || mode == kCudnnGreaterEqual ||
                        mode == kCudnnBinarySelect;
    Values vt;
    if (mode == kCudnnBinarySelect) vt = read(op.object(kCudnnOperationPointwiseT));
    if (binary) {
      const Object& b = op.object(kCudnnOperationPointwiseB);
      vb = read(b);
      dims_b = tensor_of(b).dims;
    }
    walk(dims, [&](const std::vector<int64_t>& at, size_t flat) {
      const double v = vx[flat];
      double result = v;
      switch (mode) {
        case kCudnnAdd: result = v + vb[flat_of(dims_b, at)]; break;
        case kCudnnMul: result = v * vb[flat_of(dims_b, at)]; break;
        // As the kernels do it: a maximum of minus infinity takes nothing away, a sum of zero
        // divides nothing.
        case kCudnnSub: {
          const double b = vb[flat_of(dims_b, at)];
          result = std::isinf(b) ? v : v - b;
          break;
        }
        case kCudnnDiv: {
          const double b = vb[flat_of(dims_b, at)];
          result = b == 0 ? 0 : v / b;
          break;
        }
        case kCudnnExp: result = std::exp(v); break;
        case kCudnnLog: result = std::log(v); break;
        case kCudnnGenIndex: {
          const auto axis = static_cast<size_t>(p.one<int64_t>(kCudnnPointwiseAxis));
          result = static_cast<double>(at[axis]);
          break;
        }
        case kCudnnGreaterEqual: result = v >= vb[flat_of(dims_b, at)] ? 1 : 0; break;
        case kCudnnBinarySelect: result = vt[flat] != 0 ? v : vb[flat_of(dims_b, at)]; break;
        case kCudnnRelu: {
          const double lower = p.one<double>(kCudnnPointwiseReluLowerClip);
          const double upper = p.one<double>(kCudnnPointwiseReluUpperClip, HUGE_VAL);
          const double slope = p.one<double>(kCudnnPointwiseReluSlope);
          result = v < lower ? lower + slope * (v - lower) : std::min(v, upper);
          break;
        }
        case kCudnnElu:
          result = v > 0 ? v : p.one<double>(kCudnnPointwiseEluAlpha) * std::expm1(v);
          break;
        case kCudnnSigmoid: result = 1 / (1 + std::exp(-v)); break;
        case kCudnnTanh: result = std::tanh(v); break;
        case kCudnnSwish: result = v / (1 + std::exp(-v)); break;
        case kCudnnGelu: result = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); break;
        default:
          result = 0.5 * v *
                   (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) *
                                  (v + 0.044715 * v * v * v)));
      }
      vy[flat] = result;
    });
    write(y, vy);
  }

 private:
  std::map<int64_t, void*> memory_;
  std::map<int64_t, Values> virtual_;
};

inline CudnnStatus execute(CudnnHandle, CudnnDescriptor plan, CudnnDescriptor pack) {
  ++fake_cudnn().executions;
  const auto* object = static_cast<const Object*>(plan);
  const Object& config = object->object(kCudnnPlanEngineConfig);
  Machine machine(*static_cast<const Object*>(pack));
  for (const Object* operation : operations_of(config.object(-1))) {
    if (operation->type == kCudnnOperationPointwise) machine.pointwise(*operation);
    else if (operation->type == kCudnnOperationMatmul) machine.matmul(*operation);
    else if (operation->type == kCudnnOperationReduction) machine.reduction(*operation);
    else machine.convolution(*operation);
  }
  return 0;
}

}  // namespace fake_dnn

inline const cuda::Cudnn& fake_cudnn_table() {
  static const cuda::Cudnn table = [] {
    cuda::Cudnn t;
    t.cudnnGetVersion = fake_dnn::version;
    t.cudnnGetErrorString = fake_dnn::text;
    t.cudnnGetLastErrorString = fake_dnn::last_error;
    t.cudnnCreate = fake_dnn::create_handle;
    t.cudnnDestroy = fake_dnn::destroy_handle;
    t.cudnnSetStream = fake_dnn::set_stream;
    t.cudnnBackendCreateDescriptor = fake_dnn::create;
    t.cudnnBackendDestroyDescriptor = fake_dnn::destroy;
    t.cudnnBackendFinalize = fake_dnn::finalize;
    t.cudnnBackendSetAttribute = fake_dnn::set;
    t.cudnnBackendGetAttribute = fake_dnn::get;
    t.cudnnBackendExecute = fake_dnn::execute;
    return t;
  }();
  return table;
}

}  // namespace kiln::cuda_test
