// Runs a test body once for each SIMD target that this machine has and the
// kernels were built for.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "hwy/highway.h"
#include "hwy/targets.h"

namespace kiln::cpu {

template <class Body>
void for_each_simd_target(Body&& body) {
  const int64_t all = hwy::SupportedTargets();
  int visited = 0;
  for (int64_t rest = all; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    if ((target & HWY_TARGETS) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    body();
    ++visited;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GT(visited, 0);
}

}  // namespace kiln::cpu
