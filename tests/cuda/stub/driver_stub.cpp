// A libcuda.so.1 without a device. cuDNN offers the engines that it compiles at run time only where
// it can open a driver with these functions; for a device that is described it calls next to none
// of them. So tests see its answers on machines without a GPU.
#define KILN_NOTHING(name) \
  extern "C" int name() { return 34; }  // CUDA_ERROR_STUB_LIBRARY

extern "C" int cuDriverGetVersion(int* version) {
  *version = 13000;
  return 0;
}

KILN_NOTHING(cuCtxGetCurrent)
KILN_NOTHING(cuCtxGetDevice)
KILN_NOTHING(cuCtxGetLimit)
KILN_NOTHING(cuCtxPopCurrent)
KILN_NOTHING(cuCtxPushCurrent)
KILN_NOTHING(cuDeviceGet)
KILN_NOTHING(cuDeviceGetAttribute)
KILN_NOTHING(cuDeviceGetCount)
KILN_NOTHING(cuDevicePrimaryCtxRelease)
KILN_NOTHING(cuDevicePrimaryCtxReset)
KILN_NOTHING(cuDevicePrimaryCtxRetain)
KILN_NOTHING(cuFuncGetAttribute)
KILN_NOTHING(cuFuncSetAttribute)
KILN_NOTHING(cuGetErrorName)
KILN_NOTHING(cuGetErrorString)
KILN_NOTHING(cuInit)
KILN_NOTHING(cuKernelGetAttribute)
KILN_NOTHING(cuKernelSetAttribute)
KILN_NOTHING(cuLaunchCooperativeKernel)
KILN_NOTHING(cuLaunchKernel)
KILN_NOTHING(cuLaunchKernelEx)
KILN_NOTHING(cuLibraryGetKernel)
KILN_NOTHING(cuLibraryLoadData)
KILN_NOTHING(cuLibraryLoadFromFile)
KILN_NOTHING(cuLibraryUnload)
KILN_NOTHING(cuLinkAddData)
KILN_NOTHING(cuLinkAddData_v2)
KILN_NOTHING(cuLinkAddFile_v2)
KILN_NOTHING(cuLinkComplete)
KILN_NOTHING(cuLinkCreate)
KILN_NOTHING(cuLinkCreate_v2)
KILN_NOTHING(cuLinkDestroy)
KILN_NOTHING(cuMemcpyDtoH_v2)
KILN_NOTHING(cuModuleGetFunction)
KILN_NOTHING(cuModuleGetGlobal_v2)
KILN_NOTHING(cuModuleLoadData)
KILN_NOTHING(cuModuleLoadDataEx)
KILN_NOTHING(cuModuleLoadFatBinary)
KILN_NOTHING(cuModuleUnload)
KILN_NOTHING(cuOccupancyMaxActiveBlocksPerMultiprocessor)
KILN_NOTHING(cuOccupancyMaxPotentialClusterSize)
KILN_NOTHING(cuStreamGetCtx)
KILN_NOTHING(cuStreamSynchronize)
KILN_NOTHING(cuTensorMapEncodeTiled)
