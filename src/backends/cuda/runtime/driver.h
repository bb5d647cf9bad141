// The CUDA driver as Kiln uses it: a table of functions, found with dlopen. Tests put a table of
// their own in its place (a driver that records, a driver that emulates), so that everything above
// runs on machines without a GPU.
//
// Types and numbers are those of the driver's ABI, written down here because no CUDA header is
// needed to build Kiln.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <kiln/status.h>

namespace kiln::cuda {

using CUresult = int;  // 0: success
using CUdevice = int;
using CUdeviceptr = uint64_t;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;
using CUgraphNode = struct CUgraphNode_st*;
using CUmemoryPool = struct CUmemPoolHandle_st*;

// CUlaunchAttribute and CUlaunchConfig.
struct LaunchAttribute {
  int id = 0;
  char padding[4] = {};
  alignas(8) char value[64] = {};
};
struct LaunchConfig {
  unsigned grid[3], block[3];
  unsigned shared_bytes = 0;
  CUstream stream = nullptr;
  LaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};

// name, its newest ABI symbol, parameters.
#define KILN_CUDA_DRIVER_FUNCTIONS(F)                                                             \
  F(Init, "cuInit", (unsigned flags))                                                             \
  F(DriverGetVersion, "cuDriverGetVersion", (int* version))                                       \
  F(GetErrorName, "cuGetErrorName", (CUresult error, const char** text))                          \
  F(GetErrorString, "cuGetErrorString", (CUresult error, const char** text))                      \
  F(DeviceGetCount, "cuDeviceGetCount", (int* count))                                             \
  F(DeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))                                   \
  F(DeviceGetName, "cuDeviceGetName", (char* name, int length, CUdevice device))                  \
  F(DeviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, CUdevice device))     \
  F(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device))   \
  F(CtxGetCurrent, "cuCtxGetCurrent", (CUcontext * context))                                      \
  F(CtxSetCurrent, "cuCtxSetCurrent", (CUcontext context))                                        \
  F(CtxSynchronize, "cuCtxSynchronize", ())                                                       \
  F(PointerGetAttribute, "cuPointerGetAttribute",                                                 \
    (void* value, int attribute, CUdeviceptr pointer))                                            \
  F(MemGetInfo, "cuMemGetInfo_v2", (size_t* free_bytes, size_t* total_bytes))                     \
  F(MemAlloc, "cuMemAlloc_v2", (CUdeviceptr * pointer, size_t bytes))                             \
  F(MemFree, "cuMemFree_v2", (CUdeviceptr pointer))                                               \
  F(MemAllocAsync, "cuMemAllocAsync", (CUdeviceptr * pointer, size_t bytes, CUstream stream))     \
  F(MemFreeAsync, "cuMemFreeAsync", (CUdeviceptr pointer, CUstream stream))                       \
  F(DeviceGetDefaultMemPool, "cuDeviceGetDefaultMemPool", (CUmemoryPool * pool, CUdevice device)) \
  F(MemPoolSetAttribute, "cuMemPoolSetAttribute",                                                 \
    (CUmemoryPool pool, int attribute, void* value))                                              \
  F(MemHostAlloc, "cuMemHostAlloc", (void** pointer, size_t bytes, unsigned flags))               \
  F(MemFreeHost, "cuMemFreeHost", (void* pointer))                                                \
  F(MemHostGetDevicePointer, "cuMemHostGetDevicePointer_v2",                                      \
    (CUdeviceptr * pointer, void* host, unsigned flags))                                          \
  F(MemcpyAsync, "cuMemcpyAsync",                                                                 \
    (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                            \
  F(MemsetD8Async, "cuMemsetD8Async",                                                             \
    (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream))                         \
  F(StreamCreate, "cuStreamCreate", (CUstream * stream, unsigned flags))                          \
  F(StreamDestroy, "cuStreamDestroy_v2", (CUstream stream))                                       \
  F(StreamSynchronize, "cuStreamSynchronize", (CUstream stream))                                  \
  F(StreamWaitEvent, "cuStreamWaitEvent", (CUstream stream, CUevent event, unsigned flags))       \
  F(StreamIsCapturing, "cuStreamIsCapturing", (CUstream stream, int* status))                     \
  F(StreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream stream, int mode))                   \
  F(StreamEndCapture, "cuStreamEndCapture", (CUstream stream, CUgraph * graph))                   \
  F(StreamGetCaptureInfo, "cuStreamGetCaptureInfo_v2",                                            \
    (CUstream stream, int* status, uint64_t* id, CUgraph* graph, const CUgraphNode** last,        \
     size_t* count))                                                                              \
  F(ThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode", (int* mode))            \
  F(EventCreate, "cuEventCreate", (CUevent * event, unsigned flags))                              \
  F(EventDestroy, "cuEventDestroy_v2", (CUevent event))                                           \
  F(EventRecord, "cuEventRecord", (CUevent event, CUstream stream))                               \
  F(EventSynchronize, "cuEventSynchronize", (CUevent event))                                      \
  F(EventElapsedTime, "cuEventElapsedTime", (float* milliseconds, CUevent from, CUevent to))      \
  F(ModuleLoadData, "cuModuleLoadData", (CUmodule * module, const void* image))                   \
  F(ModuleUnload, "cuModuleUnload", (CUmodule module))                                            \
  F(ModuleGetFunction, "cuModuleGetFunction",                                                     \
    (CUfunction * function, CUmodule module, const char* name))                                   \
  F(FuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int attribute, int value))      \
  F(FuncGetAttribute, "cuFuncGetAttribute", (int* value, int attribute, CUfunction function))     \
  F(LaunchKernelEx, "cuLaunchKernelEx",                                                           \
    (const LaunchConfig* config, CUfunction function, void** params, void** extra))               \
  F(TensorMapEncodeTiled, "cuTensorMapEncodeTiled",                                               \
    (void* map, int type, unsigned rank, void* address, const uint64_t* dims,                     \
     const uint64_t* strides, const unsigned* box, const unsigned* steps, int interleave,         \
     int swizzle, int l2_promotion, int fill))                                                    \
  F(GraphInstantiate, "cuGraphInstantiateWithFlags",                                              \
    (CUgraphExec * exec, CUgraph graph, unsigned long long flags))                                \
  F(GraphGetNodes, "cuGraphGetNodes", (CUgraph graph, CUgraphNode * nodes, size_t* count))        \
  F(GraphNodeGetType, "cuGraphNodeGetType", (CUgraphNode node, int* type))                        \
  F(GraphKernelNodeGetParams, "cuGraphKernelNodeGetParams_v2", (CUgraphNode node, void* params))  \
  F(GraphExecKernelNodeSetParams, "cuGraphExecKernelNodeSetParams_v2",                            \
    (CUgraphExec exec, CUgraphNode node, const void* params))                                     \
  F(GraphLaunch, "cuGraphLaunch", (CUgraphExec exec, CUstream stream))                            \
  F(GraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec exec))                                   \
  F(GraphDestroy, "cuGraphDestroy", (CUgraph graph))

// Numbers of the ABI that callers use.
inline constexpr CUresult kCudaOutOfMemory = 2, kCudaNoDevice = 100;
inline constexpr int kAttributeMultiprocessors = 16, kAttributeMajor = 75, kAttributeMinor = 76,
                     kAttributeSharedOptin = 97, kAttributeL2Bytes = 38, kAttributeBusBits = 37,
                     kAttributeMemoryClock = 36, kAttributeMemoryPools = 115;
inline constexpr int kPointerMemoryType = 2;            // 1 host, 2 device
inline constexpr int kFunctionMaxThreads = 0, kFunctionStaticShared = 1, kFunctionMaxDynamic = 8;
inline constexpr int kLaunchProgrammaticSerialization = 6;
inline constexpr int kPoolReleaseThreshold = 4;
inline constexpr unsigned kHostAllocPortable = 1, kHostAllocMapped = 2;
inline constexpr unsigned kStreamNonBlocking = 1, kEventNoTiming = 2;
inline constexpr int kCaptureThreadLocal = 1, kCaptureRelaxed = 2;
inline constexpr int kNotCapturing = 0;

// CUDA_KERNEL_NODE_PARAMS_v2.
struct KernelNodeParams {
  CUfunction function = nullptr;
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  void** params = nullptr;
  void** extra = nullptr;
  void* kernel = nullptr;
  CUcontext context = nullptr;
};

struct Driver {
#define KILN_CUDA_MEMBER(name, symbol, params) CUresult(*name) params = nullptr;
  KILN_CUDA_DRIVER_FUNCTIONS(KILN_CUDA_MEMBER)
#undef KILN_CUDA_MEMBER
};

// The driver of this process: libcuda.so.1, initialised, or the table that a test has given. K5301
// the library was not found, K5302 no device, K5303 a function is missing (driver too old), each
// with what to do.
Result<const Driver*> driver();
// For tests, before the first use of a device; null: back to the real one.
void set_driver_for_test(const Driver* table);

// Version of the driver, and where the library that is in use was found; for `kiln doctor`.
struct DriverInfo {
  std::string path;
  int version = 0;  // 13000 of 13.0
};
DriverInfo driver_info(const Driver& driver);

// K5304 with the call, CUDA's name of the error and its text. `result` of 0 is ok.
Status check(const Driver& driver, CUresult result, const char* call);
#define KILN_CUDA_RETURN_IF_ERROR(driver, call, ...) \
  KILN_RETURN_IF_ERROR(::kiln::cuda::check(driver, (driver).call(__VA_ARGS__), "cu" #call))

}  // namespace kiln::cuda
