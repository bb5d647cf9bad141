#include "backends/cuda/runtime/cublaslt_matmul.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

Result<int> data_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return kCudaR32F;
    case DType::kF64: return kCudaR64F;
    case DType::kF16: return kCudaR16F;
    case DType::kBF16: return kCudaR16BF;
    default: break;
  }
  return Status::error("K3212", "matmul step: dtype " + std::string(dtype_name(dtype)));
}

int compute_type(const CublasLtParams& params) {
  if (params.dtype == DType::kF64) return kCublasCompute64F;
  const bool tf32 = params.dtype == DType::kF32 && params.allow_tf32;
  return tf32 ? kCublasCompute32FFastTf32 : kCublasCompute32F;
}

uint32_t epilogue(const CublasLtParams& params) {
  uint32_t bits = params.bias ? kCublasLtEpilogueBias : 0;
  if (params.activation == MatmulActivation::kRelu) bits |= kCublasLtEpilogueRelu;
  if (params.activation == MatmulActivation::kGeluTanh) bits |= kCublasLtEpilogueGelu;
  return bits == 0 ? uint32_t{kCublasLtEpilogueDefault} : bits;
}

using Candidates = std::shared_ptr<const std::vector<CublasLtHeuristic>>;

// What heuristics have said, by library and key: the shapes of a model come again and again.
class HeuristicsCache {
 public:
  static HeuristicsCache& global() {
    static auto* cache = new HeuristicsCache;
    return *cache;
  }
  Candidates find(const CublasLt* library, const std::string& key) {
    std::lock_guard lock(mutex_);
    auto found = entries_.find({library, key});
    return found == entries_.end() ? nullptr : found->second;
  }
  void add(const CublasLt* library, const std::string& key, Candidates candidates) {
    std::lock_guard lock(mutex_);
    if (entries_.size() >= kMaxEntries) entries_.clear();
    entries_[{library, key}] = std::move(candidates);
  }

 private:
  static constexpr size_t kMaxEntries = 4096;
  std::mutex mutex_;
  std::map<std::pair<const CublasLt*, std::string>, Candidates> entries_;
};

template <typename T>
Status set(const CublasLt& library, CublasLtMatmulDesc& desc, int attribute, const T& value) {
  return check(library,
               library.cublasLtMatmulDescSetAttribute(&desc, attribute, &value, sizeof(value)),
               "cublasLtMatmulDescSetAttribute");
}

template <typename T>
Status set(const CublasLt& library, CublasLtMatrixLayout& layout, int attribute, const T& value) {
  return check(library,
               library.cublasLtMatrixLayoutSetAttribute(&layout, attribute, &value, sizeof(value)),
               "cublasLtMatrixLayoutSetAttribute");
}

template <typename T>
Status set(const CublasLt& library, CublasLtPreference& preference, int attribute,
           const T& value) {
  return check(
      library,
      library.cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)),
      "cublasLtMatmulPreferenceSetAttribute");
}

}  // namespace

std::string CublasLtParams::key() const {
  std::string text = std::string(dtype_name(dtype)) + (allow_tf32 ? " tf32 " : " ") +
                     problem.to_string() + " e" + std::to_string(epilogue(*this)) +
                     (add ? " add" : "") + " w" + std::to_string(max_workspace_bytes) + " a";
  for (uint32_t alignment : alignments) text += std::to_string(alignment) + ",";
  return text + std::to_string(bias_alignment);
}

Result<CublasLtMatmulDesc> CublasLtMatmul::make_desc(const void* bias) const {
  const CublasLt& library = *library_;
  KILN_ASSIGN_OR_RETURN(const int type, data_type(params_.dtype));
  CublasLtMatmulDesc desc{};
  KILN_CUBLASLT_RETURN_IF_ERROR(library, cublasLtMatmulDescInit_internal, &desc, sizeof(desc),
                                compute_type(params_),
                                type == kCudaR64F ? int{kCudaR64F} : int{kCudaR32F});
  auto operation = [](const ColumnMajorMatrix& matrix) {
    return matrix.transposed ? int32_t{kCublasOpT} : int32_t{kCublasOpN};
  };
  const auto& matrices = params_.problem.matrices;
  KILN_RETURN_IF_ERROR(set(library, desc, kCublasLtMatmulTransA, operation(matrices[kMatmulA])));
  KILN_RETURN_IF_ERROR(set(library, desc, kCublasLtMatmulTransB, operation(matrices[kMatmulB])));
  KILN_RETURN_IF_ERROR(set(library, desc, kCublasLtMatmulEpilogue, epilogue(params_)));
  if (bias != nullptr) {
    KILN_RETURN_IF_ERROR(set(library, desc, kCublasLtMatmulBiasPointer, bias));
    KILN_RETURN_IF_ERROR(set(library, desc, kCublasLtMatmulBiasDataType, int32_t{type}));
  }
  return desc;
}

Result<std::unique_ptr<CublasLtMatmul>> CublasLtMatmul::create(const CublasLtParams& params) {
  KILN_CHECK(!params.problem.calls.empty());
  KILN_ASSIGN_OR_RETURN(const CublasLt* table, cublaslt());
  const CublasLt& library = *table;
  std::unique_ptr<CublasLtMatmul> matmul(new CublasLtMatmul);
  matmul->library_ = table;
  matmul->params_ = params;
  KILN_ASSIGN_OR_RETURN(matmul->handle_, cublaslt_handle(library, params.device));
  KILN_ASSIGN_OR_RETURN(const int type, data_type(params.dtype));
  for (size_t i = 0; i < 4; ++i) {
    const ColumnMajorMatrix& matrix = params.problem.matrices[i];
    CublasLtMatrixLayout& layout = matmul->layouts_[i];
    KILN_CUBLASLT_RETURN_IF_ERROR(library, cublasLtMatrixLayoutInit_internal, &layout,
                                  sizeof(layout), type, static_cast<uint64_t>(matrix.rows),
                                  static_cast<uint64_t>(matrix.columns), matrix.leading);
    if (params.problem.batch == 1) continue;
    KILN_RETURN_IF_ERROR(set(library, layout, kCublasLtLayoutBatchCount,
                             static_cast<int32_t>(params.problem.batch)));
    KILN_RETURN_IF_ERROR(set(library, layout, kCublasLtLayoutBatchStride, matrix.batch_stride));
  }
  // For the heuristics the bias has an address as little aligned as the real one may be.
  const auto stand_in = uintptr_t{1 << 20} + params.bias_alignment;
  KILN_ASSIGN_OR_RETURN(
      matmul->desc_,
      matmul->make_desc(params.bias ? reinterpret_cast<const void*>(stand_in) : nullptr));

  const int most = params.max_candidates;
  const std::string key =
      std::to_string(params.device) + ", " + std::to_string(most) + ": " + params.key();
  matmul->candidates_ = HeuristicsCache::global().find(table, key);
  if (matmul->candidates_ != nullptr) return matmul;
  CublasLtPreference preference{};
  KILN_CUBLASLT_RETURN_IF_ERROR(library, cublasLtMatmulPreferenceInit_internal, &preference,
                                sizeof(preference));
  KILN_RETURN_IF_ERROR(set(library, preference, kCublasLtPreferMaxWorkspaceBytes,
                           uint64_t{params.max_workspace_bytes}));
  KILN_RETURN_IF_ERROR(
      set(library, preference, kCublasLtPreferReductionSchemeMask, kCublasLtExactReductions));
  for (size_t i = 0; i < 4; ++i) {
    KILN_RETURN_IF_ERROR(set(library, preference,
                             kCublasLtPreferMinAlignmentA + static_cast<int>(i),
                             params.alignments[i]));
  }
  std::vector<CublasLtHeuristic> found(static_cast<size_t>(most));
  int count = 0;
  const auto& layouts = matmul->layouts_;
  const CublasStatus status = library.cublasLtMatmulAlgoGetHeuristic(
      matmul->handle_, &matmul->desc_, &layouts[kMatmulA], &layouts[kMatmulB], &layouts[kMatmulC],
      &layouts[kMatmulD], &preference, most, found.data(), &count);
  if (status != 0 && status != kCublasNotSupported) {
    return check(library, status, "cublasLtMatmulAlgoGetHeuristic");
  }
  found.resize(status == 0 ? static_cast<size_t>(std::clamp(count, 0, most)) : 0);
  std::erase_if(found, [&](const CublasLtHeuristic& one) {
    return one.state != 0 || one.workspace_bytes > params.max_workspace_bytes;
  });
  if (found.empty()) {
    return Status::error("K5308", "cuBLASLt has no algorithm for a product: " + params.key());
  }
  matmul->candidates_ = std::make_shared<const std::vector<CublasLtHeuristic>>(std::move(found));
  HeuristicsCache::global().add(table, key, matmul->candidates_);
  return matmul;
}

Status CublasLtMatmul::run(const Args& args) const {
  return run_calls((*candidates_)[chosen_], params_.problem.calls.size(), args);
}

Status CublasLtMatmul::run_once(size_t candidate, const Args& args) const {
  return run_calls((*candidates_)[candidate], 1, args);
}

Status CublasLtMatmul::run_calls(const CublasLtHeuristic& algorithm, size_t calls,
                                 const Args& args) const {
  CublasLtMatmulDesc desc = desc_;
  if (params_.bias) {
    KILN_ASSIGN_OR_RETURN(desc, make_desc(args.bias));
  }
  const float alpha32 = static_cast<float>(params_.alpha), beta32 = params_.add ? 1.0f : 0.0f;
  const double alpha64 = params_.alpha, beta64 = params_.add ? 1.0 : 0.0;
  const bool f64 = params_.dtype == DType::kF64;
  const void* alpha = f64 ? static_cast<const void*>(&alpha64) : &alpha32;
  const void* beta = f64 ? static_cast<const void*>(&beta64) : &beta32;
  const auto bytes = static_cast<int64_t>(dtype_bytes(params_.dtype));
  auto moved = [bytes](const void* base, int64_t elements) {
    return static_cast<const char*>(base) + elements * bytes;
  };
  // Without c, what stands in its place is not read.
  const void* c = params_.add ? args.c : args.d;
  for (size_t i = 0; i < calls; ++i) {
    const auto& offset = params_.problem.calls[i];
    const int64_t c_offset = params_.add ? offset[kMatmulC] : offset[kMatmulD];
    KILN_CUBLASLT_RETURN_IF_ERROR(
        *library_, cublasLtMatmul, handle_, &desc, alpha, moved(args.a, offset[kMatmulA]),
        &layouts_[kMatmulA], moved(args.b, offset[kMatmulB]), &layouts_[kMatmulB], beta,
        moved(c, c_offset), &layouts_[kMatmulC],
        const_cast<char*>(moved(args.d, offset[kMatmulD])), &layouts_[kMatmulD], &algorithm.algo,
        args.workspace, algorithm.workspace_bytes, args.stream);
  }
  return {};
}

}  // namespace kiln::cuda
