// Operation graphs of cuDNN: tensors and operations by name of their roles, the engines that its
// heuristics offer for them, and plans that run.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/cudnn_api.h"
#include "core/dtype.h"

namespace kiln::cuda {

// Owns one descriptor of the library.
class CudnnObject {
 public:
  static Result<CudnnObject> make(const Cudnn& library, int type);
  CudnnObject() = default;
  CudnnObject(CudnnObject&& other) noexcept;
  CudnnObject& operator=(CudnnObject&& other) noexcept;
  ~CudnnObject();

  CudnnDescriptor get() const { return descriptor_; }
  const Cudnn& library() const { return *library_; }
  Status set(int attribute, int type, int64_t count, const void* values);
  Status set(int attribute, const std::vector<int64_t>& values);
  Status set(int attribute, int type, const CudnnObject& value);  // a descriptor
  Status finalize();

 private:
  const Cudnn* library_ = nullptr;
  CudnnDescriptor descriptor_ = nullptr;
};

// For whom engines are chosen and plans are made: a device that is there, by a handle, or one that
// is described, so that a compiler can ask on a machine without a GPU (cuDNN 9.8 and later).
struct CudnnDevice {
  CudnnHandle handle = nullptr;
  std::shared_ptr<CudnnObject> properties;

  // K5308 when the library cannot take a description.
  static Result<CudnnDevice> described(const Cudnn& library, int sm, int multiprocessors);
};

struct CudnnTensorDesc {
  DType dtype = DType::kF32;
  std::vector<int64_t> dims, strides;
  int64_t alignment = 16;  // bytes
  bool is_virtual = false;  // an intermediate result without memory
};

// What engines may not do.
struct CudnnArithmetic {
  bool tensor_cores = true;  // f32: without them nothing is rounded to TF32
};

class CudnnPlan;

class CudnnGraph {
 public:
  explicit CudnnGraph(const Cudnn& library) : library_(&library) {}

  // Ids of tensors: consecutive from 1. `number`: the tensor holds this, by value, f32.
  Result<int64_t> tensor(const CudnnTensorDesc& desc, std::optional<float> number = {});

  struct Convolution {
    DType math = DType::kF32;
    std::vector<int64_t> stride, dilation, padding_low, padding_high;
  };
  // y = conv(x, w); `transposed`: the gradient of one towards its input, x being that of its
  // result.
  Status convolution(const Convolution& convolution, bool transposed, int64_t x, int64_t w,
                     int64_t y);
  struct Pointwise {
    int mode = kCudnnAdd;
    double lower_clip = 0, upper_clip = 0, slope = 0;  // relu, where has_clips
    bool has_upper_clip = false;
    double alpha = 1;  // elu
    int64_t axis = -1;  // whose indices kCudnnGenIndex makes
    DType math = DType::kF32;
  };
  // y = mode(x) or, with b > 0, mode(x, b). With t > 0 (kCudnnBinarySelect): t ? x : b.
  Status pointwise(const Pointwise& operation, int64_t x, int64_t b, int64_t y, int64_t t = 0);
  // c[..., m, n] = a[..., m, k] * b[..., k, n], summed in f32; a batch dim of b may divide that of
  // a, whose neighbours then share a matrix.
  Status matmul(int64_t a, int64_t b, int64_t c);
  // y = x reduced over the dims that have size 1 in y; f32.
  Status reduction(CudnnReduce mode, int64_t x, int64_t y);

  // No more operations.
  Status finish(const CudnnDevice& device);

  // Configurations of engines, in the order of the heuristics: modes A, B, fallback; each once.
  // Ones that reduce in less than f32, are not deterministic or break `arithmetic` are left out. A
  // mode costs milliseconds: `all` asks each of them, without it those up to the first with an
  // answer.
  Status find_engines(const CudnnDevice& device, const CudnnArithmetic& arithmetic, bool all);
  size_t num_engines() const { return engines_.size(); }
  // "eng11{12=0,...}": the same in every process with this version of the library.
  const std::string& engine_name(size_t i) const { return engines_[i].name; }
  Result<std::unique_ptr<CudnnPlan>> plan(const CudnnDevice& device, size_t engine) const;
  // Which plans are wanted: the first that fits or all, of every mode of the heuristics or of the
  // first that has any.
  struct Wanted {
    bool all_plans = false, all_modes = false;
  };
  // Plans that can be made and fit into `workspace_bytes`. Where none fits, the one that needs
  // least. K5308 when no plan can be made.
  Result<std::vector<std::unique_ptr<CudnnPlan>>> fitting_plans(const CudnnDevice& device,
                                                                const CudnnArithmetic& arithmetic,
                                                                int64_t workspace_bytes,
                                                                Wanted wanted);

 private:
  struct Engine {
    CudnnObject config;
    std::string name;
  };
  const CudnnObject& tensor_of(int64_t id) const { return tensors_[static_cast<size_t>(id - 1)]; }
  Status add(int type, std::initializer_list<std::pair<int, const CudnnObject*>> roles);
  Result<std::string> name_of(CudnnObject& config, const CudnnArithmetic& arithmetic,
                              bool* allowed) const;

  const Cudnn* library_;
  std::vector<CudnnObject> tensors_;
  std::vector<std::pair<int64_t, float>> numbers_;  // tensors by value
  std::vector<CudnnObject> parts_;                  // what operations refer to
  std::vector<CudnnObject> operations_;
  CudnnObject graph_;
  std::vector<Engine> engines_;
};

class CudnnPlan {
 public:
  size_t workspace_bytes() const { return workspace_bytes_; }
  const std::string& engine() const { return engine_; }
  // Memory of the tensors by id, at most kMaxTensors; numbers are known. Thread-safe with a handle
  // per thread. K5308.
  static constexpr size_t kMaxTensors = 12;
  Status run(CudnnHandle handle, CUstream stream, std::span<const int64_t> ids,
             std::span<void* const> memory, void* workspace) const;

 private:
  friend class CudnnGraph;
  CudnnObject plan_;
  size_t workspace_bytes_ = 0;
  std::string engine_;
  std::vector<std::pair<int64_t, float>> numbers_;
  mutable std::mutex mutex_;  // the library does not promise that a plan runs twice at once
};

Result<int> cudnn_data_type(DType dtype);  // K3212

// " 2x3/3x1@16": a tensor in the key of a problem.
std::string text_of(const CudnnTensorDesc& tensor);

// What the library has said about problems on described devices, by the problem's key: a compiler
// asks the same several times.
class CudnnAnswers {
 public:
  static CudnnAnswers& global();
  std::optional<Status> find(const Cudnn* library, const std::string& key);
  void add(const Cudnn* library, const std::string& key, const Status& answer);

 private:
  static constexpr size_t kMaxEntries = 4096;
  std::mutex mutex_;
  std::map<std::pair<const Cudnn*, std::string>, Status> entries_;
};

}  // namespace kiln::cuda
