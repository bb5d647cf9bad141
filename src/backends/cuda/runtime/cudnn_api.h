// cuDNN 9 at run time: the C functions of its graph API, found with dlopen and called through one
// table. Tests put a table of their own in its place. Why not the frontend library:
// docs/decisions/017-cudnn-by-its-backend-api.md.
//
// Types and numbers are those of the library's ABI, written down here because no CUDA header is
// needed to build Kiln.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <kiln/status.h>

#include "backends/cuda/runtime/driver.h"
#include "backends/cuda/runtime/library_table.h"

namespace kiln::cuda {

using CudnnStatus = int;  // 0: success; 3000..3999: not supported
using CudnnHandle = struct CudnnContext*;
using CudnnDescriptor = void*;

enum CudnnDataType : int {
  kCudnnFloat = 0,
  kCudnnDouble = 1,
  kCudnnHalf = 2,
  kCudnnInt32 = 4,
  kCudnnBfloat16 = 9,
  kCudnnBoolean = 11
};
enum CudnnDescriptorType : int {
  kCudnnPointwise = 0,
  kCudnnConvolution = 1,
  kCudnnEngine = 2,
  kCudnnEngineConfig = 3,
  kCudnnEngineHeuristics = 4,
  kCudnnExecutionPlan = 5,
  kCudnnConvolutionForward = 10,
  kCudnnConvolutionBackwardData = 12,
  kCudnnOperationPointwise = 13,
  kCudnnOperationGraph = 15,
  kCudnnVariantPack = 16,
  kCudnnTensor = 17,
  kCudnnMatmul = 18,
  kCudnnOperationMatmul = 19,
  kCudnnReduction = 21,
  kCudnnOperationReduction = 22,
  kCudnnDeviceProperties = 38
};
enum CudnnAttributeType : int {
  kCudnnTypeHandle = 0,
  kCudnnTypeDataType = 1,
  kCudnnTypeBoolean = 2,
  kCudnnTypeInt64 = 3,
  kCudnnTypeFloat = 4,
  kCudnnTypeDouble = 5,
  kCudnnTypePointer = 6,
  kCudnnTypeConvolutionMode = 7,
  kCudnnTypeHeuristicMode = 8,
  kCudnnTypeNumericalNote = 11,
  kCudnnTypePointwiseMode = 14,
  kCudnnTypeDescriptor = 15,
  kCudnnTypeReduction = 18,
  kCudnnTypeChar = 24
};
enum CudnnAttribute : int {
  kCudnnPointwiseMode = 0,
  kCudnnPointwiseMathType = 1,
  kCudnnPointwiseReluLowerClip = 3,
  kCudnnPointwiseReluUpperClip = 4,
  kCudnnPointwiseReluSlope = 5,
  kCudnnPointwiseEluAlpha = 6,
  kCudnnPointwiseSwishBeta = 8,
  kCudnnPointwiseAxis = 9,
  kCudnnConvolutionMathType = 100,
  kCudnnConvolutionMode = 101,
  kCudnnConvolutionDilations = 102,
  kCudnnConvolutionStrides = 103,
  kCudnnConvolutionPostPaddings = 104,
  kCudnnConvolutionPrePaddings = 105,
  kCudnnConvolutionSpatialDims = 106,
  kCudnnHeuristicMode = 200,
  kCudnnHeuristicGraph = 201,
  kCudnnHeuristicResults = 202,
  kCudnnHeuristicDevice = 204,
  kCudnnEngineConfigEngine = 300,
  kCudnnEngineConfigKnobs = 302,
  kCudnnPlanHandle = 400,
  kCudnnPlanEngineConfig = 401,
  kCudnnPlanWorkspaceBytes = 402,
  kCudnnPlanDevice = 407,
  kCudnnForwardAlpha = 700,
  kCudnnForwardBeta = 701,
  kCudnnForwardConvolution = 702,
  kCudnnForwardW = 703,
  kCudnnForwardX = 704,
  kCudnnForwardY = 705,
  kCudnnBackwardDataAlpha = 706,
  kCudnnBackwardDataBeta = 707,
  kCudnnBackwardDataConvolution = 708,
  kCudnnBackwardDataW = 709,
  kCudnnBackwardDataDx = 710,
  kCudnnBackwardDataDy = 711,
  kCudnnOperationPointwiseDescriptor = 750,
  kCudnnOperationPointwiseX = 751,
  kCudnnOperationPointwiseB = 752,
  kCudnnOperationPointwiseY = 753,
  kCudnnOperationPointwiseT = 758,
  kCudnnGraphHandle = 800,
  kCudnnGraphOperations = 801,
  kCudnnTensorAlignment = 900,
  kCudnnTensorDataType = 901,
  kCudnnTensorDims = 902,
  kCudnnTensorStrides = 903,
  kCudnnTensorId = 906,
  kCudnnTensorIsVirtual = 907,
  kCudnnTensorIsByValue = 908,
  kCudnnPackIds = 1000,
  kCudnnPackPointers = 1001,
  kCudnnPackWorkspace = 1003,
  kCudnnEngineGlobalIndex = 1301,
  kCudnnEngineNumericalNotes = 1303,
  kCudnnMatmulMathType = 1500,
  kCudnnOperationMatmulA = 1520,
  kCudnnOperationMatmulB = 1521,
  kCudnnOperationMatmulC = 1522,
  kCudnnOperationMatmulDescriptor = 1523,
  kCudnnReductionMode = 1600,
  kCudnnReductionMathType = 1601,
  kCudnnOperationReductionX = 1610,
  kCudnnOperationReductionY = 1611,
  kCudnnOperationReductionDescriptor = 1612,
  kCudnnDevicePropertiesJson = 2702
};
enum CudnnPointwise : int {
  kCudnnAdd = 0,
  kCudnnMul = 1,
  kCudnnDiv = 6,
  kCudnnSub = 9,
  kCudnnExp = 13,
  kCudnnLog = 15,
  kCudnnRelu = 100,
  kCudnnTanh = 101,
  kCudnnSigmoid = 102,
  kCudnnElu = 103,
  kCudnnGelu = 104,
  kCudnnSwish = 106,
  kCudnnGeluTanh = 107,
  kCudnnGreaterEqual = 303,
  kCudnnGenIndex = 501,
  kCudnnBinarySelect = 601
};
enum CudnnReduce : int { kCudnnReduceAdd = 0, kCudnnReduceMax = 3 };
enum CudnnHeuristic : int {
  kCudnnHeuristicB = 1,
  kCudnnHeuristicFallback = 2,
  kCudnnHeuristicA = 3
};
constexpr int kCudnnCrossCorrelation = 1;
// Notes of engines about their arithmetic.
enum CudnnNote : int {
  kCudnnNoteTensorCore = 0,
  kCudnnNoteDownConvertInputs = 1,
  kCudnnNoteReducedPrecisionReduction = 2,
  kCudnnNoteNondeterministic = 4,
  kCudnnNoteCount = 10
};

// result, name, parameters.
#define KILN_CUDNN_FUNCTIONS(F)                                                                   \
  F(size_t, cudnnGetVersion, ())                                                                  \
  F(const char*, cudnnGetErrorString, (CudnnStatus status))                                       \
  F(void, cudnnGetLastErrorString, (char* message, size_t bytes))                                 \
  F(CudnnStatus, cudnnCreate, (CudnnHandle * handle))                                             \
  F(CudnnStatus, cudnnDestroy, (CudnnHandle handle))                                              \
  F(CudnnStatus, cudnnSetStream, (CudnnHandle handle, CUstream stream))                           \
  F(CudnnStatus, cudnnBackendCreateDescriptor, (int type, CudnnDescriptor* descriptor))           \
  F(CudnnStatus, cudnnBackendDestroyDescriptor, (CudnnDescriptor descriptor))                     \
  F(CudnnStatus, cudnnBackendFinalize, (CudnnDescriptor descriptor))                              \
  F(CudnnStatus, cudnnBackendSetAttribute,                                                        \
    (CudnnDescriptor descriptor, int attribute, int type, int64_t count, const void* values))     \
  F(CudnnStatus, cudnnBackendGetAttribute,                                                        \
    (CudnnDescriptor descriptor, int attribute, int type, int64_t wanted, int64_t* count,         \
     void* values))                                                                               \
  F(CudnnStatus, cudnnBackendExecute,                                                             \
    (CudnnHandle handle, CudnnDescriptor plan, CudnnDescriptor pack))

struct Cudnn {
#define KILN_CUDNN_MEMBER(result, name, params) result(*name) params = nullptr;
  KILN_CUDNN_FUNCTIONS(KILN_CUDNN_MEMBER)
#undef KILN_CUDNN_MEMBER
};

// The library, or the table that a test has given. Searched once: the file named by the environment
// variable KILN_CUDNN_LIBRARY or the debug switch cudnn_library, else where library_search.h says;
// its sublibraries lie beside it. K5307 when it is missing, older than 9 or lacks a function.
Result<const Cudnn*> cudnn();
// For tests; null: back to the real one.
void set_cudnn_for_test(const Cudnn* table);

Result<LibraryInfo> cudnn_info();

// K5308 with the call and what the library says about it.
Status check(const Cudnn& library, CudnnStatus status, const char* call);
#define KILN_CUDNN_RETURN_IF_ERROR(library, call, ...) \
  KILN_RETURN_IF_ERROR(::kiln::cuda::check(library, (library).call(__VA_ARGS__), #call))

// A handle serves one thread at a time; this one comes from a pool of its device and goes back. The
// device's context must be current. K5308.
class CudnnLease {
 public:
  static Result<CudnnLease> take(const Cudnn& library, int device);
  CudnnLease(CudnnLease&& other) noexcept;
  CudnnLease& operator=(CudnnLease&&) = delete;
  ~CudnnLease();
  CudnnHandle handle() const { return handle_; }

 private:
  CudnnLease(const Cudnn* library, int device, CudnnHandle handle)
      : library_(library), device_(device), handle_(handle) {}
  const Cudnn* library_;
  int device_;
  CudnnHandle handle_;
};

}  // namespace kiln::cuda
