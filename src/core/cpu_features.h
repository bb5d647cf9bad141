// What this machine's processor can do, as levels that include the ones before.
#pragma once

#include <string_view>

namespace kiln {

enum class CpuLevel { kSse4, kAvx2, kAvx512, kAvx512Bf16, kAmx };

CpuLevel cpu_level();  // of this machine, by CPUID, at most the debug switch cpu_target
std::string_view cpu_level_name(CpuLevel level);  // "sse4", "avx2", "avx512", "avx512_bf16", "amx"
// False when the name is unknown.
bool cpu_level_from_name(std::string_view name, CpuLevel* level);

}  // namespace kiln
