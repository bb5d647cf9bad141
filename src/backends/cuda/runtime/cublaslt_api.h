// cuBLASLt at run time: found with dlopen, called through one table of its C functions. Tests put a
// table of their own in its place.
//
// Types and numbers are those of the library's ABI (CUDA 12 and 13), written down here because no
// CUDA header is needed to build Kiln.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <kiln/status.h>

#include "backends/cuda/runtime/driver.h"
#include "backends/cuda/runtime/library_table.h"

namespace kiln::cuda {

using CublasStatus = int;  // 0: success
constexpr CublasStatus kCublasNotSupported = 15;

using CublasLtHandle = struct CublasLtContext*;
// Descriptors are plain memory that the library's Init functions fill: no one frees them.
struct CublasLtMatmulDesc {
  uint64_t data[32];
};
struct CublasLtMatrixLayout {
  uint64_t data[8];
};
struct CublasLtPreference {
  uint64_t data[8];
};
// May be stored and used again with the same version of the library.
struct CublasLtAlgo {
  uint64_t data[8];
  bool operator==(const CublasLtAlgo&) const = default;
};
struct CublasLtHeuristic {
  CublasLtAlgo algo;
  size_t workspace_bytes;
  CublasStatus state;  // the rest holds when this is 0
  float waves;
  int reserved[4];
};

// Element types, as in library_types.h.
enum CudaDataType : int { kCudaR32F = 0, kCudaR64F = 1, kCudaR16F = 2, kCudaR16BF = 14 };
enum CublasComputeType : int {
  kCublasCompute32F = 68,
  kCublasCompute64F = 70,
  kCublasCompute32FFastTf32 = 77
};
enum CublasOperation : int { kCublasOpN = 0, kCublasOpT = 1 };
enum CublasLtEpilogue : int {  // relu, bias and gelu combine as bits
  kCublasLtEpilogueDefault = 1,
  kCublasLtEpilogueRelu = 2,
  kCublasLtEpilogueBias = 4,
  kCublasLtEpilogueReluBias = 6,
  kCublasLtEpilogueGelu = 32,
  kCublasLtEpilogueGeluBias = 36
};
enum CublasLtLayoutAttribute : int {
  kCublasLtLayoutBatchCount = 5,   // int32
  kCublasLtLayoutBatchStride = 6,  // int64, elements
};
enum CublasLtMatmulAttribute : int {
  kCublasLtMatmulTransA = 3,        // int32
  kCublasLtMatmulTransB = 4,        // int32
  kCublasLtMatmulEpilogue = 7,      // uint32
  kCublasLtMatmulBiasPointer = 8,   // device address
  kCublasLtMatmulBiasDataType = 26  // int32
};
enum CublasLtPreferenceAttribute : int {
  kCublasLtPreferMaxWorkspaceBytes = 1,    // uint64
  kCublasLtPreferReductionSchemeMask = 3,  // uint32
  kCublasLtPreferMinAlignmentA = 5,        // uint32, bytes; B, C, D follow
  kCublasLtPreferMinAlignmentB = 6,
  kCublasLtPreferMinAlignmentC = 7,
  kCublasLtPreferMinAlignmentD = 8
};
// Partial sums of a split K: in place, or in the compute type; never rounded to the output's type.
constexpr uint32_t kCublasLtExactReductions = 1 | 2;

// name, parameters; all return a status but the first two.
#define KILN_CUBLASLT_FUNCTIONS(F)                                                                 \
  F(size_t, cublasLtGetVersion, ())                                                                \
  F(const char*, cublasLtGetStatusString, (CublasStatus status))                                   \
  F(CublasStatus, cublasLtCreate, (CublasLtHandle * handle))                                       \
  F(CublasStatus, cublasLtMatrixLayoutInit_internal,                                               \
    (CublasLtMatrixLayout * layout, size_t bytes, int type, uint64_t rows, uint64_t columns,       \
     int64_t leading))                                                                             \
  F(CublasStatus, cublasLtMatrixLayoutSetAttribute,                                                \
    (CublasLtMatrixLayout * layout, int attribute, const void* value, size_t bytes))               \
  F(CublasStatus, cublasLtMatmulDescInit_internal,                                                 \
    (CublasLtMatmulDesc * desc, size_t bytes, int compute_type, int scale_type))                   \
  F(CublasStatus, cublasLtMatmulDescSetAttribute,                                                  \
    (CublasLtMatmulDesc * desc, int attribute, const void* value, size_t bytes))                   \
  F(CublasStatus, cublasLtMatmulPreferenceInit_internal,                                           \
    (CublasLtPreference * preference, size_t bytes))                                               \
  F(CublasStatus, cublasLtMatmulPreferenceSetAttribute,                                            \
    (CublasLtPreference * preference, int attribute, const void* value, size_t bytes))             \
  F(CublasStatus, cublasLtMatmulAlgoGetHeuristic,                                                  \
    (CublasLtHandle handle, const CublasLtMatmulDesc* desc, const CublasLtMatrixLayout* a,         \
     const CublasLtMatrixLayout* b, const CublasLtMatrixLayout* c, const CublasLtMatrixLayout* d,  \
     const CublasLtPreference* preference, int wanted, CublasLtHeuristic* results, int* found))    \
  F(CublasStatus, cublasLtMatmul,                                                                  \
    (CublasLtHandle handle, const CublasLtMatmulDesc* desc, const void* alpha, const void* a,      \
     const CublasLtMatrixLayout* a_layout, const void* b, const CublasLtMatrixLayout* b_layout,    \
     const void* beta, const void* c, const CublasLtMatrixLayout* c_layout, void* d,               \
     const CublasLtMatrixLayout* d_layout, const CublasLtAlgo* algo, void* workspace,              \
     size_t workspace_bytes, CUstream stream))

struct CublasLt {
#define KILN_CUBLASLT_MEMBER(result, name, params) result(*name) params = nullptr;
  KILN_CUBLASLT_FUNCTIONS(KILN_CUBLASLT_MEMBER)
#undef KILN_CUBLASLT_MEMBER
};

// The library, or the table that a test has given. Searched once: the file named by the environment
// variable KILN_CUBLASLT_LIBRARY or the debug switch cublaslt_library, else where library_search.h
// says. K5307 when it is missing or lacks a function.
Result<const CublasLt*> cublaslt();
// For tests; null: back to the real one.
void set_cublaslt_for_test(const CublasLt* table);

Result<LibraryInfo> cublaslt_info();

// The handle for device `index`, whose context must be current when it is made; made once, shared
// by all threads. K5308.
Result<CublasLtHandle> cublaslt_handle(const CublasLt& library, int index);

// K5308 with the call and the library's text.
Status check(const CublasLt& library, CublasStatus status, const char* call);
#define KILN_CUBLASLT_RETURN_IF_ERROR(library, call, ...) \
  KILN_RETURN_IF_ERROR(::kiln::cuda::check(library, (library).call(__VA_ARGS__), #call))

}  // namespace kiln::cuda
