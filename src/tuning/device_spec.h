// What the compiler knows of the machine it compiles for.
#pragma once

#include <string>

#include <kiln/tensor.h>

namespace kiln {

struct DeviceSpec {
  DeviceKind kind = DeviceKind::kCpu;
  // CPU: "sse4", "avx2", "avx512", "avx512_bf16", "amx": the level that kernels are chosen for.
  std::string isa;
  int threads = 1;
  int64_t l1_bytes = 32 << 10;
  int64_t l2_bytes = 1 << 20;

  std::string target() const;  // "cpu:avx512"
  static DeviceSpec host();    // this machine, by CPUID
};

}  // namespace kiln
