// Every sample of the op table that the CUDA backend computes with kernels of its own, run on the
// emulator and compared with the op's reference: inputs contiguous, in reverse order of dims, with
// gaps, and as weights; symbolic samples also at further sizes on the same engine, and indices just
// out of range, which must be refused. What is native on the CPU is native here.
#include <gtest/gtest.h>

#include <iostream>
#include <string>

#include "emulated_samples.h"

namespace kiln::emulator {
namespace {

class CudaOpConformance : public testing::TestWithParam<const OpDef*> {};

TEST_P(CudaOpConformance, SamplesMatchTheReference) {
  for (Case& of : Cases::get().of(GetParam())) {
    EXPECT_EQ(check(of), "") << of.op->name << ": " << of.sample.why << ", form "
                             << static_cast<int>(of.form) << ", steps "
                             << (of.program == nullptr ? "none" : of.program->steps());
    of.program.reset();
  }
}

std::string param_name(const testing::TestParamInfo<const OpDef*>& info) {
  std::string name = info.param->name;
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Ops, CudaOpConformance, testing::ValuesIn(sampled_ops()), param_name);

TEST(CudaOpCoverage, WhatIsNativeOnTheCpuIsNativeHere) {
  const Cases& cases = Cases::get();
  const CompileCounts& compiled = HostKernelCompiler::instance().host().counts();
  std::cout << cases.native_samples() << " samples with cuda kernels, " << compiled.distinct
            << " distinct kernels, " << compiled.compiled << " compiled in " << compiled.seconds
            << " s\n";
  for (const auto& [key, reason] : cases.not_native()) {
    ADD_FAILURE() << "native on the cpu only: " << key.first << " " << dtype_name(key.second)
                  << ": " << reason;
  }
}

}  // namespace
}  // namespace kiln::emulator
