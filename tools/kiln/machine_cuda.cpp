// What of CUDA is on this machine: the driver with its GPUs, the compiler and the libraries.
#include <string>
#include <vector>

#include "backends/cuda/compile/nvrtc.h"
#include "backends/cuda/runtime/cublaslt_api.h"
#include "backends/cuda/runtime/cuda_device.h"
#include "backends/cuda/runtime/cudnn_api.h"
#include "tools/kiln/machine.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

std::string show_version(int number) {  // 13000
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

// "NVRTC 13.0 (path)", or why there is none; the same in `details`.
template <typename Info>
std::string describe(const char* name, const char* key, const Result<Info>& info, Json& details) {
  Json entry = Json::object();
  entry.set("found", info.ok());
  std::string text;
  if (info.ok()) {
    entry.set("version", info->version);
    entry.set("path", info->path);
    text = std::string(name) + " " + info->version + " (" + info->path + ")";
  } else {
    entry.set("code", info.status().code());
    entry.set("reason", info.status().message());
    text = std::string("no ") + name + " (" + info.status().code() + ")";
  }
  details.set(key, std::move(entry));
  return text;
}

}  // namespace

Finding probe_cuda() {
  Finding finding{"CUDA", Verdict::kOk, "", "", Json::object()};
  const Result<const cuda::Driver*> driver = cuda::driver();
  finding.details.set("driver_found", driver.ok());
  std::vector<std::string> parts;
  if (driver.ok()) {
    const cuda::DriverInfo info = cuda::driver_info(**driver);
    parts.push_back("driver for CUDA " + show_version(info.version) + " (" + info.path + ")");
    finding.details.set("driver", info.path);
    finding.details.set("driver_version", info.version);
    Json gpus = Json::array();
    const Result<int> count = cuda::device_count();
    for (int i = 0; i < (count.ok() ? *count : 0); ++i) {
      const auto gpu = cuda::device_properties(i);
      if (!gpu.ok()) {
        finding.verdict = Verdict::kWarning;
        parts.push_back("GPU " + std::to_string(i) + " does not answer: " + gpu.status().message());
        continue;
      }
      parts.push_back("GPU " + std::to_string(i) + ": " + gpu->name + ", cuda:sm_" +
                      std::to_string(gpu->sm));
      Json entry = Json::object();
      entry.set("name", gpu->name);
      entry.set("target", "cuda:sm_" + std::to_string(gpu->sm));
      entry.set("multiprocessors", gpu->multiprocessors);
      entry.set("shared_bytes_per_block", gpu->shared_bytes_per_block);
      entry.set("l2_bytes", gpu->l2_bytes);
      gpus.push_back(std::move(entry));
    }
    finding.details.set("gpus", std::move(gpus));
  } else {
    finding.verdict = Verdict::kNote;
    parts.push_back(driver.status().code() + ": " + driver.status().message());
    finding.details.set("driver_error", driver.status().code());
    finding.advice = "programs run on the CPU, and programs for GPUs can be built, not run; " +
                     driver.status().hint();
  }
  const Result<cuda::LibraryInfo> nvrtc = cuda::nvrtc_info();
  parts.push_back(describe("NVRTC", "nvrtc", nvrtc, finding.details));
  parts.push_back(describe("cuBLASLt", "cublaslt", cuda::cublaslt_info(), finding.details));
  parts.push_back(describe("cuDNN", "cudnn", cuda::cudnn_info(), finding.details));
  finding.text = join(parts, "; ");
  if (driver.ok() && !nvrtc.ok()) {
    finding.verdict = Verdict::kProblem;
    finding.advice = "kernels are compiled where programs run, and nothing here compiles them; " +
                     nvrtc.status().hint();
  }
  return finding;
}

}  // namespace kiln::tool
