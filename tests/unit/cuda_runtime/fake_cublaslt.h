// cuBLASLt as its documentation says, on host memory: descriptors are decoded and products computed
// as column-major matrices with leading dimensions. What a step asks of the library is so checked
// by its results. It refuses what the real one refuses.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/runtime/cublaslt_api.h"
#include "core/dtype.h"

namespace kiln::cuda_test {

using namespace cuda;  // NOLINT(google-build-using-namespace): one library's names

struct FakeCublasLt {
  // What was asked.
  struct Heuristics {
    uint64_t workspace = 0;
    uint32_t reductions = 0;
    uint32_t alignments[4] = {};
    int compute_type = 0;
    uint64_t bias = 0;
  };
  std::vector<Heuristics> asked;
  int products = 0;
  int last_algorithm = -1;
  int algorithms = 3;             // how many the heuristics give; algorithm i wants i KiB
  CublasStatus heuristic_status = 0;
  CublasStatus matmul_status = 0;
};
inline FakeCublasLt& fake_cublaslt() {
  static FakeCublasLt fake;
  return fake;
}

namespace fake_lt {

// Words of a layout: type, rows, columns, leading, batches, batch stride.
enum { kType, kRows, kColumns, kLeading, kBatches, kBatchStride };
// Words of a matmul descriptor; attribute N is word 2 + N, at most 27 of them.
enum { kComputeType, kScaleType };
inline uint64_t& attribute_of(CublasLtMatmulDesc* desc, int attribute) {
  return desc->data[2 + attribute];
}
constexpr CublasStatus kInvalid = 7;

inline size_t version() { return 130100; }
inline const char* text(CublasStatus status) { return status == 15 ? "not supported" : "status"; }
inline CublasStatus create(CublasLtHandle* handle) {
  *handle = reinterpret_cast<CublasLtHandle>(&fake_cublaslt());
  return 0;
}
inline CublasStatus layout_init(CublasLtMatrixLayout* layout, size_t bytes, int type, uint64_t rows,
                                uint64_t columns, int64_t leading) {
  if (bytes != 64 || rows == 0 || columns == 0 || leading < static_cast<int64_t>(rows)) {
    return kInvalid;
  }
  std::memset(layout, 0, bytes);
  layout->data[kType] = static_cast<uint64_t>(type);
  layout->data[kRows] = rows;
  layout->data[kColumns] = columns;
  layout->data[kLeading] = static_cast<uint64_t>(leading);
  layout->data[kBatches] = 1;
  return 0;
}
inline CublasStatus layout_set(CublasLtMatrixLayout* layout, int attribute, const void* value,
                               size_t bytes) {
  if (attribute == kCublasLtLayoutBatchCount && bytes == 4) {
    layout->data[kBatches] = static_cast<uint64_t>(*static_cast<const int32_t*>(value));
  } else if (attribute == kCublasLtLayoutBatchStride && bytes == 8) {
    layout->data[kBatchStride] = static_cast<uint64_t>(*static_cast<const int64_t*>(value));
  } else {
    return kInvalid;
  }
  return 0;
}
inline CublasStatus desc_init(CublasLtMatmulDesc* desc, size_t bytes, int compute, int scale) {
  if (bytes != 256) return kInvalid;
  std::memset(desc, 0, bytes);
  desc->data[kComputeType] = static_cast<uint64_t>(compute);
  desc->data[kScaleType] = static_cast<uint64_t>(scale);
  attribute_of(desc, kCublasLtMatmulEpilogue) = kCublasLtEpilogueDefault;
  return 0;
}
inline CublasStatus desc_set(CublasLtMatmulDesc* desc, int attribute, const void* value,
                             size_t bytes) {
  const size_t wanted = attribute == kCublasLtMatmulBiasPointer ? 8 : 4;
  if (bytes != wanted || attribute > kCublasLtMatmulBiasDataType) return kInvalid;
  uint64_t word = 0;
  std::memcpy(&word, value, bytes);
  attribute_of(desc, attribute) = word;
  return 0;
}
inline CublasStatus preference_init(CublasLtPreference* preference, size_t bytes) {
  if (bytes != 64) return kInvalid;
  std::memset(preference, 0, bytes);
  for (int i = 4; i < 8; ++i) preference->data[i] = 256;  // the library's default alignment
  return 0;
}
inline CublasStatus preference_set(CublasLtPreference* preference, int attribute,
                                   const void* value, size_t bytes) {
  uint64_t word = 0;
  std::memcpy(&word, value, bytes);
  if (attribute == kCublasLtPreferMaxWorkspaceBytes && bytes == 8) {
    preference->data[0] = word;
  } else if (attribute == kCublasLtPreferReductionSchemeMask && bytes == 4) {
    preference->data[1] = word;
  } else if (attribute >= kCublasLtPreferMinAlignmentA &&
             attribute <= kCublasLtPreferMinAlignmentD && bytes == 4) {
    preference->data[4 + attribute - kCublasLtPreferMinAlignmentA] = word;
  } else {
    return kInvalid;
  }
  return 0;
}

struct Matrix {
  int64_t rows, columns, leading, batches, stride;
};
inline Matrix used_as(const CublasLtMatrixLayout* layout, bool transposed) {
  auto word = [&](int i) { return static_cast<int64_t>(layout->data[i]); };
  Matrix m{word(kRows), word(kColumns), word(kLeading), word(kBatches), word(kBatchStride)};
  if (transposed) std::swap(m.rows, m.columns);
  return m;
}

inline CublasStatus check(CublasLtMatmulDesc desc, const CublasLtMatrixLayout* a,
                          const CublasLtMatrixLayout* b, const CublasLtMatrixLayout* c,
                          const CublasLtMatrixLayout* d) {
  const Matrix ma = used_as(a, attribute_of(&desc, kCublasLtMatmulTransA) == kCublasOpT);
  const Matrix mb = used_as(b, attribute_of(&desc, kCublasLtMatmulTransB) == kCublasOpT);
  const Matrix mc = used_as(c, false), md = used_as(d, false);
  const bool fit = ma.rows == md.rows && mb.columns == md.columns && ma.columns == mb.rows &&
                   mc.rows == md.rows && mc.columns == md.columns &&
                   ma.batches == md.batches && mb.batches == md.batches &&
                   mc.batches == md.batches;
  const bool f64 = a->data[kType] == kCudaR64F;
  const bool types = b->data[kType] == a->data[kType] && c->data[kType] == a->data[kType] &&
                     d->data[kType] == a->data[kType] &&
                     (desc.data[kScaleType] == kCudaR64F) == f64 &&
                     (desc.data[kComputeType] == kCublasCompute64F) == f64;
  const uint64_t epilogue = attribute_of(&desc, kCublasLtMatmulEpilogue);
  const bool bias = (epilogue & kCublasLtEpilogueBias) != 0;
  if (bias != (attribute_of(&desc, kCublasLtMatmulBiasPointer) != 0)) return kInvalid;
  if (bias && attribute_of(&desc, kCublasLtMatmulBiasDataType) != d->data[kType]) return kInvalid;
  return fit && types ? 0 : kInvalid;
}

inline CublasStatus heuristic(CublasLtHandle, const CublasLtMatmulDesc* desc,
                              const CublasLtMatrixLayout* a, const CublasLtMatrixLayout* b,
                              const CublasLtMatrixLayout* c, const CublasLtMatrixLayout* d,
                              const CublasLtPreference* preference, int wanted,
                              CublasLtHeuristic* results, int* found) {
  if (const CublasStatus status = check(*desc, a, b, c, d)) return status;
  FakeCublasLt& fake = fake_cublaslt();
  FakeCublasLt::Heuristics asked;
  asked.workspace = preference->data[0];
  asked.reductions = static_cast<uint32_t>(preference->data[1]);
  for (int i = 0; i < 4; ++i) {
    asked.alignments[i] = static_cast<uint32_t>(preference->data[4 + i]);
  }
  asked.compute_type = static_cast<int>(desc->data[kComputeType]);
  CublasLtMatmulDesc copy = *desc;
  asked.bias = attribute_of(&copy, kCublasLtMatmulBiasPointer);
  fake.asked.push_back(asked);
  if (fake.heuristic_status != 0) return fake.heuristic_status;
  *found = std::min(wanted, fake.algorithms);
  for (int i = 0; i < *found; ++i) {
    results[i] = {};
    results[i].algo.data[0] = static_cast<uint64_t>(i);
    results[i].workspace_bytes = static_cast<size_t>(i) << 10;
  }
  return 0;
}

inline double load(const void* data, int64_t i, uint64_t type) {
  switch (type) {
    case kCudaR32F: return static_cast<const float*>(data)[i];
    case kCudaR64F: return static_cast<const double*>(data)[i];
    case kCudaR16F: return f16_to_f32(static_cast<const uint16_t*>(data)[i]);
    default: return bf16_to_f32(static_cast<const uint16_t*>(data)[i]);
  }
}
inline void store(void* data, int64_t i, uint64_t type, double value) {
  switch (type) {
    case kCudaR32F: static_cast<float*>(data)[i] = static_cast<float>(value); break;
    case kCudaR64F: static_cast<double*>(data)[i] = value; break;
    case kCudaR16F:
      static_cast<uint16_t*>(data)[i] = f32_to_f16(static_cast<float>(value));
      break;
    default: static_cast<uint16_t*>(data)[i] = f32_to_bf16(static_cast<float>(value));
  }
}

inline CublasStatus matmul(CublasLtHandle, const CublasLtMatmulDesc* given, const void* alpha,
                           const void* a, const CublasLtMatrixLayout* a_layout, const void* b,
                           const CublasLtMatrixLayout* b_layout, const void* beta, const void* c,
                           const CublasLtMatrixLayout* c_layout, void* d,
                           const CublasLtMatrixLayout* d_layout, const CublasLtAlgo* algo,
                           void* workspace, size_t workspace_bytes, CUstream) {
  CublasLtMatmulDesc desc = *given;
  if (const CublasStatus status = check(desc, a_layout, b_layout, c_layout, d_layout)) {
    return status;
  }
  FakeCublasLt& fake = fake_cublaslt();
  if (fake.matmul_status != 0) return fake.matmul_status;
  ++fake.products;
  fake.last_algorithm = static_cast<int>(algo->data[0]);
  if (workspace_bytes != size_t{algo->data[0]} << 10) return kInvalid;
  std::memset(workspace, 0xff, workspace_bytes);  // it is there
  const bool ta = attribute_of(&desc, kCublasLtMatmulTransA) == kCublasOpT;
  const bool tb = attribute_of(&desc, kCublasLtMatmulTransB) == kCublasOpT;
  const Matrix ma = used_as(a_layout, ta), mb = used_as(b_layout, tb);
  const Matrix mc = used_as(c_layout, false), md = used_as(d_layout, false);
  const uint64_t type = d_layout->data[kType];
  const bool f64 = type == kCudaR64F;
  const double x = f64 ? *static_cast<const double*>(alpha) : *static_cast<const float*>(alpha);
  const double y = f64 ? *static_cast<const double*>(beta) : *static_cast<const float*>(beta);
  const uint64_t epilogue = attribute_of(&desc, kCublasLtMatmulEpilogue);
  const void* bias =
      reinterpret_cast<const void*>(attribute_of(&desc, kCublasLtMatmulBiasPointer));
  for (int64_t batch = 0; batch < md.batches; ++batch) {
    for (int64_t i = 0; i < md.rows; ++i) {
      for (int64_t j = 0; j < md.columns; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < ma.columns; ++l) {
          sum += load(a, batch * ma.stride + (ta ? l + i * ma.leading : i + l * ma.leading), type) *
                 load(b, batch * mb.stride + (tb ? j + l * mb.leading : l + j * mb.leading), type);
        }
        sum *= x;
        if (y != 0) sum += y * load(c, batch * mc.stride + i + j * mc.leading, type);
        if ((epilogue & kCublasLtEpilogueBias) != 0) sum += load(bias, i, type);
        if ((epilogue & kCublasLtEpilogueRelu) != 0) sum = std::max(sum, 0.0);
        if ((epilogue & kCublasLtEpilogueGelu) != 0) {
          sum = 0.5 * sum *
                (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) *
                               (sum + 0.044715 * sum * sum * sum)));
        }
        store(d, batch * md.stride + i + j * md.leading, type, sum);
      }
    }
  }
  return 0;
}

}  // namespace fake_lt

inline const CublasLt& fake_cublaslt_table() {
  static const CublasLt table = [] {
    CublasLt t;
    t.cublasLtGetVersion = fake_lt::version;
    t.cublasLtGetStatusString = fake_lt::text;
    t.cublasLtCreate = fake_lt::create;
    t.cublasLtMatrixLayoutInit_internal = fake_lt::layout_init;
    t.cublasLtMatrixLayoutSetAttribute = fake_lt::layout_set;
    t.cublasLtMatmulDescInit_internal = fake_lt::desc_init;
    t.cublasLtMatmulDescSetAttribute = fake_lt::desc_set;
    t.cublasLtMatmulPreferenceInit_internal = fake_lt::preference_init;
    t.cublasLtMatmulPreferenceSetAttribute = fake_lt::preference_set;
    t.cublasLtMatmulAlgoGetHeuristic = fake_lt::heuristic;
    t.cublasLtMatmul = fake_lt::matmul;
    return t;
  }();
  return table;
}

}  // namespace kiln::cuda_test
