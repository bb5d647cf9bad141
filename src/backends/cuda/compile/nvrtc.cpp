#include "backends/cuda/compile/nvrtc.h"

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/runtime/library_search.h"
#include "base/options.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr const char* kHint = "install NVRTC (pip install nvidia-cuda-nvrtc)";

using Program = struct _nvrtcProgram*;  // types and numbers of NVRTC's ABI
using ResultCode = int;                 // 0: success

struct Nvrtc {
  ResultCode (*version)(int* major, int* minor) = nullptr;
  const char* (*error_text)(ResultCode result) = nullptr;
  ResultCode (*create)(Program* program, const char* source, const char* name, int header_count,
                       const char* const* headers, const char* const* header_names) = nullptr;
  ResultCode (*destroy)(Program* program) = nullptr;
  ResultCode (*compile)(Program program, int option_count, const char* const* options) = nullptr;
  ResultCode (*log_size)(Program program, size_t* size) = nullptr;
  ResultCode (*log)(Program program, char* text) = nullptr;
  ResultCode (*cubin_size)(Program program, size_t* size) = nullptr;
  ResultCode (*cubin)(Program program, char* bytes) = nullptr;
};

Status load(Nvrtc& api, LibraryInfo& info) {
  KILN_ASSIGN_OR_RETURN(const OpenLibrary opened,
                        open_library({"NVRTC",
                                      "KILN_NVRTC_LIBRARY",
                                      debug_options().nvrtc_library,
                                      {{"libnvrtc.so.13", "nvidia/cu13/lib"},
                                       {"libnvrtc.so.12", "nvidia/cuda_nvrtc/lib"}},
                                      kHint,
                                      "K5305"}));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcVersion", api.version));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcGetErrorString", api.error_text));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcCreateProgram", api.create));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcDestroyProgram", api.destroy));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcCompileProgram", api.compile));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcGetProgramLogSize", api.log_size));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcGetProgramLog", api.log));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcGetCUBINSize", api.cubin_size));
  KILN_RETURN_IF_ERROR(opened.find("nvrtcGetCUBIN", api.cubin));
  int major = 0, minor = 0;
  if (api.version(&major, &minor) != 0) {
    return Status::error("K5305", "NVRTC does not say its version", kHint);
  }
  info = {file_of(reinterpret_cast<const void*>(api.version)),
          std::to_string(major) + "." + std::to_string(minor)};
  return {};
}

LibraryTable<Nvrtc> library{load};

std::string log_of(const Nvrtc& api, Program program) {
  size_t size = 0;
  if (api.log_size(program, &size) != 0 || size <= 1) return "";
  std::string log(size, '\0');
  if (api.log(program, log.data()) != 0) return "";
  log.resize(size - 1);
  return log;
}

Result<std::string> cubin_of(const Nvrtc& api, Program program) {
  size_t size = 0;
  if (const ResultCode code = api.cubin_size(program, &size); code != 0 || size == 0) {
    return Status::error("K5306", "NVRTC gives no code: " + std::string(api.error_text(code)));
  }
  std::string image(size, '\0');
  if (const ResultCode code = api.cubin(program, image.data()); code != 0) {
    return Status::error("K5306", "NVRTC gives no code: " + std::string(api.error_text(code)));
  }
  return image;
}

}  // namespace

Result<LibraryInfo> nvrtc_info() { return library.info(); }

std::vector<std::string> nvrtc_options(int sm) {
  // Code of a kernel runs on GPUs of that one architecture anyway, so it may use what others, later
  // ones, do not have: on sm_90 products by warpgroups (device/wgmma.h).
  return {"--gpu-architecture=sm_" + std::to_string(sm) + (sm == 90 ? "a" : ""), "--std=c++17",
          "--device-as-default-execution-space",
          // Sums and products are rounded one by one, as on the CPU; kernels write what is fused.
          "--fmad=false"};
}

Result<std::string> nvrtc_compile(const std::string& source, const std::string& name, int sm) {
  KILN_ASSIGN_OR_RETURN(const Nvrtc* const loaded, library.get());
  const Nvrtc& api = *loaded;
  std::vector<const char*> headers, names;
  for (const DeviceHeader& header : device_headers()) {
    headers.push_back(header.text.data());
    names.push_back(header.name.data());
  }
  Program program = nullptr;
  if (const ResultCode code =
          api.create(&program, source.c_str(), (name + ".cu").c_str(),
                     static_cast<int>(headers.size()), headers.data(), names.data());
      code != 0) {
    return Status::error("K5306",
                         "a kernel does not compile: " + name + ": " + api.error_text(code));
  }
  const std::vector<std::string> texts = nvrtc_options(sm);
  std::vector<const char*> options;
  for (const std::string& text : texts) options.push_back(text.c_str());
  const ResultCode code = api.compile(program, static_cast<int>(options.size()), options.data());
  Result<std::string> image =
      code == 0 ? cubin_of(api, program)
                : Result<std::string>(Status::error(
                      "K5306",
                      "a kernel does not compile for sm_" + std::to_string(sm) + ": " + name +
                          ": " + api.error_text(code) + "\n" + log_of(api, program),
                      "KILN_OPTIONS=dump_kernels=FOLDER keeps the sources"));
  api.destroy(&program);
  return image;
}

}  // namespace kiln::cuda
