#include "core/cpu_features.h"

#include <algorithm>
#include <array>
#include <cpuid.h>

#include "base/options.h"

namespace kiln {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"sse4", "avx2", "avx512", "avx512_bf16", "amx"};

CpuLevel detect() {
  // __builtin_cpu_supports also checks that the system saves the registers.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::kSse4;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return CpuLevel::kAvx2;
  }
  if (!__builtin_cpu_supports("avx512bf16")) return CpuLevel::kAvx512;
  // AMX has no name there before g++ 13: CPUID leaf 7, EDX bits 22 (bf16) and 24 (tiles).
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return CpuLevel::kAvx512Bf16;
  const bool amx = (edx & (1u << 22)) != 0 && (edx & (1u << 24)) != 0;
  return amx ? CpuLevel::kAmx : CpuLevel::kAvx512Bf16;
}

}  // namespace

CpuLevel cpu_level() {
  // The debug switch cpu_target lowers the level; an unknown value is refused by its other readers.
  static const CpuLevel level = [] {
    CpuLevel limit = CpuLevel::kAmx;
    cpu_level_from_name(debug_options().cpu_target, &limit);
    return std::min(limit, detect());
  }();
  return level;
}

std::string_view cpu_level_name(CpuLevel level) { return kNames[static_cast<size_t>(level)]; }

bool cpu_level_from_name(std::string_view name, CpuLevel* level) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != name) continue;
    *level = static_cast<CpuLevel>(i);
    return true;
  }
  return false;
}

}  // namespace kiln
