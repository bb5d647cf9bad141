// The debug switch cpu_target for Highway's dispatch: kernels of wider vectors are never chosen.
#include <hwy/targets.h>

#include "base/options.h"

namespace kiln::cpu {
namespace {

// Better targets have lower bits. Runs when the library is loaded, before anything dispatches.
[[maybe_unused]] const bool kLimited = [] {
  const std::string& target = debug_options().cpu_target;
  if (target == "sse4") hwy::DisableTargets(HWY_SSE4 - 1);
  if (target == "avx2") hwy::DisableTargets(HWY_AVX2 - 1);
  if (target == "avx512") hwy::DisableTargets(HWY_AVX3 - 1);
  return true;
}();

}  // namespace
}  // namespace kiln::cpu
