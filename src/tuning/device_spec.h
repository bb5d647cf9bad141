// What the compiler knows of the machine it compiles for.
#pragma once

#include <string>

#include <kiln/status.h>
#include <kiln/tensor.h>

#include "base/json.h"

namespace kiln {

struct DeviceSpec {
  DeviceKind kind = DeviceKind::kCpu;
  // CPU: "sse4", "avx2", "avx512", "avx512_bf16", "amx": the level that kernels are chosen for.
  // CUDA: "sm_90".
  std::string isa;
  int threads = 1;
  int64_t l1_bytes = 32 << 10;
  int64_t l2_bytes = 1 << 20;
  // CUDA only.
  int multiprocessors = 0;
  int64_t shared_bytes_per_block = 0;  // with opt-in
  int64_t memory_bytes_per_second = 0;

  std::string target() const;  // "cpu:avx512", "cuda:sm_90"
  int sm() const;              // 90 of "sm_90"; 0 for a CPU
  static DeviceSpec host();    // this machine, by CPUID
  // A GPU that need not be here: the data sheet's of the best known one of compute capability `sm`
  // (gpu_specs.cpp). K2010 for one that is not there, naming those that are.
  static Result<DeviceSpec> gpu(int sm);
  // {"isa": "sm_90", "multiprocessors": 132, "shared_bytes_per_block": 232448,
  // "l2_bytes": 52428800, "memory_bytes_per_second": 3350000000000}. K2010 for anything else.
  static Result<DeviceSpec> gpu_from_json(const Json& json);
};

}  // namespace kiln
